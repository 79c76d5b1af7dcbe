#pragma once

#include <relais/config.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace relais {

/// Time as the deadlines count it: units of `deadline_wheel::resolution` since the worker began.
using ticks = std::uint32_t;

class deadline_wheel;

namespace detail {

struct deadline_link {
    deadline_link* previous = nullptr;
    deadline_link* next = nullptr;
};

} // namespace detail

/// One point in time at which something has waited long enough: an intrusive node of a `deadline_wheel`.
///
/// Arming and disarming write one number. A node stays linked where it was until its bucket comes round, and is
/// only moved at once when its new time lies before that.
class deadline : private detail::deadline_link {
public:
    using expired_function = void (*)(deadline&);

    explicit deadline(expired_function expired) noexcept : expired_(expired) {}
    deadline(deadline const&) = delete;
    deadline& operator=(deadline const&) = delete;
    ~deadline() { unlink(); }

    /// Forgets the deadline; does nothing when none is armed.
    void disarm() noexcept { at_ = 0; }

    /// Whether a deadline is set and has not passed yet.
    bool is_armed() const noexcept { return at_ != 0; }

private:
    friend class deadline_wheel;
    void unlink() noexcept;

    deadline_wheel* wheel_ = nullptr;
    ticks at_ = 0;
    ticks bucket_ = 0;
    expired_function expired_ = nullptr;
};

/// The deadlines of one worker, in buckets by time. Not thread-safe: a worker owns one.
class deadline_wheel {
public:
    static constexpr std::chrono::milliseconds resolution{50};

    /// `started` is called when the first node is linked, so that somebody begins to call `advance_to`.
    deadline_wheel(void (*started)(void*), void* context) noexcept;
    deadline_wheel(deadline_wheel const&) = delete;
    deadline_wheel& operator=(deadline_wheel const&) = delete;
    ~deadline_wheel();

    /// The tick that was reached last.
    ticks now() const noexcept { return now_; }

    /// A limit in ticks, rounded up so that nothing expires early; 0 for a limit of zero or less, which is none.
    static ticks ticks_of(std::chrono::milliseconds limit) noexcept {
        if (limit.count() <= 0)
            return 0;
        return static_cast<ticks>(
            std::min<std::int64_t>(limit.count() / resolution.count() + 2, 0x7fffffff));
    }

    /// Calls the node's function once `after` ticks have passed, 0 counting as 1, unless it is disarmed or armed again
    /// before.
    void arm(deadline& node, ticks after) noexcept {
        node.at_ =
            now_ + std::max<ticks>(after, 1); // the bucket of the present tick was emptied already
        if (!node.next || node.bucket_ > node.at_)
            relink(node);
    }

    /// Moves time on and calls what expires on the way. A call may destroy any node.
    void advance_to(ticks now);

    /// Sets the time without calling anything: for a wheel that was empty for a while.
    void reset_to(ticks now) noexcept { now_ = std::max(now_, now); }

    /// Whether no node is linked, so that nobody has to call `advance_to`.
    bool empty() const noexcept { return linked_ == 0; }

private:
    friend class deadline;
    static constexpr std::size_t buckets = 2048;

    void relink(deadline& node) noexcept;
    void insert(deadline& node) noexcept;

    ticks now_ = 1;
    std::size_t linked_ = 0;
    bool advancing_ = false; ///< somebody calls `advance_to` right now
    void (*started_)(void*);
    void* context_;
    std::array<detail::deadline_link, buckets> heads_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/core/impl/deadline.ipp>
#endif
