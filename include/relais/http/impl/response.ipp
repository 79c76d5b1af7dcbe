#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/exchange.hpp>
#include <relais/http/impl/joined_body.hpp>
#include <relais/http/response.hpp>

#include <stdexcept>

namespace relais {

RELAIS_DECL void response_body::set(std::string text) {
    rest_.reset();
    text_ = std::move(text);
    ready_ = text_;
}

RELAIS_DECL void response_body::set(std::unique_ptr<body> from) {
    ready_ = {};
    rest_ = std::move(from);
}

RELAIS_DECL void response_body::set_ready(std::string_view ready, std::unique_ptr<body> rest) {
    ready_ = ready;
    rest_ = std::move(rest);
}

RELAIS_DECL std::unique_ptr<body> response_body::take() {
    auto ready = std::exchange(ready_, {});
    if (ready.empty() && rest_)
        return std::move(rest_);
    return std::make_unique<detail::joined_body>(std::string(ready), std::move(rest_));
}

RELAIS_DECL std::optional<std::uint64_t> response_body::size() const noexcept {
    if (!rest_)
        return ready_.size();
    auto more = rest_->remaining();
    if (!more)
        return std::nullopt;
    return ready_.size() + *more;
}

RELAIS_DECL exchange_error response_body::give_up(end_reason why, std::string& read,
                                                  std::unique_ptr<body> rest) {
    set(std::move(read));
    rest_ = std::move(rest);
    return exchange_error(why);
}

RELAIS_DECL awaitable<std::string_view> response_body::read_all(std::size_t limit) {
    if (auto const known = size(); known && *known > limit)
        throw exchange_error(end_reason::response_too_large);
    auto from = take();
    std::string all;
    for (;;) {
        auto room = worker::current().scratch();
        auto got = from->try_read(room);
        if (got.state == io_state::end)
            break;
        if (got.state == io_state::error) {
            auto const why = from->failure();
            throw give_up(why, all, std::move(from));
        }
        if (got.state == io_state::ok) {
            all.append(reinterpret_cast<char const*>(room.data()), got.count);
            if (all.size() > limit)
                throw give_up(end_reason::response_too_large, all, std::move(from));
            continue;
        }
        auto why = co_await from->waits_on()->readable(from->wait_limit());
        if (why == wait_result::timed_out) {
            auto const silence = from->silence();
            throw give_up(silence, all, std::move(from));
        }
        if (why == wait_result::cancelled)
            throw give_up(end_reason::client_left, all, std::move(from));
    }
    from->finished();
    set(std::move(all));
    co_return ready_;
}

RELAIS_DECL void response_body::recycle() noexcept {
    rest_.reset();
    ready_ = {};
    text_.clear();
    if (text_.capacity() > 4096)
        std::string().swap(text_);
}

RELAIS_DECL void response::set_status(unsigned status) {
    if (status < 100 || status > 999)
        throw std::invalid_argument("an HTTP status has three digits, " + std::to_string(status) +
                                    " has not");
    status_ = status;
}

RELAIS_DECL void response::reset() noexcept {
    body.recycle();
    takeover_.reset();
    told_length_.reset();
    fields_.clear();
    storage_.release();
    status_ = 0;
    close_ = length_untold_ = false;
}

} // namespace relais
