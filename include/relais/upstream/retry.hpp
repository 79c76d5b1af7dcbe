#pragma once

#include <relais/config.hpp>
#include <relais/core/error.hpp>
#include <relais/http/fields.hpp>
#include <relais/http/status_set.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>

namespace relais {

/// Whether asking twice is meant to do the same as asking once. Source: RFC 9110, section 9.2.2.
constexpr bool is_idempotent(verb method) noexcept {
    switch (method) {
    case verb::get:
    case verb::head:
    case verb::options:
    case verb::trace:
    case verb::put:
    case verb::delete_: return true;
    default: return false;
    }
}

/// When a request that failed goes to another server.
struct retry_options {
    /// How often a request is tried in all, the first time among them; 1: never again.
    unsigned tries = 3;

    /// No try begins once so much time has passed since the first one did. Each has the time-outs it always has.
    std::chrono::milliseconds total{std::chrono::seconds(10)};

    /// Retries for each request, 0 to 1: 0.2 adds at most a fifth to the load of servers that are failing already.
    double budget = 0.2;

    /// Retries a second that the budget always has, of all workers: what a service with few requests lives on.
    unsigned budget_minimum = 10;

    /// Statuses that count as failures, `{502, 503, 504}`. The answer is passed on where no other try is allowed. None by
    /// default: the server may have acted on the request.
    status_set statuses{};

    /// Also requests that may do something twice, POST and PATCH among them, where the server may have seen them. Those that it
    /// cannot have seen are tried again in any case.
    bool non_idempotent = false;
};

/// What is known of a try that is over.
struct finished_try {
    end_reason why = end_reason::completed; ///< of the try; `completed` where a response came
    unsigned status = 0;                    ///< of the response; 0 where none came
    bool idempotent = false;                ///< `is_idempotent` of the request's method
    bool replayable = false; ///< whether all of the request's body can be sent once more
    unsigned tries = 1;      ///< this one among them
    std::chrono::milliseconds passed{0}; ///< since the first one began
};

/// Whether there is another try, or why not.
enum class retry_verdict : std::uint8_t {
    again,        ///< if the budget has one
    answered,     ///< there is nothing to be tried again
    not_the_kind, ///< of failure that another try may mend, or the request may have been acted on
    body_gone,    ///< the request's body was sent and is not kept
    tried_enough,
    took_too_long,
};

/// Decides; to be asked only as long as no byte of a response has reached the client. `retry_budget` has the last word.
constexpr retry_verdict decide(finished_try const& last, retry_options const& options) noexcept {
    bool const repeatable = last.idempotent || options.non_idempotent;
    if (last.why != end_reason::completed) {
        if (!may_retry(last.why, repeatable))
            return retry_verdict::not_the_kind;
    } else if (!options.statuses.contains(last.status)) {
        return retry_verdict::answered;
    } else if (!repeatable) {
        return retry_verdict::not_the_kind;
    }
    if (!last.replayable)
        return retry_verdict::body_gone;
    if (last.tries >= options.tries)
        return retry_verdict::tried_enough;
    return last.passed >= options.total ? retry_verdict::took_too_long : retry_verdict::again;
}

/// Bounds the retries of a group, so that they do not bring down what is left of it: a bucket of tokens that requests and
/// time fill and retries empty. What it saves for later is ten seconds' worth of the minimum.
///
/// Thread-safe, without a lock; while it is full, as it is when all is well, a request costs one load.
class retry_budget {
public:
    using time_point = std::chrono::steady_clock::time_point;

    explicit retry_budget(retry_options const& options) noexcept;
    retry_budget(retry_budget const&) = delete;
    retry_budget& operator=(retry_budget const&) = delete;

    /// Checks options. \throws startup_error that says what is wrong with them.
    static void check(retry_options const& options);

    /// For each request, before its first try.
    void deposit(time_point now) noexcept;

    /// For each retry, before it. \return false when there is none left.
    bool withdraw(time_point now) noexcept;

    /// Retries that are there now.
    unsigned left(time_point now) const noexcept;

private:
    struct content;
    content at(std::uint64_t word, std::uint64_t now) const noexcept;

    std::uint64_t share_;  ///< for each request, in thousandths of a token
    std::uint64_t refill_; ///< tokens a second, which is thousandths a millisecond
    std::uint64_t most_;   ///< thousandths
    std::atomic<std::uint64_t>
        content_; ///< the tokens, 24 bits, and the millisecond they were counted in
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/retry.ipp>
#endif
