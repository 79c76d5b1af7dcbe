#pragma once

#include <relais/core/scope.hpp>
#include <relais/net/pump.hpp>
#include <relais/net/socket.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <utility>
#if defined(__linux__)
#include <fcntl.h>
#include <sys/socket.h>
#endif

namespace relais {

template <class Follower>
pump_pair<Follower>::pump_pair(stream& left, stream& right, pump_limits limits) noexcept
    : left_(left), right_(right), limits_(limits),
      right_bound_(left, right, end_reason::tunnel_client_reset, end_reason::tunnel_upstream_reset),
      left_bound_(right, left, end_reason::tunnel_upstream_reset, end_reason::tunnel_client_reset),
      last_(worker::current().deadlines().now()) {}

template <class Follower>
void pump_pair<Follower>::preload(std::string from_left, std::string from_right) {
    right_bound_.follower.consume(std::as_bytes(std::span(from_left)));
    left_bound_.follower.consume(std::as_bytes(std::span(from_right)));
    right_bound_.moved = from_left.size();
    left_bound_.moved = from_right.size();
    right_bound_.held = std::move(from_left);
    left_bound_.held = std::move(from_right);
}

template <class Follower>
awaitable<end_reason> pump_pair<Follower>::run() {
    co_await boost::asio::this_coro::throw_if_cancelled(false); // both directions have to end here
    scope other;
    other.spawn(pump(right_bound_));
    co_await pump(left_bound_);
    co_await other.join();
    left_.close();
    right_.close();
    co_return reason_;
}

template <class Follower>
awaitable<> pump_pair<Follower>::pump(direction& d) {
    for (;;) {
        auto next = step::broken;
        try {
            next = advance(d);
        } catch (std::bad_alloc const&) { // the other direction must not be left alone
            fail(d.to_broke);
        }
        wait_result why;
        if (next == step::read) {
            why = co_await d.from.readable(limit());
        } else if (next == step::write) {
            why = co_await d.to.writable(limit());
        } else if (next == step::again) { // others want a turn
            co_await boost::asio::post(worker::current().context(), boost::asio::deferred);
            continue;
        } else {
            break;
        }
        // The server closed one side while this direction waits for the other.
        if (why == wait_result::cancelled && (left_.ready().closed || right_.ready().closed))
            fail(end_reason::shutting_down);
        if (why == wait_result::timed_out) {
            auto quiet = worker::current().deadlines().now() - last_;
            if (quiet * deadline_wheel::resolution >= limit())
                fail(right_bound_.over || left_bound_.over ? end_reason::tunnel_linger
                                                           : end_reason::tunnel_idle);
        }
    }
    finish(d);
}

template <class Follower>
typename pump_pair<Follower>::step pump_pair<Follower>::advance(direction& d) {
    auto const began = d.moved;
    for (int reads = 0; reads < 16 && d.moved - began < (1u << 20); ++reads) {
        if (!d.held.empty())
            if (auto s = write_held(d); s != step::again)
                return s;
        if (d.ending && !d.said)
            if (auto s = say_farewell(d); s != step::again)
                return s;
        if (d.careful) { // a layer may still hold what it took
            auto flushed = d.to.try_flush();
            if (flushed.state == io_state::would_block)
                return step::write;
            if (flushed.state != io_state::ok) {
                fail(d.to_broke);
                return step::broken;
            }
        }
        if (d.pipe.held || (d.bulk && !d.ending)) { // what is in the pipe goes before anything else
            auto s = move_spliced(d);
            if (s == step::again)
                continue;
            if (s != step::copy)
                return s;
        }
        auto room = worker::current().scratch();
        if (d.careful)
            room = room.first(careful_size);
        auto got = d.from.try_read(room);
        if (got.state == io_state::would_block) {
            d.pipe.give_back();
            return step::read;
        }
        if (got.state == io_state::end)
            return step::end;
        if (got.state == io_state::error) {
            fail(d.from_broke);
            return step::broken;
        }
        last_ = worker::current().deadlines().now();
        std::span<std::byte const> bytes = room.first(got.count);
        if (d.said) {
            d.follower.consume(bytes);
            if constexpr (Follower::can_end) {
                if (d.follower.lost() || (d.follower.close_seen() && d.follower.at_boundary()))
                    return step::end;
            }
            continue;
        }
        auto size = allowed(d, bytes);
        d.follower.consume(bytes.first(size));
        d.moved += size;
        d.bulk = got.count >= splice_least;
        d.in_pipe = false;
        auto wrote = d.to.try_write(bytes.first(size));
        if (wrote.state == io_state::error || wrote.state == io_state::end) {
            fail(d.to_broke);
            return step::broken;
        }
        d.careful = wrote.count < size;
        if (wrote.count < size)
            d.held.assign(reinterpret_cast<char const*>(bytes.data()) + wrote.count,
                          size - wrote.count);
        if (size < bytes.size()) { // the boundary at which the farewell goes; the rest is dropped
            if (!d.follower.close_seen())
                d.held += d.farewell;
            d.said = true;
            d.follower.consume(bytes.subspan(size));
            continue;
        }
        if (!d.held.empty())
            return step::write;
        if (d.to.try_flush().state != io_state::ok) {
            d.careful = true;
            return step::write;
        }
    }
    return step::again;
}

template <class Follower>
typename pump_pair<Follower>::step pump_pair<Follower>::write_held(direction& d) {
    auto wrote = d.to.try_write(std::string_view(d.held));
    if (wrote.state == io_state::error || wrote.state == io_state::end) {
        fail(d.to_broke);
        return step::broken;
    }
    if (wrote.count)
        last_ = worker::current().deadlines().now();
    d.held.erase(0, wrote.count);
    if (!d.held.empty() || d.to.try_flush().state != io_state::ok) {
        d.careful = true;
        return step::write;
    }
    std::string().swap(d.held);
    d.careful = false;
    return step::again;
}

/// How many of the bytes may go on: all, or those up to the boundary at which the farewell goes.
template <class Follower>
std::size_t pump_pair<Follower>::allowed(direction& d, std::span<std::byte const> bytes) const {
    if constexpr (Follower::can_end) {
        if (d.ending && !d.said)
            return d.follower.until_boundary(bytes);
    }
    return bytes.size();
}

template <class Follower>
typename pump_pair<Follower>::step pump_pair<Follower>::say_farewell(direction& d) {
    if constexpr (Follower::can_end) {
        if (!d.follower.lost() && (!d.follower.at_boundary() || d.pipe.held))
            return step::again; // what has begun goes on to its end
        d.said = true;
        if (d.follower.lost() || d.follower.close_seen())
            return step::again; // nothing can be put between, or it was said by whom it concerns
        auto wrote = d.to.try_write(std::string_view(d.farewell));
        if (wrote.state == io_state::error || wrote.state == io_state::end) {
            fail(d.to_broke);
            return step::broken;
        }
        if (wrote.count < d.farewell.size()) {
            d.held = d.farewell.substr(wrote.count);
            return step::write;
        }
        d.careful = d.to.try_flush().state != io_state::ok;
        return d.careful ? step::write : step::again;
    } else {
        d.said = true;
        return step::again;
    }
}

/// Moves bytes inside the kernel while they come in large pieces; `step::copy` where that cannot be.
template <class Follower>
typename pump_pair<Follower>::step pump_pair<Follower>::move_spliced(direction& d) {
#if defined(__linux__)
    auto* from = d.from.plain();
    auto* to = d.to.plain();
    if (!from || !to)
        return step::copy;
    if (!d.ending)
        if (auto s = fill_pipe(d, from->descriptor()); !d.pipe.held)
            return s;
    auto& out = d.to.ready();
    if (out.closed) { // it never becomes writable again
        fail(d.to_broke);
        return step::broken;
    }
    if (!out.writable)
        return step::write;
    auto count = ::splice(d.pipe.read_end(), nullptr, to->descriptor(), nullptr, d.pipe.held,
                          SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (count < 0) {
        if (errno == EINTR)
            return step::again;
        if (errno != EAGAIN) {
            fail(d.to_broke);
            return step::broken;
        }
        out.writable = false;
        return step::write;
    }
    last_ = worker::current().deadlines().now();
    d.pipe.held -= static_cast<std::size_t>(count);
    return step::again;
#else
    (void)d;
    return step::copy;
#endif
}

#if defined(__linux__)
/// Takes payload, and the heads of large frames with it, until there is enough or something else comes next. What that is
/// matters to the caller only while the pipe is empty.
template <class Follower>
typename pump_pair<Follower>::step pump_pair<Follower>::fill_pipe(direction& d, int from) {
    auto& in = d.from.ready();
    auto nothing_there = [&] {
        in.readable = false;
        if (!d.pipe.held)
            d.pipe.give_back();
        return step::read;
    };
    while (d.pipe.held < splice_enough) {
        if (in.closed) {
            if (!d.pipe.held)
                fail(d.from_broke);
            return step::broken;
        }
        if (!in.readable)
            return nothing_there();
        // A head is looked at where the kernel keeps it, so that it goes the same way as its payload.
        std::array<std::byte, Follower::head_size> head;
        std::size_t looked = 0;
        std::uint64_t most = d.follower.payload_left();
        if (most == 0) {
            auto seen = ::recv(from, head.data(), head.size(), MSG_PEEK | MSG_DONTWAIT);
            if (seen < 0 && errno == EAGAIN)
                return nothing_there();
            if (seen <= 0)
                return step::copy;
            looked = static_cast<std::size_t>(seen);
            auto ahead = d.follower;
            ahead.consume(std::span(head).first(looked));
            most = looked + ahead.payload_left();
        }
        if ((most < splice_least && (looked || !d.in_pipe)) || !d.pipe.take())
            return step::copy;
        auto count = ::splice(from, nullptr, d.pipe.write_end(), nullptr,
                              static_cast<std::size_t>(std::min<std::uint64_t>(most, 1 << 20)),
                              SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (count == 0)
            return step::end;
        if (count < 0) {
            if (errno == EAGAIN && !d.pipe.held) // otherwise the pipe may be full
                return nothing_there();
            if (errno != EAGAIN && errno != EINTR) {
                fail(d.from_broke);
                return step::broken;
            }
            return step::again;
        }
        auto size = static_cast<std::size_t>(count);
        looked = std::min(looked, size);
        d.follower.consume(std::span(head).first(looked));
        d.follower.skip(size - looked);
        d.pipe.held += size;
        d.moved += size;
        d.in_pipe = true;
        last_ = worker::current().deadlines().now();
        if (size < most) // all that was there
            break;
    }
    d.bulk = d.pipe.held >= splice_least / 2;
    return step::again;
}
#endif

template <class Follower>
// NOLINTNEXTLINE(performance-unnecessary-value-param): both are moved from, which is not seen in a template
void pump_pair<Follower>::end_with(std::string farewell_to_right, std::string farewell_to_left) {
    right_bound_.farewell = std::move(farewell_to_right);
    left_bound_.farewell = std::move(farewell_to_left);
    right_bound_.ending = left_bound_.ending = true;
    reason_ = end_reason::tunnel_drained;
    for (auto* s : {&left_, &right_}) { // both look again, from the event loop
        s->ready().reader.cancel();
        s->ready().writer.cancel();
    }
}

template <class Follower>
void pump_pair<Follower>::finish(direction& d) {
    d.over = true;
    d.pipe.give_back();
    std::string().swap(d.held);
    if (d.to.ready().closed)
        return;
    d.to.shutdown_send();
    // The other direction may go on for so long as the linger time allows: it looks at its limit again.
    d.to.ready().reader.cancel();
    d.from.ready().writer.cancel();
}

template <class Follower>
void pump_pair<Follower>::fail(end_reason why) {
    if (left_.ready().closed || right_.ready().closed) // by the server: no peer's doing
        why = end_reason::shutting_down;
    if (reason_ == end_reason::completed)
        reason_ = why;
    if (why == end_reason::tunnel_client_reset || why == end_reason::tunnel_upstream_reset) {
        left_.abort();
        right_.abort();
    } else {
        left_.close();
        right_.close();
    }
}

template <class Follower>
std::chrono::milliseconds pump_pair<Follower>::limit() const noexcept {
    bool one_ended = right_bound_.over || left_bound_.over || right_bound_.ending;
    return one_ended ? limits_.linger : limits_.idle;
}

} // namespace relais
