#pragma once

#include <relais/upstream/health.hpp>
#include <relais/upstream/impl/verdict.hpp>

#include <algorithm>
#include <string>

namespace relais {

RELAIS_DECL void server_health::check(server_health_options const& options) {
    auto const fail = [](std::string const& why) { throw startup_error("health: " + why); };
    auto const& passive = options.passive;
    if (passive.failures >= 1u << 24)
        fail("more than 16 million failures in a row are never met: write a smaller .failures, or "
             "0 for none");
    if (passive.window.count() <= 0)
        fail("within no time nothing is counted: write a .window of more than 0");
    if (passive.ejection.count() <= 0)
        fail("an ejection has to last: write an .ejection of more than 0, or .failures = 0 for "
             "none");
    if (passive.max_ejection < passive.ejection)
        fail("max_ejection is shorter than ejection: write at least " +
             std::to_string(passive.ejection.count()) + " ms");
    if (passive.probes < 1 || passive.probes > 255)
        fail(std::to_string(passive.probes) + " probes cannot try a server: write 1 to 255");
    if (auto const wrong = passive.failure_statuses.wrong(); wrong != status_set::fine)
        fail(std::to_string(wrong) + " in failure_statuses is no status: write 100 to 999");
    if (options.rise < 1 || options.fall < 1)
        fail("rise and fall count checks: write 1 or more");
    if (options.slow_start.count() < 0)
        fail("slow_start is less than 0: write how long it takes, or 0 for none");
}

RELAIS_DECL bool server_health::available(time_point now) const noexcept {
    auto const state = gate_.load();
    return state.passes() || state.tries(detail::milliseconds_of(now), options_.passive.probes);
}

RELAIS_DECL server_health::slow_start_step server_health::step_at(detail::gate_state const& state,
                                                                  time_point now) const noexcept {
    constexpr int shares = 10; // the last one is all of it, when the time is over
    if (state.phase != phases::returned || options_.slow_start.count() <= 0)
        return {1, time_point::max()};
    auto const since = detail::time_of(state.at);
    std::chrono::nanoseconds const whole = options_.slow_start;
    auto const step = std::max<std::int64_t>((now - since) * (shares - 1) / whole, 0);
    if (step >= shares - 1)
        return {1, time_point::max()};
    auto const until = (whole * (step + 1) + std::chrono::nanoseconds(shares - 2)) / (shares - 1);
    return {static_cast<double>(step + 1) / shares, since + until};
}

RELAIS_DECL double server_health::share(time_point now) const noexcept {
    return step_at(gate_.load(), now).share;
}

RELAIS_DECL server_health::time_point server_health::next_change(time_point now) const noexcept {
    auto const state = gate_.load();
    if (!state.down && state.phase == phases::barred && detail::milliseconds_of(now) < state.at)
        return detail::time_of(state.at);
    return state.down ? time_point::max() : step_at(state, now).until;
}

RELAIS_DECL admission server_health::enter(time_point now) noexcept {
    return gate_.enter(detail::milliseconds_of(now), options_.passive.probes,
                       [this] { note_change(); });
}

RELAIS_DECL void server_health::ended(admission in, end_reason why, unsigned status,
                                      time_point now) noexcept {
    switch (detail::verdict_of(why, status, options_.passive.failure_statuses)) {
    case detail::verdict::nothing: return abandon(in);
    case detail::verdict::good: return succeeded(in, now);
    case detail::verdict::failed_exchange: return failed(in, failure_kind::exchange, now);
    case detail::verdict::failed_status: return failed(in, failure_kind::status, now);
    }
}

RELAIS_DECL void server_health::succeeded(admission in, time_point now) noexcept {
    if (!in.on_trial()) {
        if (row_.load(std::memory_order_relaxed) != 0 && detail::gate::stands(in, gate_.load()))
            row_.store(0, std::memory_order_relaxed);
        return;
    }
    bool const back = gate_.change([&](detail::gate_state& state) {
        if (!detail::gate::stands(in, state))
            return false;
        state.begin(phases::returned, detail::milliseconds_of(now));
        return true;
    });
    if (!back)
        return;
    row_.store(0, std::memory_order_relaxed);
    note_change();
}

RELAIS_DECL void server_health::failed(admission in, failure_kind kind, time_point now) noexcept {
    auto& count = kind == failure_kind::status ? failed_statuses_ : failed_exchanges_;
    count.fetch_add(1, std::memory_order_relaxed);
    if (options_.passive.failures == 0 || !detail::gate::stands(in, gate_.load()))
        return;
    if (!in.on_trial() && add_failure(detail::milliseconds_of(now)) < options_.passive.failures)
        return;
    if (!eject(in, now))
        return;
    ejections_.fetch_add(1, std::memory_order_relaxed);
    note_change();
}

// Of several that meet the last failure of a row at once, one ejects it: the others are of a generation that is over.
RELAIS_DECL bool server_health::eject(admission in, time_point now) noexcept {
    auto const present = detail::milliseconds_of(now);
    return gate_.change([&](detail::gate_state& state) {
        if (!detail::gate::stands(in, state))
            return false;
        if (state.phase == phases::returned && present >= state.at + ejection_time(state.count))
            state.count = 0;
        if (state.count < state.most_counted)
            ++state.count;
        state.begin(phases::barred, present + ejection_time(state.count));
        return true;
    });
}

RELAIS_DECL std::uint64_t server_health::ejection_time(unsigned row) const noexcept {
    auto const most = static_cast<std::uint64_t>(options_.passive.max_ejection.count());
    auto time = static_cast<std::uint64_t>(options_.passive.ejection.count());
    for (; row > 1 && time < most; --row)
        time *= 2;
    return row == 0 ? 0 : std::min(time, most);
}

RELAIS_DECL unsigned server_health::add_failure(std::uint64_t now) noexcept {
    constexpr std::uint64_t counted = (1u << 24) - 1;
    auto const window = static_cast<std::uint64_t>(options_.passive.window.count());
    auto row = row_.load(std::memory_order_relaxed);
    for (;;) {
        auto const last = row >> 24;
        auto const before = now <= last + window ? row & counted : 0;
        auto const next = std::min(before + 1, counted);
        if (row_.compare_exchange_weak(row, std::max(last, now) << 24 | next,
                                       std::memory_order_relaxed))
            return static_cast<unsigned>(next);
    }
}

RELAIS_DECL void server_health::abandon(admission in) noexcept {
    if (gate_.leave(in, options_.passive.probes))
        note_change();
}

RELAIS_DECL void server_health::checked(bool good, time_point now) noexcept {
    if (!good)
        failed_checks_.fetch_add(1, std::memory_order_relaxed);
    constexpr std::int32_t most = 1 << 30;
    auto row = checks_.load(std::memory_order_relaxed);
    std::int32_t next;
    do {
        next = good ? std::clamp(row + 1, 1, most) : std::clamp(row - 1, -most, -1);
    } while (!checks_.compare_exchange_weak(row, next, std::memory_order_relaxed));
    auto const needed = static_cast<std::int64_t>(good ? options_.rise : options_.fall);
    if ((good ? next : -next) < needed)
        return;
    bool const changed = gate_.change([&](detail::gate_state& state) {
        if (state.down != good)
            return false;
        state.down = !good;
        state.count = 0;
        // What brings it up speaks of the present: an ejection of before is over.
        state.begin(phases::returned, detail::milliseconds_of(now));
        return true;
    });
    if (!changed)
        return;
    if (!good)
        downs_.fetch_add(1, std::memory_order_relaxed);
    row_.store(0, std::memory_order_relaxed);
    note_change();
}

RELAIS_DECL health_state server_health::state() const noexcept {
    auto const state = gate_.load();
    if (state.down)
        return health_state::down;
    switch (state.phase) {
    case phases::barred: return health_state::ejected;
    case phases::trial: return health_state::half_open;
    default: return health_state::healthy;
    }
}

RELAIS_DECL health_counts server_health::counts() const noexcept {
    auto const read = [](std::atomic<std::uint64_t> const& count) {
        return count.load(std::memory_order_relaxed);
    };
    return {read(failed_exchanges_),
            read(failed_statuses_),
            read(failed_checks_),
            read(ejections_),
            read(downs_),
            static_cast<unsigned>(read(row_) & ((1u << 24) - 1))};
}

} // namespace relais
