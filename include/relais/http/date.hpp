#pragma once

#include <relais/config.hpp>

#include <array>
#include <chrono>
#include <string_view>

namespace relais {

/// A date as HTTP writes it, `Sun, 06 Nov 1994 08:49:37 GMT`. Source: RFC 9110, section 5.6.7.
std::array<char, 29> http_date(std::chrono::system_clock::time_point when) noexcept;

/// The present date on the current worker, at most half a second old. The view lasts as long as the worker; its
/// content changes.
std::string_view http_date_now();

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/date.ipp>
#endif
