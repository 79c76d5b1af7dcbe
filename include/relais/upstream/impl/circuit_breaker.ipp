#pragma once

#include <relais/upstream/circuit_breaker.hpp>
#include <relais/upstream/impl/verdict.hpp>

#include <algorithm>
#include <string>

namespace relais {

RELAIS_DECL void circuit_breaker::check(circuit_breaker_options const& options) {
    if (options.failures == 0)
        return;
    auto const fail = [](std::string const& why) {
        throw startup_error("circuit_breaker: " + why);
    };
    if (options.of < options.failures || options.of > most_exchanges)
        fail("there are never " + std::to_string(options.failures) + " failures among the last " +
             std::to_string(options.of) + " exchanges: write an .of from .failures to " +
             std::to_string(most_exchanges));
    if (options.window.count() <= 0)
        fail("within no time nothing is counted: write a .window of more than 0");
    if (options.open_for.count() <= 0)
        fail("it has to stay open for some time: write an .open_for of more than 0");
    if (options.probes < 1 || options.probes > 255)
        fail(std::to_string(options.probes) + " probes cannot try a group: write 1 to 255");
    if (options.successes < 1 || options.successes > detail::gate_state::most_counted)
        fail(std::to_string(options.successes) + " successes are not counted: write 1 to 31");
    if (auto const wrong = options.failure_statuses.wrong(); wrong != status_set::fine)
        fail(std::to_string(wrong) + " in failure_statuses is no status: write 100 to 999");
}

RELAIS_DECL circuit_breaker::circuit_breaker(circuit_breaker_options options)
    : options_(options),
      last_(options.failures == 0 ? 0 : std::clamp(options.of, 1u, most_exchanges)) {}

RELAIS_DECL admission circuit_breaker::enter(time_point now) noexcept {
    return gate_.enter(detail::milliseconds_of(now), options_.probes, [] {});
}

RELAIS_DECL void circuit_breaker::ended(admission in, end_reason why, unsigned status,
                                        time_point now) noexcept {
    switch (detail::verdict_of(why, status, options_.failure_statuses)) {
    case detail::verdict::nothing: return abandon(in);
    case detail::verdict::good: return succeeded(in, now);
    default: return failed(in, now);
    }
}

RELAIS_DECL void circuit_breaker::succeeded(admission in, time_point now) noexcept {
    if (off())
        return;
    auto const present = detail::milliseconds_of(now);
    if (!in.on_trial()) {
        if (detail::gate::stands(in, gate_.load()))
            note(false, present);
        return;
    }
    gate_.change([&](detail::gate_state& state) {
        if (!detail::gate::stands(in, state))
            return false;
        if (state.places > 0)
            --state.places;
        if (++state.count >= options_.successes)
            state.begin(phases::returned, present);
        return true;
    });
}

RELAIS_DECL void circuit_breaker::failed(admission in, time_point now) noexcept {
    if (off())
        return;
    auto const present = detail::milliseconds_of(now);
    if (in.on_trial())
        return open(in, present);
    auto const state = gate_.load();
    if (!detail::gate::stands(in, state))
        return;
    note(true, present);
    auto const window = static_cast<std::uint64_t>(options_.window.count());
    auto const since = std::max(state.at, present > window ? present - window : 0);
    if (failures_.load(std::memory_order_relaxed) >= options_.failures &&
        failures_since(since) >= options_.failures)
        open(in, present);
}

// A slot is counted by whoever puts something else into it, so that the sum is right whoever comes first.
RELAIS_DECL void circuit_breaker::note(bool failed, std::uint64_t now) noexcept {
    auto const at = next_.fetch_add(1, std::memory_order_relaxed) % last_.size();
    auto const before = last_[at].exchange(now << 1 | failed, std::memory_order_acq_rel);
    if ((before & 1) == std::uint64_t{failed})
        return;
    if (failed)
        failures_.fetch_add(1, std::memory_order_acq_rel);
    else
        failures_.fetch_sub(1, std::memory_order_acq_rel);
}

RELAIS_DECL unsigned circuit_breaker::failures_since(std::uint64_t time) const noexcept {
    return static_cast<unsigned>(std::count_if(last_.begin(), last_.end(), [time](auto const& one) {
        auto const entry = one.load(std::memory_order_relaxed);
        return (entry & 1) != 0 && entry >> 1 >= time;
    }));
}

RELAIS_DECL void circuit_breaker::open(admission in, std::uint64_t now) noexcept {
    auto const lasts = static_cast<std::uint64_t>(options_.open_for.count());
    bool const opened = gate_.change([&](detail::gate_state& state) {
        if (!detail::gate::stands(in, state))
            return false;
        state.count = 0;
        state.begin(phases::barred, now + lasts);
        return true;
    });
    if (opened)
        openings_.fetch_add(1, std::memory_order_relaxed);
}

RELAIS_DECL void circuit_breaker::abandon(admission in) noexcept {
    gate_.leave(in, options_.probes);
}

RELAIS_DECL std::chrono::seconds circuit_breaker::retry_after(time_point now) const noexcept {
    auto const state = gate_.load();
    auto const present = detail::milliseconds_of(now);
    if (state.phase != phases::barred || state.at <= present)
        return std::chrono::seconds(1);
    return std::chrono::ceil<std::chrono::seconds>(
        std::chrono::milliseconds(static_cast<std::int64_t>(state.at - present)));
}

RELAIS_DECL circuit_state circuit_breaker::state() const noexcept {
    switch (gate_.load().phase) {
    case phases::barred: return circuit_state::open;
    case phases::trial: return circuit_state::half_open;
    default: return circuit_state::closed;
    }
}

} // namespace relais
