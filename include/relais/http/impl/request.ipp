#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/exchange.hpp>
#include <relais/http/impl/joined_body.hpp>
#include <relais/http/request.hpp>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace relais {

/// The body of the request as a wrapper sees it: it lives as long as the exchange.
class request_body::base final : public body {
public:
    explicit base(request_body& of) : of_(of) {}
    io_result try_read(std::span<std::byte> to) override { return of_.read_base(to); }
    stream* waits_on() noexcept override { return of_.framed_.waits_on(); }
    std::chrono::milliseconds wait_limit() const noexcept override {
        return of_.framed_.wait_limit();
    }
    std::optional<std::uint64_t> remaining() const noexcept override {
        return of_.base_remaining();
    }
    end_reason failure() const noexcept override { return of_.framed_.failure(); }

private:
    request_body& of_;
};

/// Writes down what is read through it.
class request_body::recorder final : public body {
public:
    recorder(request_body& of, std::unique_ptr<body> inner, std::size_t limit)
        : of_(of), inner_(std::move(inner)), limit_(limit), text_(&of.texts_.emplace_front()) {}

    io_result try_read(std::span<std::byte> to) override {
        auto got = inner_->try_read(to);
        if (!text_)
            return got;
        if (got.count > limit_ - text_->size()) {
            std::string().swap(*text_);
            text_ = nullptr;
            return got;
        }
        text_->append(reinterpret_cast<char const*>(to.data()), got.count);
        // Nobody asks for the end of a known length.
        if (got.state == io_state::end || (got.state == io_state::ok && inner_->remaining() == 0u))
            of_.kept_ = *std::exchange(text_, nullptr);
        return got;
    }
    stream* waits_on() noexcept override { return inner_->waits_on(); }
    std::chrono::milliseconds wait_limit() const noexcept override { return inner_->wait_limit(); }
    std::optional<std::uint64_t> remaining() const noexcept override { return inner_->remaining(); }
    end_reason failure() const noexcept override { return inner_->failure(); }

private:
    request_body& of_;
    std::unique_ptr<body> inner_;
    std::size_t limit_;
    std::string* text_; ///< null: it is whole, or too long
};

RELAIS_DECL void request_body::begin(exchange& x, stream& from, body_framing framing,
                                     std::string_view came, bool expects, body_pace pace) {
    exchange_ = &x;
    pace_ = pace;
    has_body_ = framing.kind != framing_kind::none;
    framed_.begin(from, framing, came, pace.pause);
    framed_.set_chunked_read_size(
        head_buffer::usual); // what is behind its end has to fit into the next head's buffer
    framed_.set_failures(end_reason::client_left, end_reason::bad_body);
    awaits_continue_ = expects && has_body_;
}

RELAIS_DECL void request_body::recycle() noexcept {
    framed_.recycle();
    outer_.reset();
    text_.reset();
    kept_.reset();
    texts_.clear();
    recorder_ = nullptr;
    replayed_ = 0;
    waited_ = {};
    received_ = 0;
    ready_ = {};
    has_body_ = started_ = outer_ended_ = awaits_continue_ = false;
}

RELAIS_DECL std::optional<std::uint64_t> request_body::size() const noexcept {
    if (!has_body_)
        return 0;
    return remaining();
}

RELAIS_DECL std::unique_ptr<body> request_body::take() {
    if (outer_)
        return std::move(outer_);
    return std::make_unique<base>(*this);
}

RELAIS_DECL void request_body::replay(std::string_view whole) noexcept {
    outer_.reset();
    text_ = whole;
    replayed_ = 0;
    started_ = outer_ended_ = false;
}

RELAIS_DECL void request_body::set(std::string text) {
    replay(texts_.emplace_front(std::move(text)));
    has_body_ = true;
}

RELAIS_DECL void request_body::keep(std::size_t limit) {
    if (!has_body_)
        return;
    if (text_ && !outer_) {
        kept_ = text_;
        return;
    }
    if (started_)
        throw stage_misuse(
            "request.body.keep() was called after the body was read: call it before next");
    outer_ = std::make_unique<recorder>(*this, take(), limit);
    recorder_ = outer_.get();
}

RELAIS_DECL void request_body::begin_another_try() noexcept {
    if (kept_)
        replay(*kept_);
}

RELAIS_DECL bool request_body::rewind() {
    if (!outer_)
        replayed_ = 0;
    if (!started_ || !has_body_ || (text_ && !outer_))
        return true;
    if (kept_ && outer_.get() == recorder_) {
        replay(*kept_);
        return true;
    }
    if (outer_ || ready_.empty())
        return false;
    framed_.restore(ready_);
    started_ = false;
    return true;
}

RELAIS_DECL bool request_body::note_wait(std::chrono::milliseconds waited) noexcept {
    // What ended this wait is not read yet: it is judged by the waits before.
    auto before = std::exchange(waited_, waited_ + waited);
    if (!pace_.min_rate || before < pace_.min_rate_after)
        return true;
    return received_ >= pace_.min_rate * static_cast<std::uint64_t>(before.count()) / 1000;
}

RELAIS_DECL io_result request_body::read_base(std::span<std::byte> to) {
    started_ = true;
    if (text_) {
        auto count = std::min(to.size(), text_->size() - replayed_);
        if (!count)
            return {0, io_state::end};
        std::memcpy(to.data(), text_->data() + replayed_, count);
        replayed_ += count;
        return {count, io_state::ok};
    }
    auto got = framed_.try_read(to);
    received_ += got.count;
    if (got.count)
        awaits_continue_ = false; // it did not wait
    return got;
}

RELAIS_DECL std::optional<std::uint64_t> request_body::base_remaining() const noexcept {
    if (text_)
        return text_->size() - replayed_;
    return framed_.remaining();
}

RELAIS_DECL io_result request_body::try_read(std::span<std::byte> to) {
    if (!outer_)
        return read_base(to);
    started_ = true;
    auto got = outer_->try_read(to);
    outer_ended_ =
        got.state == io_state::end || (got.state == io_state::ok && outer_->remaining() == 0u);
    return got;
}

RELAIS_DECL std::string_view request_body::take_ready() {
    if (outer_)
        return {};
    if (text_) {
        auto all = text_->substr(replayed_);
        replayed_ = text_->size();
        return all;
    }
    auto ready = framed_.take_came();
    if (!ready.empty()) {
        started_ = true;
        awaits_continue_ = false; // it did not wait
        if (framed_.complete())
            ready_ = ready;
    }
    return ready;
}

RELAIS_DECL stream* request_body::waits_on() noexcept {
    return outer_ ? outer_->waits_on() : framed_.waits_on();
}

RELAIS_DECL std::optional<std::uint64_t> request_body::remaining() const noexcept {
    return outer_ ? outer_->remaining() : base_remaining();
}

RELAIS_DECL end_reason request_body::failure() const noexcept {
    return outer_ ? outer_->failure() : framed_.failure();
}

RELAIS_DECL std::chrono::milliseconds request_body::wait_limit() const noexcept {
    return outer_ ? outer_->wait_limit() : framed_.wait_limit();
}

RELAIS_DECL body::source request_body::raw() noexcept {
    if (outer_ || text_)
        return {};
    started_ = true;
    return framed_.raw();
}

RELAIS_DECL bool request_body::complete() const noexcept {
    if (outer_)
        return outer_ended_;
    return text_ ? replayed_ == text_->size() : framed_.complete();
}

RELAIS_DECL awaitable<std::string_view> request_body::read_all(std::size_t limit) {
    if (text_ && !outer_)
        co_return *text_;
    if (started_)
        throw stage_misuse("request.body.read_all() was called after the body was taken");
    if (!has_body_)
        co_return std::string_view();
    if (auto length = remaining(); length && *length > limit)
        throw exchange_error(end_reason::body_too_large);
    if (awaits_continue_) {
        awaits_continue_ = false;
        fields none;
        co_await exchange_->send_interim(100, none);
    }
    exchange_->request.erase("Expect");
    auto& whole = texts_.emplace_front();
    for (;;) {
        auto to = worker::current().scratch();
        auto got = try_read(to);
        if (got.state == io_state::end)
            break;
        if (got.state == io_state::error)
            throw exchange_error(failure());
        whole.append(reinterpret_cast<char const*>(to.data()), got.count);
        if (whole.size() > limit) {
            outer_ = std::make_unique<detail::joined_body>(whole, take());
            started_ = outer_ended_ = false;
            throw exchange_error(end_reason::body_too_large);
        }
        if (got.state == io_state::ok)
            continue;
        auto began = worker::current().now();
        auto why = co_await waits_on()->readable(wait_limit());
        auto waited =
            std::chrono::duration_cast<std::chrono::milliseconds>(worker::current().now() - began);
        if (why == wait_result::timed_out || !note_wait(waited))
            throw exchange_error(end_reason::body_timeout);
        if (why == wait_result::cancelled)
            throw exchange_error(end_reason::client_left);
    }
    replay(whole);
    co_return whole;
}

RELAIS_DECL void request::set_path(std::string_view raw) {
    std::string matched, canonical;
    auto made = normalise_path(raw, matched, canonical);
    if (made.rejected())
        throw std::invalid_argument("\"" + std::string(raw) +
                                    "\" is no path: " + std::string(made.sentence));
    path_storage_ = std::string(made.matched);
    canonical_storage_ = std::string(made.canonical);
    path_ = path_storage_;
    canonical_path_ = raw_path_ = canonical_storage_;
}

RELAIS_DECL std::string_view request::cookie(std::string_view name) const noexcept {
    for (auto line : fields_.all("Cookie")) {
        while (!line.empty()) {
            auto end = std::min(line.find(';'), line.size());
            auto pair = line.substr(0, end);
            line.remove_prefix(std::min(end + 1, line.size()));
            pair.remove_prefix(std::min(pair.find_first_not_of(" \t"), pair.size()));
            auto equals = pair.find('=');
            if (equals == pair.npos || pair.substr(0, equals) != name)
                continue;
            auto value = pair.substr(equals + 1);
            if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
                value = value.substr(1, value.size() - 2);
            return value;
        }
    }
    return {};
}

RELAIS_DECL void request::set_host(std::string_view as_sent) {
    auto upper = [](char c) { return c >= 'A' && c <= 'Z'; };
    if (std::none_of(as_sent.begin(), as_sent.end(), upper)) {
        host_ = as_sent;
        return;
    }
    host_storage_ = as_sent;
    for (auto& c : host_storage_)
        if (upper(c))
            c = static_cast<char>(c - 'A' + 'a');
    host_ = host_storage_;
}

RELAIS_DECL void request::rebase(char const* from, std::size_t size, char const* to) noexcept {
    auto move = [&](std::string_view& view) {
        if (view.data() >= from && view.data() <= from + size)
            view = {to + (view.data() - from), view.size()};
    };
    fields_.rebase(from, size, to);
    move(line_.method_text);
    move(line_.target);
    move(received_);
    move(path_);
    move(canonical_path_);
    move(raw_path_);
    move(query_);
    move(authority_);
    move(host_);
}

RELAIS_DECL void request::recycle() noexcept {
    fields_.clear();
    body.recycle();
    line_ = {};
    received_ = path_ = canonical_path_ = raw_path_ = query_ = authority_ = host_ = {};
    max_forwards_.reset();
    has_query_ = secure_ = websocket_ = false;
}

} // namespace relais
