#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/exchange.hpp>
#include <relais/http/request.hpp>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace relais {

/// The body of the request as a wrapper sees it: it lives as long as the exchange.
class request_body::inner final : public body {
public:
    explicit inner(request_body& of) : of_(of) {}
    io_result try_read(std::span<std::byte> to) override { return of_.read_inner(to); }
    stream* waits_on() noexcept override { return of_.framed_.waits_on(); }
    std::chrono::milliseconds wait_limit() const noexcept override {
        return of_.framed_.wait_limit();
    }
    std::optional<std::uint64_t> remaining() const noexcept override {
        return of_.framed_.remaining();
    }
    end_reason failure() const noexcept override { return of_.framed_.failure(); }

private:
    request_body& of_;
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
    kept_.clear();
    if (kept_.capacity() > 4096)
        std::string().swap(kept_);
    keep_limit_ = replayed_ = 0;
    waited_ = {};
    received_ = 0;
    ready_ = {};
    has_body_ = started_ = keeping_ = whole_kept_ = outer_ended_ = awaits_continue_ = false;
}

RELAIS_DECL std::optional<std::uint64_t> request_body::size() const noexcept {
    if (!has_body_)
        return 0;
    return remaining();
}

RELAIS_DECL std::unique_ptr<body> request_body::take() {
    if (outer_)
        return std::move(outer_);
    return std::make_unique<inner>(*this);
}

RELAIS_DECL void request_body::set(std::string text) {
    outer_.reset();
    kept_ = std::move(text);
    replayed_ = 0;
    keeping_ = whole_kept_ = true;
    has_body_ = true;
}

RELAIS_DECL void request_body::keep(std::size_t limit) {
    if (whole_kept_)
        return;
    if (started_)
        throw stage_misuse(
            "request.body.keep() was called after the body was read: call it before next");
    keeping_ = true;
    keep_limit_ = limit;
}

RELAIS_DECL bool request_body::rewind() {
    replayed_ = 0;
    if (!started_ || whole_kept_ || !has_body_)
        return true;
    if (ready_.empty())
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

RELAIS_DECL io_result request_body::read_inner(std::span<std::byte> to) {
    started_ = true;
    auto got = framed_.try_read(to);
    received_ += got.count;
    if (got.count)
        awaits_continue_ = false; // it did not wait
    return got;
}

RELAIS_DECL io_result request_body::try_read(std::span<std::byte> to) {
    if (whole_kept_) {
        auto count = std::min(to.size(), kept_.size() - replayed_);
        if (!count)
            return {0, io_state::end};
        std::memcpy(to.data(), kept_.data() + replayed_, count);
        replayed_ += count;
        return {count, io_state::ok};
    }
    started_ = true;
    auto got = outer_ ? outer_->try_read(to) : read_inner(to);
    if (got.state == io_state::ok && keeping_) {
        if (got.count > keep_limit_ - kept_.size()) {
            keeping_ = false;
            std::string().swap(kept_);
        } else {
            kept_.append(reinterpret_cast<char const*>(to.data()), got.count);
            if (!outer_ && framed_.complete()) { // nobody asks for the end of a known length
                whole_kept_ = true;
                replayed_ = kept_.size();
            }
        }
    }
    if (got.state == io_state::end) {
        outer_ended_ = true;
        if (keeping_) {
            whole_kept_ = true;
            replayed_ = kept_.size();
        }
    }
    return got;
}

RELAIS_DECL std::string_view request_body::take_ready() {
    if (whole_kept_) {
        auto all = std::string_view(kept_).substr(replayed_);
        replayed_ = kept_.size();
        return all;
    }
    if (outer_ || keeping_)
        return {};
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
    if (whole_kept_)
        return kept_.size() - replayed_;
    return outer_ ? outer_->remaining() : framed_.remaining();
}

RELAIS_DECL end_reason request_body::failure() const noexcept {
    return outer_ ? outer_->failure() : framed_.failure();
}

RELAIS_DECL std::chrono::milliseconds request_body::wait_limit() const noexcept {
    return outer_ ? outer_->wait_limit() : framed_.wait_limit();
}

RELAIS_DECL body::source request_body::raw() noexcept {
    if (outer_ || keeping_ || whole_kept_)
        return {};
    started_ = true;
    return framed_.raw();
}

RELAIS_DECL bool request_body::complete() const noexcept {
    if (whole_kept_)
        return replayed_ == kept_.size();
    return outer_ ? outer_ended_ : framed_.complete();
}

RELAIS_DECL awaitable<std::string_view> request_body::read_all(std::size_t limit) {
    if (whole_kept_)
        co_return kept_;
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
    keeping_ = true;
    keep_limit_ = limit;
    for (;;) {
        auto got = try_read(worker::current().scratch());
        if (got.state == io_state::end)
            break;
        if (got.state == io_state::error)
            throw exchange_error(failure());
        if (!keeping_)
            throw exchange_error(end_reason::body_too_large);
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
    outer_.reset();
    replayed_ = 0;
    co_return kept_;
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
