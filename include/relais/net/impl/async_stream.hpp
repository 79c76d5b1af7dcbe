#pragma once

#include <relais/net/async_stream.hpp>

#include <boost/asio/cancellation_state.hpp>

#include <array>

namespace relais::detail {

template <class Buffers, bool Reading>
io_result async_transfer<Buffers, Reading>::attempt() {
    auto end = boost::asio::buffer_sequence_end(buffers);
    if constexpr (Reading) {
        for (auto one = boost::asio::buffer_sequence_begin(buffers); one != end; ++one) {
            boost::asio::mutable_buffer room(*one);
            if (room.size())
                return of->try_read({static_cast<std::byte*>(room.data()), room.size()});
        }
    } else {
        std::array<boost::asio::const_buffer, 16> parts;
        std::size_t used = 0;
        for (auto one = boost::asio::buffer_sequence_begin(buffers);
             one != end && used < parts.size(); ++one)
            if (boost::asio::const_buffer part(*one); part.size())
                parts[used++] = part;
        if (used)
            return of->try_write(std::span<boost::asio::const_buffer const>(parts.data(), used));
    }
    return {}; // no bytes were asked for
}

template <class Buffers, bool Reading>
template <class Self>
void async_transfer<Buffers, Reading>::operator()(Self& self, wait_result why) {
    if (at == phase::done) {
        self.complete(result, count);
        return;
    }
    if (at == phase::first) // a composed operation hears of the terminal type alone unless it asks
        self.reset_cancellation_state(boost::asio::enable_total_cancellation());
    io_result got{0, io_state::would_block};
    if (why == wait_result::ready) {
        got = attempt();
        // What a layer still holds counts as sent for the caller; it goes out with the waits that follow.
        if (!Reading && got.state == io_state::ok && of->try_flush().state == io_state::error)
            got.state = io_state::error;
    }
    if (got.state == io_state::would_block && why == wait_result::ready) {
        at = phase::waiting;
        auto* s = of;
        auto most = limit;
        if constexpr (Reading)
            s->readable(most, std::move(self));
        else
            s->writable(most, std::move(self));
        return;
    }
    count = got.count;
    if (why == wait_result::timed_out)
        result = boost::asio::error::timed_out;
    else if (why == wait_result::cancelled)
        result = boost::asio::error::operation_aborted;
    else if (got.state == io_state::end)
        result = boost::asio::error::eof;
    else if (got.state == io_state::error)
        result = boost::asio::error::connection_reset;
    if (at == phase::waiting) {
        self.complete(result, count);
        return;
    }
    at = phase::done; // never on the stack of the caller
    auto executor = worker::current().context().get_executor();
    boost::asio::post(executor, std::move(self));
}

} // namespace relais::detail
