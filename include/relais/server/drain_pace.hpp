#pragma once

#include <relais/config.hpp>

#include <chrono>
#include <cstddef>

namespace relais {

/// Spreads the ends of what lasts evenly over a time: how many are due, each time somebody asks.
class drain_pace {
public:
    using clock = std::chrono::steady_clock;

    /// \param share of a piece that is due at the beginning, 0 to 1: drawn at random, so that workers and instances that
    /// drain at the same time, a few tunnels each, do not act in step.
    drain_pace(clock::time_point began, clock::duration spread, double share) noexcept
        : end_(began + spread), last_(began), due_(share) {}

    /// \param left how many there still are; more may have come. \return how many of them are due at `now`.
    std::size_t due(clock::time_point now, std::size_t left) noexcept {
        auto const passed = std::chrono::duration<double>(now - last_);
        auto const time = std::chrono::duration<double>(end_ - last_);
        last_ = now;
        if (passed >= time)
            return left;
        due_ += static_cast<double>(left) * (passed / time);
        auto const count = static_cast<std::size_t>(due_);
        due_ -= static_cast<double>(count);
        return count;
    }

private:
    clock::time_point end_;
    clock::time_point last_;
    double due_;
};

} // namespace relais
