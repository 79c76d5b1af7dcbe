#pragma once

#include <relais/config.hpp>
#include <relais/core/error.hpp>
#include <relais/http/status_set.hpp>
#include <relais/upstream/admission.hpp>
#include <relais/upstream/impl/gate.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

namespace relais {

/// When a group of servers is left alone for a while.
struct circuit_breaker_options {
    /// Failures among the last `of` exchanges that open it; 0: never, the default. What is left of a group that fails is mostly
    /// better found by ejecting servers.
    unsigned failures = 0;

    /// How many exchanges are looked back on; 1 to 10,000, and no fewer than `failures`.
    unsigned of = 100;

    /// How old a failure may be to be counted.
    std::chrono::milliseconds window{std::chrono::seconds(10)};

    /// How long it stays open; requests are answered 503 at once.
    std::chrono::milliseconds open_for{std::chrono::seconds(5)};

    /// Exchanges at once that try the group after that; 1 to 255.
    unsigned probes = 1;

    /// How many of them have to succeed, without a failure, before it closes; 1 to 31.
    unsigned successes = 3;

    /// Statuses that are failures too, `{500, 503}`.
    status_set failure_statuses{};
};

/// Whether exchanges pass.
enum class circuit_state : std::uint8_t {
    closed, ///< they pass
    open,   ///< none passes; one that asks after the time is over tries the group
    half_open,
};

/// Keeps requests away from a group of servers of which most fail, so that it has a chance to recover. Shared by all workers.
///
///     auto const in = breaker.enter(now);
///     if (!in) ... 503, Retry-After: breaker.retry_after(now)
///     ... breaker.ended(in, why, status, now);
///
/// Thread-safe, without a lock; time is the caller's. Off, it costs one load. A verdict is on a request as its client sees it,
/// after all retries. Source: Nygard, "Release It!", 2007.
class circuit_breaker {
public:
    using time_point = std::chrono::steady_clock::time_point;

    explicit circuit_breaker(circuit_breaker_options options);
    circuit_breaker(circuit_breaker const&) = delete;
    circuit_breaker& operator=(circuit_breaker const&) = delete;

    /// Checks options. \throws startup_error that says what is wrong with them.
    static void check(circuit_breaker_options const& options);

    /// Before a request's first try: lets it in, or does not. Each one let in gives one verdict: `ended`, or one of
    /// `succeeded`, `failed` and `abandon`.
    admission enter(time_point now) noexcept;

    /// The verdict that follows from how an exchange ended.
    /// \param status of the response, 0 where none came.
    void ended(admission in, end_reason why, unsigned status, time_point now) noexcept;

    void succeeded(admission in, time_point now) noexcept;
    void failed(admission in, time_point now) noexcept;

    /// It ended without saying anything about the group: the client left.
    void abandon(admission in) noexcept;

    /// When a client that was turned away may come again; a second or more.
    std::chrono::seconds retry_after(time_point now) const noexcept;

    circuit_state state() const noexcept;

    /// How often it opened.
    std::uint64_t openings() const noexcept { return openings_.load(std::memory_order_relaxed); }

private:
    using phases = detail::gate_state::phases;

    static constexpr unsigned most_exchanges = 10'000;

    bool off() const noexcept { return options_.failures == 0; }
    void note(bool failed, std::uint64_t now) noexcept;
    unsigned failures_since(std::uint64_t time) const noexcept;
    void open(admission in, std::uint64_t now) noexcept;

    circuit_breaker_options options_;
    detail::gate gate_; ///< its count: exchanges on trial that succeeded
    std::vector<std::atomic<std::uint64_t>>
        last_; ///< a ring: the millisecond and, in bit 0, a failure
    std::atomic<std::uint64_t> next_{0};
    std::atomic<std::uint32_t> failures_{0}; ///< in the ring, of any age
    std::atomic<std::uint64_t> openings_{0};
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/circuit_breaker.ipp>
#endif
