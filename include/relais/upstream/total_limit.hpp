#pragma once

#include <relais/config.hpp>
#include <relais/core/error.hpp>
#include <relais/core/worker.hpp>

#include <algorithm>
#include <chrono>

namespace relais {

/// When an exchange with an upstream has to be over, all tries and waits of it together. On workers only.
class total_limit {
public:
    /// None.
    total_limit() = default;
    explicit total_limit(std::chrono::steady_clock::time_point end) noexcept : end_(end) {}

    bool exists() const noexcept { return end_ != std::chrono::steady_clock::time_point::max(); }
    bool is_over() const { return exists() && worker::current().now() >= end_; }

    /// A wait that ends by then.
    std::chrono::milliseconds cut(std::chrono::milliseconds wait) const {
        if (!exists())
            return wait;
        auto const left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end_ - worker::current().now());
        return std::clamp(left, std::chrono::milliseconds(1), wait);
    }

    /// Why a wait that was in vain ends the exchange, where that would be `why` without this limit.
    end_reason or_else(end_reason why) const { return is_over() ? end_reason::total_timeout : why; }

private:
    std::chrono::steady_clock::time_point end_ = std::chrono::steady_clock::time_point::max();
};

} // namespace relais
