#pragma once

#include <relais/config.hpp>
#include <relais/core/clock.hpp>
#include <relais/core/worker.hpp>

#include <chrono>

namespace relais::testing {

/// Time that goes by only when a test says so.
class manual_clock final : public time_source {
public:
    std::chrono::steady_clock::time_point steady() const override { return steady_; }
    std::chrono::system_clock::time_point wall() const override { return wall_; }
    bool flows() const noexcept override { return false; }

    /// Moves the time on in steps as fine as deadlines are, and lets the worker run what each brings.
    void advance(worker& w, std::chrono::milliseconds by) {
        while (by.count() > 0) {
            auto step = by < deadline_wheel::resolution ? by : deadline_wheel::resolution;
            steady_ += step;
            wall_ += step;
            by -= step;
            w.catch_up();
            w.poll();
        }
    }

private:
    std::chrono::steady_clock::time_point steady_{std::chrono::hours(1)};
    std::chrono::system_clock::time_point wall_{
        std::chrono::seconds(784111777)}; // RFC 9110's example date
};

} // namespace relais::testing
