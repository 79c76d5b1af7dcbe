#pragma once

#include <relais/net/stream.hpp>

#include <boost/asio/this_coro.hpp>

namespace relais {

RELAIS_DECL awaitable<write_result> write_all(stream& to, std::span<std::byte const> bytes,
                                              std::chrono::milliseconds limit) {
    for (;;) {
        io_result wrote = bytes.empty() ? to.try_flush() : to.try_write(bytes);
        if (wrote.state == io_state::error || wrote.state == io_state::end)
            co_return write_result::failed;
        if (wrote.state == io_state::ok) {
            if (bytes.empty())
                co_return write_result::done;
            bytes = bytes.subspan(wrote.count);
            if (to.ready().writable)
                continue;
        }
        auto why = co_await to.writable(limit);
        if (why == wait_result::timed_out)
            co_return write_result::timed_out;
        if (why == wait_result::cancelled)
            co_return write_result::cancelled;
    }
}

} // namespace relais
