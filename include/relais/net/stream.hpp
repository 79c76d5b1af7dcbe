#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/waiter.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace relais {

class socket;

/// What a try brought.
enum class io_state : std::uint8_t {
    ok,          ///< bytes were moved
    would_block, ///< nothing now: wait, then try again
    end,         ///< the peer said that nothing more comes
    error        ///< the connection broke, or its bytes make no sense
};

/// What a try brought, and how many bytes.
struct io_result {
    std::size_t count = 0;
    io_state state = io_state::ok;
};

namespace detail {

enum class gate_side : std::uint8_t { read, write };

struct initiate_ready {
    template <class Handler>
    void operator()(Handler handler, readiness_gate* g, gate_side side,
                    std::chrono::milliseconds limit) const;
};

} // namespace detail

/// The bytes of one peer: non-blocking, and based on readiness, so that waiting holds no buffer and a ready
/// operation suspends nothing.
///
/// One tries first and waits only after `would_block`:
///
///     for (;;) {
///         auto got = s.try_read(buffer);
///         if (got.state != io_state::would_block)
///             break;
///         auto why = co_await s.readable(60s);
///         if (why != wait_result::ready)
///             co_return;
///     }
///
/// At most one coroutine waits for each direction. A stream belongs to the thread of its worker.
class stream {
public:
    stream(stream const&) = delete;
    stream& operator=(stream const&) = delete;
    virtual ~stream() = default;

    /// Reads what is there. Never blocks.
    virtual io_result try_read(std::span<std::byte> to) = 0;

    /// Writes as much as is taken. What was taken counts as sent, though a layer may still hold some of it: see
    /// `try_flush`. Never blocks.
    virtual io_result try_write(std::span<boost::asio::const_buffer const> from) = 0;

    /// Passes on what a layer took and still holds. `ok` when nothing is held any more.
    virtual io_result try_flush() { return {}; }

    /// Tells the peer that nothing more comes, after everything that was written. Reading goes on.
    virtual void shutdown_send() = 0;

    /// Ends the stream. Who waits on it is woken and finds the end.
    virtual void close() noexcept = 0;

    /// Ends the stream so that the peer sees an error rather than a clean end.
    virtual void abort() noexcept = 0;

    /// The kernel's socket when nothing lies between, for splice and sendfile; null otherwise.
    virtual socket* plain() noexcept { return nullptr; }

    /// Has the kernel find out that a peer is gone though nothing is sent: TCP keepalive where there is TCP below.
    virtual void set_keepalive() noexcept {}

    /// Writes one range.
    io_result try_write(std::span<std::byte const> from) {
        boost::asio::const_buffer one(from.data(), from.size());
        return try_write(std::span<boost::asio::const_buffer const>(&one, 1));
    }

    /// Writes text.
    io_result try_write(std::string_view from) { return try_write(std::as_bytes(std::span(from))); }

    /// Waits until a read may bring something; completes with `wait_result`. Completes soon when one may already.
    ///
    /// \param limit at most this long; zero: no limit, for callers that have a deadline elsewhere.
    /// Cancellation: every type, with `wait_result::cancelled`. No coroutine frame of its own.
    template <class Token = boost::asio::deferred_t const&>
    auto readable(std::chrono::milliseconds limit, Token&& token = boost::asio::deferred) {
        return boost::asio::async_initiate<Token, void(wait_result)>(
            detail::initiate_ready{}, token, gate_, detail::gate_side::read, limit);
    }

    /// Waits until a write may take something; otherwise as `readable`.
    template <class Token = boost::asio::deferred_t const&>
    auto writable(std::chrono::milliseconds limit, Token&& token = boost::asio::deferred) {
        return boost::asio::async_initiate<Token, void(wait_result)>(
            detail::initiate_ready{}, token, gate_, detail::gate_side::write, limit);
    }

    /// Whether an idle stream is still good: nothing came, and nobody hung up. After a message that was read to its
    /// exact length the readable flag may be up for nothing: that is settled here, and a byte that did come is lost.
    bool quiet() {
        if (gate_->closed || gate_->hung_up)
            return false;
        if (!gate_->readable && !gate_->holds_input)
            return true;
        std::byte one;
        return try_read(std::span<std::byte>(&one, 1)).state == io_state::would_block;
    }

    /// Whether the peer sent its end or the connection broke, as far as events have told.
    bool hung_up() const noexcept { return gate_->hung_up; }

    /// The flags and waiting places that all layers of this stream share.
    detail::readiness_gate& ready() noexcept { return *gate_; }
    detail::readiness_gate const& ready() const noexcept { return *gate_; }

protected:
    /// \param g of a layer: that of the stream below, `&below->ready()`.
    explicit stream(detail::readiness_gate* g) noexcept : gate_(g) {}
    detail::readiness_gate* gate_;
};

namespace detail {

/// Whether a wait for this side would end at once.
inline bool is_ready(readiness_gate const& g, gate_side side) noexcept {
    if (g.closed)
        return true;
    return side == gate_side::read ? (g.readable || g.holds_input) && !g.read_needs_write
                                   : g.writable;
}

inline wait_slot& slot_of(readiness_gate& g, gate_side side) {
    bool reading = side == gate_side::read;
    if (g.again) {
        if (reading && !g.read_needs_write)
            g.again->want_read();
        else
            g.again->want_write();
    }
    return reading ? g.reader : g.writer;
}

template <class Handler>
void complete_soon(Handler handler) { // not on this stack: a loop over ready streams must not nest
    auto executor = executor_of(handler);
    boost::asio::post(executor,
                      [h = std::move(handler)]() mutable { std::move(h)(wait_result::ready); });
}

struct initiate_either {
    template <class Handler>
    void operator()(Handler handler, readiness_gate* a, gate_side a_side, readiness_gate* b,
                    gate_side b_side, std::chrono::milliseconds limit) const {
        if (is_ready(*a, a_side) || is_ready(*b, b_side)) {
            complete_soon(std::move(handler));
            return;
        }
        auto& slot = slot_of(*a, a_side);
        slot.join(slot_of(*b, b_side));
        slot.occupy(std::move(handler), limit);
    }
};

template <class Handler>
void initiate_ready::operator()(Handler handler, readiness_gate* g, gate_side side,
                                std::chrono::milliseconds limit) const {
    if (is_ready(*g, side))
        complete_soon(std::move(handler));
    else
        slot_of(*g, side).occupy(std::move(handler), limit);
}

} // namespace detail

/// Waits until either of two streams may be read; as `stream::readable` otherwise.
template <class Token = boost::asio::deferred_t const&>
auto readable_either(stream& one, stream& other, std::chrono::milliseconds limit,
                     Token&& token = boost::asio::deferred) {
    return boost::asio::async_initiate<Token, void(wait_result)>(
        detail::initiate_either{}, token, &one.ready(), detail::gate_side::read, &other.ready(),
        detail::gate_side::read, limit);
}

/// Waits until a stream may be read or written; as `stream::readable` otherwise.
template <class Token = boost::asio::deferred_t const&>
auto readable_or_writable(stream& one, std::chrono::milliseconds limit,
                          Token&& token = boost::asio::deferred) {
    return boost::asio::async_initiate<Token, void(wait_result)>(
        detail::initiate_either{}, token, &one.ready(), detail::gate_side::read, &one.ready(),
        detail::gate_side::write, limit);
}

/// How `write_all` ended.
enum class write_result : std::uint8_t { done, failed, timed_out, cancelled };

/// Writes all of `bytes` and flushes; a cold path for what could not be written at once.
///
/// \param limit at most this long without progress. Cancellation: every type, with `write_result::cancelled`.
awaitable<write_result> write_all(stream& to, std::span<std::byte const> bytes,
                                  std::chrono::milliseconds limit);

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/stream.ipp>
#endif
