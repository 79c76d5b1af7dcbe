#pragma once

#include <relais/core/worker.hpp>
#include <relais/net/connect.hpp>

#include <cerrno>
#include <cstdint>

namespace relais {

namespace detail {

RELAIS_DECL end_reason reason_of_connect_error(int error) noexcept {
    if (error == ECONNREFUSED || error == ENOENT)
        return end_reason::connect_refused;
    if (error == ETIMEDOUT)
        return end_reason::connect_timeout;
    return end_reason::connect_failed;
}

} // namespace detail

RELAIS_DECL awaitable<connect_result> connect(std::span<socket_address const> addresses,
                                              std::chrono::milliseconds limit,
                                              std::optional<boost::asio::ip::address> source) {
    connect_result result;
    result.why = end_reason::connect_failed;
    auto end = worker::current().now() + limit;
    auto untried = static_cast<std::int64_t>(addresses.size());
    socket_address const from = source ? socket_address(*source, 0) : socket_address();
    for (auto const& address : addresses) {
        bool const bound = source && !address.is_unix();
        if (bound && address.family() != from.family()) {
            --untried;
            continue;
        }
        auto s = socket::start_connect(address, bound ? &from : nullptr);
        if (!s) {
            --untried;
            result.why = detail::reason_of_connect_error(errno);
            continue;
        }
        auto why = wait_result::ready;
        if (!s->ready().writable) {
            auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                end - worker::current().now());
            left /= untried; // one that is silent leaves time for the others
            if (left.count() <= 0) {
                result.why = end_reason::connect_timeout;
                break;
            }
            why = co_await s->writable(left);
        }
        --untried;
        if (why == wait_result::timed_out) {
            result.why = end_reason::connect_timeout;
            continue;
        }
        if (why == wait_result::cancelled) {
            result.why = end_reason::client_left;
            break;
        }
        if (int error = s->connect_error()) {
            result.why = detail::reason_of_connect_error(error);
            continue;
        }
        result.connected = std::move(s);
        break;
    }
    co_return result;
}

} // namespace relais
