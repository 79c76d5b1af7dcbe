#pragma once

#include <relais/config.hpp>
#include <relais/core/error.hpp>
#include <relais/http/status_set.hpp>
#include <relais/upstream/admission.hpp>
#include <relais/upstream/impl/gate.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace relais {

/// What the exchanges with a server say about its health.
struct passive_health_options {
    /// A server is ejected after so many failures in a row, each at most `window` after the one before: a success in between
    /// begins the count anew. 0: never.
    ///
    /// In a row, as Envoy counts (its default too), and not in all, as nginx does: one request in a thousand that fails
    /// ejects no server, however many there are a second. More than nginx's 1: a single reset or a slow page is no outage.
    unsigned failures = 5;

    /// How far apart failures of one row may be. It bounds what is remembered of a server that few ask, and is no period in
    /// which all of them have to fall: one that is asked every five seconds and never answers is ejected too.
    std::chrono::milliseconds window{std::chrono::seconds(10)};

    /// How long the first ejection lasts; each further one in a row lasts twice as long as the one before. A row ends when
    /// the server has done well for as long as its last ejection lasted.
    std::chrono::milliseconds ejection{std::chrono::seconds(10)};

    /// How long an ejection lasts at most.
    std::chrono::milliseconds max_ejection{std::chrono::seconds(300)};

    /// How many exchanges at once try a server whose ejection is over, until one of them succeeds; 1 to 255.
    unsigned probes = 1;

    /// Statuses of responses that are failures too, `{500, 503}`. None by default: a page that fails is not yet a server that
    /// fails.
    status_set failure_statuses{};
};

/// How a server's health is judged.
struct server_health_options {
    passive_health_options passive{};

    unsigned rise = 2; ///< good checks in a row that bring a server back up; 1 or more
    unsigned fall = 3; ///< bad checks in a row that take it down; 1 or more

    /// How long a server takes from a tenth of its weight to all of it once it has come back; not at first start. 0: at once.
    std::chrono::milliseconds slow_start{0};
};

/// What is known of a server's health.
enum class health_state : std::uint8_t {
    healthy,   ///< with all its weight, or on the way there
    ejected,   ///< by what exchanges met; one that asks after the time is over tries it
    half_open, ///< the ejection is over, and few exchanges try it
    down,      ///< by checks, until checks bring it up
};

/// What kind of failure an exchange met.
enum class failure_kind : std::uint8_t {
    exchange, ///< the server could not be reached, broke off, or took too long
    status,   ///< it answered with one of the `failure_statuses`
};

/// What happened to a server since it is known.
struct health_counts {
    std::uint64_t failed_exchanges = 0;
    std::uint64_t failed_statuses = 0;
    std::uint64_t failed_checks = 0;
    std::uint64_t ejections = 0;
    std::uint64_t downs = 0;        ///< how often checks took it down
    unsigned failures_in_a_row = 0; ///< of those that may lead to the next ejection
};

/// The health of one server, shared by all workers: no lock, and while it is well two loads for an exchange.
///
///     auto const in = health.enter(now);
///     if (!in) ... another server
///     ... health.ended(in, why, status, now);
///
/// Exchanges eject it, with time it comes back half open, and a few that try it decide; checks take it down and up. Whatever
/// is not healthy in either way is not available. Thread-safe; time is the caller's, the same steady clock for all.
class server_health {
public:
    using time_point = std::chrono::steady_clock::time_point;

    /// \param changes is raised whenever `available`, `share` or `next_change` say something new for another reason than
    /// time: the sign for workers to look again. Has to outlive this.
    server_health(server_health_options options, std::atomic<std::uint64_t>& changes) noexcept
        : options_(options), changes_(changes) {}
    server_health(server_health const&) = delete;
    server_health& operator=(server_health const&) = delete;

    /// Checks options. \throws startup_error that says what is wrong with them.
    static void check(server_health_options const& options);

    /// Whether an exchange would be let in.
    bool available(time_point now) const noexcept;

    /// What part of its weight it should have, 0.1 to 1: less than 1 during slow start, which goes in ten steps.
    double share(time_point now) const noexcept;

    /// When `available` or `share` change by time alone; `time_point::max()` if they do not.
    time_point next_change(time_point now) const noexcept;

    /// Before a request is sent: lets it in, or does not. Half open, an exchange takes one of the places on trial. Each one
    /// let in gives one verdict: `ended`, or one of `succeeded`, `failed` and `abandon`.
    admission enter(time_point now) noexcept;

    /// The verdict on the server that follows from how an exchange ended. To be told at its end, as a body may still fail;
    /// once the head of the response is there where `in.on_trial()` or a tunnel begins, which may last for hours.
    /// \param status of the response, 0 where none came.
    void ended(admission in, end_reason why, unsigned status, time_point now) noexcept;

    /// The server did what it should.
    void succeeded(admission in, time_point now) noexcept;

    /// The server failed.
    void failed(admission in, failure_kind kind, time_point now) noexcept;

    /// The exchange ended without saying anything about the server: the client left.
    void abandon(admission in) noexcept;

    /// The result of an active check.
    void checked(bool good, time_point now) noexcept;

    health_state state() const noexcept;
    health_counts counts() const noexcept;

private:
    using phases = detail::gate_state::phases;

    bool eject(admission in, time_point now) noexcept;
    std::uint64_t ejection_time(unsigned row) const noexcept;
    unsigned add_failure(std::uint64_t now) noexcept;
    void note_change() noexcept { changes_.fetch_add(1, std::memory_order_release); }

    struct slow_start_step {
        double share;
        time_point until;
    };
    slow_start_step step_at(detail::gate_state const& state, time_point now) const noexcept;

    server_health_options options_;
    std::atomic<std::uint64_t>& changes_;
    detail::gate gate_;                   ///< its count: the ejections in a row
    std::atomic<std::uint64_t> row_{0};   ///< failures in a row, 24 bits, and when the last one was
    std::atomic<std::int32_t> checks_{0}; ///< in a row: good ones are positive
    std::atomic<std::uint64_t> failed_exchanges_{0};
    std::atomic<std::uint64_t> failed_statuses_{0};
    std::atomic<std::uint64_t> failed_checks_{0};
    std::atomic<std::uint64_t> ejections_{0};
    std::atomic<std::uint64_t> downs_{0};
};

/// Whether a group goes by the health of its servers no more: too few are left to carry the load of all, or there is one
/// server only, which may as well be tried.
///
/// \param available how many of its servers are. \param total how many there are.
/// \param panic_threshold the part of them that has to be available, 0 to 1; 0: health always counts, and with none left
/// requests are refused.
constexpr bool ignores_health(std::size_t available, std::size_t total,
                              double panic_threshold) noexcept {
    return total == 1 ||
           static_cast<double>(available) < panic_threshold * static_cast<double>(total);
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/health.ipp>
#endif
