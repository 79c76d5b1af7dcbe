#pragma once

#include <relais/core/error.hpp>
#include <relais/http/status_set.hpp>

#include <cstdint>

namespace relais::detail {

// What an exchange says about the servers that were to answer it.
enum class verdict : std::uint8_t { nothing, good, failed_exchange, failed_status };

// `status` is 0 where no response came.
constexpr verdict verdict_of(end_reason why, unsigned status, status_set const& failures) noexcept {
    if (describe(why).counts_against_upstream)
        return verdict::failed_exchange;
    if (status == 0)
        return verdict::nothing;
    return failures.contains(status) ? verdict::failed_status : verdict::good;
}

} // namespace relais::detail
