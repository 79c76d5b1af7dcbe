#pragma once

#include <relais/config.hpp>

#include <chrono>

namespace relais {

/// Where a worker reads the time. Tests replace it by one that they advance.
class time_source {
public:
    virtual ~time_source() = default;
    virtual std::chrono::steady_clock::time_point steady() const {
        return std::chrono::steady_clock::now();
    }
    virtual std::chrono::system_clock::time_point wall() const {
        return std::chrono::system_clock::now();
    }

    /// Whether time goes by on its own; otherwise whoever advances it also moves the worker's deadlines.
    virtual bool flows() const noexcept { return true; }
};

} // namespace relais
