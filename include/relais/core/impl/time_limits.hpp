#pragma once

#include <relais/core/error.hpp>

#include <chrono>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace relais::detail {

/// Every wait needs an end. \throws startup_error about the first of these options of `whom` that is 0 or less.
inline void require_time_limits(
    std::string_view whom,
    std::initializer_list<std::pair<std::string_view, std::chrono::milliseconds>> options) {
    for (auto const& [name, value] : options)
        if (value.count() <= 0)
            throw startup_error(std::string(whom) + ": " + std::string(name) +
                                " has to be longer than 0: every wait needs an end");
}

} // namespace relais::detail
