#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/error.hpp>
#include <relais/core/worker.hpp>
#include <relais/net/splice.hpp>
#include <relais/net/stream.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

namespace relais {

/// How long the two directions of a relay may be quiet.
struct pump_limits {
    std::chrono::milliseconds idle;   ///< without a byte in either direction
    std::chrono::milliseconds linger; ///< without a byte once one direction has ended
};

/// Follows no protocol: what a relay of plain bytes gives to `pump_pair`.
class no_follower {
public:
    static constexpr bool can_end = false; ///< whether a last message may be put between the bytes
    static constexpr std::size_t head_size = 1; ///< bytes that tell how much payload follows them
    bool close_seen() const noexcept { return false; }
    void consume(std::span<std::byte const>) noexcept {}
    void skip(std::uint64_t) noexcept {}
    std::uint64_t payload_left() const noexcept {
        return std::numeric_limits<std::uint64_t>::max();
    }
};

/// Moves bytes between two streams, both ways, until both have ended or one broke.
///
/// A direction reads as much as the worker's scratch holds while its last write went through whole; after a short
/// write at most `careful_size` until that is drained. So a direction holds at most one scratch buffer, and an idle one
/// nothing. A direction that ends is flushed and passed on as an end; the other one goes on.
///
/// `Follower` sees all bytes of a direction and may allow that a last message is put between two of theirs.
template <class Follower>
class pump_pair {
public:
    static constexpr std::size_t careful_size = 16 * 1024;

    /// \param left, right have to outlive `run()`.
    pump_pair(stream& left, stream& right, pump_limits limits) noexcept;
    pump_pair(pump_pair const&) = delete;
    pump_pair& operator=(pump_pair const&) = delete;

    /// Bytes that were read from a side already and go first.
    void preload(std::string from_left, std::string from_right);

    /// Runs until the end: one direction as a coroutine of its own, the other awaited. Closes both streams.
    awaitable<end_reason> run();

    /// Ends both directions where their follower allows it: `farewell` is sent to that side, what the other sends
    /// from then on is dropped until it ends too.
    void end_with(std::string farewell_to_right, std::string farewell_to_left);

    /// Bytes that went from left to right and back.
    std::uint64_t moved_right() const noexcept { return right_bound_.moved; }
    std::uint64_t moved_left() const noexcept { return left_bound_.moved; }

private:
    enum class step : std::uint8_t { read, write, again, copy, end, broken };

    static constexpr std::size_t splice_least = 32 * 1024; // what a pipe is worth its calls for
    static constexpr std::size_t splice_enough = 256 * 1024;

    struct direction {
        direction(stream& f, stream& t, end_reason broken_from, end_reason broken_to) noexcept
            : from(f), to(t), from_broke(broken_from), to_broke(broken_to) {}
        stream& from;
        stream& to;
        std::string held;
        std::string farewell;
        splice_pipe pipe;
        std::uint64_t moved = 0;
        [[no_unique_address]] Follower follower;
        end_reason from_broke;
        end_reason to_broke;
        bool bulk = false; ///< reads come in large pieces
        bool in_pipe =
            false; ///< the payload that comes is the rest of one that went through the pipe
        bool careful = false; ///< the last write was short
        bool ending = false;  ///< the farewell is to be sent at the next boundary, or was sent
        bool said = false;    ///< it was sent: what comes is dropped
        bool over = false;
    };

    awaitable<> pump(direction& d);
    step advance(direction& d);
    step write_held(direction& d);
    step move_spliced(direction& d);
    step fill_pipe(direction& d, int from);
    step say_farewell(direction& d);
    std::size_t allowed(direction& d, std::span<std::byte const> bytes) const;
    void finish(direction& d);
    void fail(end_reason why);
    std::chrono::milliseconds limit() const noexcept;

    stream& left_;
    stream& right_;
    pump_limits limits_;
    direction right_bound_;
    direction left_bound_;
    ticks last_ = 0;
    end_reason reason_ = end_reason::completed;
};

} // namespace relais

#include <relais/net/impl/pump.hpp>
