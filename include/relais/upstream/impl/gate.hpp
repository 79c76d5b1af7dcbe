#pragma once

#include <relais/upstream/admission.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace relais::detail {

// Milliseconds of the steady clock, as gates and budgets write them down: 40 bits are enough for 34 years.
inline std::uint64_t milliseconds_of(std::chrono::steady_clock::time_point time) noexcept {
    auto const count =
        std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count();
    return static_cast<std::uint64_t>(std::max<std::int64_t>(count, 0));
}

inline std::chrono::steady_clock::time_point time_of(std::uint64_t milliseconds) noexcept {
    return std::chrono::steady_clock::time_point(std::chrono::milliseconds(milliseconds));
}

// Something that exchanges pass through until it is barred; then, after a time, a few are let through on trial, and what
// becomes of them decides. All of it in one word, so that every step is one exchange of that word, whoever takes it.
struct gate_state {
    enum class phases : std::uint8_t {
        passing,  ///< never barred so far
        returned, ///< passing, since `at`
        barred,   ///< until `at`
        trial,    ///< `places` are taken
    };

    phases phase = phases::passing;
    bool down = false;
    std::uint8_t places = 0;
    std::uint8_t count = 0; ///< the owner's; less than 32
    std::uint8_t generation = 0;
    std::uint64_t at = 0; ///< milliseconds

    static constexpr std::uint8_t most_counted = 31;
    static constexpr std::uint64_t latest = (std::uint64_t{1} << 40) - 1;

    bool passes() const noexcept {
        return !down && (phase == phases::passing || phase == phases::returned);
    }

    // Whether one more may enter on trial.
    bool tries(std::uint64_t now, unsigned most) const noexcept {
        return !down &&
               (phase == phases::barred ? now >= at : phase == phases::trial && places < most);
    }

    // What entered before says nothing any more.
    void begin(phases next, std::uint64_t since) noexcept {
        phase = next;
        places = 0;
        at = std::min(since, latest);
        ++generation;
    }
};

class gate {
public:
    gate_state load() const noexcept { return unpacked(word_.load(std::memory_order_acquire)); }

    // Has `step` change the state, and again when somebody else was faster; nothing happens where it returns false.
    // \return whether it was changed.
    template <class Step>
    bool change(Step step) noexcept {
        auto word = word_.load(std::memory_order_acquire);
        for (;;) {
            auto state = unpacked(word);
            if (!step(state))
                return false;
            if (word_.compare_exchange_weak(word, packed(state), std::memory_order_acq_rel,
                                            std::memory_order_acquire))
                return true;
        }
    }

    // \param most places on trial. \param full called once the last one is taken.
    template <class Full>
    admission enter(std::uint64_t now, unsigned most, Full full) noexcept {
        admission in;
        if (auto const state = load(); state.passes())
            return in.admit(state.generation, false);
        bool last = false;
        change([&](gate_state& state) {
            in = {};
            last = false;
            if (state.passes()) { // by now
                in.admit(state.generation, false);
                return false;
            }
            if (!state.tries(now, most))
                return false;
            if (state.phase == gate_state::phases::barred) {
                state.phase = gate_state::phases::trial;
                state.places = 0;
            }
            last = ++state.places == most;
            in.admit(state.generation, true);
            return true;
        });
        if (last)
            full();
        return in;
    }

    // Gives a place on trial back. \return whether there had been no other one.
    bool leave(admission in, unsigned most) noexcept {
        bool was_full = false;
        bool const left = in.on_trial_ && change([&](gate_state& state) {
                              if (!stands(in, state) || state.places == 0)
                                  return false;
                              was_full = state.places-- == most;
                              return true;
                          });
        return left && was_full;
    }

    // Whether the state is still the one in which it was let in.
    static bool stands(admission in, gate_state const& state) noexcept {
        return in.admitted_ && in.generation_ == state.generation;
    }

private:
    // phase 2, down 1, count 5, places 8, generation 8, at 40
    static constexpr std::uint64_t packed(gate_state const& s) noexcept {
        return static_cast<std::uint64_t>(s.phase) | std::uint64_t{s.down} << 2 |
               std::uint64_t{s.count} << 3 | std::uint64_t{s.places} << 8 |
               std::uint64_t{s.generation} << 16 | s.at << 24;
    }
    static constexpr gate_state unpacked(std::uint64_t word) noexcept {
        return {
            static_cast<gate_state::phases>(word & 3), (word >> 2 & 1) != 0,
            static_cast<std::uint8_t>(word >> 8),      static_cast<std::uint8_t>(word >> 3 & 31),
            static_cast<std::uint8_t>(word >> 16),     word >> 24};
    }

    std::atomic<std::uint64_t> word_{0};
};

} // namespace relais::detail
