#pragma once

#include <relais/config.hpp>

#include <cstdint>

namespace relais {

namespace detail {
class gate;
}

/// What `server_health::enter` or `circuit_breaker::enter` said to an exchange, which hands it back with its verdict, once.
///
/// It remembers what was so when the exchange began: who began before an ejection has no say in what comes after it, and
/// only who got a place on trial gives one back. A few bytes, copied freely; used by one exchange.
class admission {
public:
    /// Not let in.
    constexpr admission() noexcept = default;

    /// Whether the exchange may begin.
    constexpr explicit operator bool() const noexcept { return admitted_; }

    /// Whether it is one of the few that find out whether all is well again.
    constexpr bool on_trial() const noexcept { return on_trial_; }

private:
    friend class detail::gate;

    constexpr admission& admit(std::uint8_t generation, bool on_trial) noexcept {
        generation_ = generation;
        admitted_ = true;
        on_trial_ = on_trial;
        return *this;
    }

    std::uint8_t generation_ = 0;
    bool admitted_ = false;
    bool on_trial_ = false;
};

} // namespace relais
