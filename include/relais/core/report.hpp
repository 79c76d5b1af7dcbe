#pragma once

#include <relais/config.hpp>

#include <exception>
#include <string_view>

namespace relais {

/// Where the library says what no client can be told: a stage that threw, a certificate that could not be loaded again.
/// Called from any worker; has to be thread-safe.
using report_function = void (*)(std::string_view sentence);

/// Replaces the receiver of reports; null restores the default, which writes one line to standard error.
void set_report_function(report_function receiver) noexcept;

/// Reports one sentence.
void report(std::string_view sentence) noexcept;

/// Reports what was thrown. An `operation_aborted` is no news: somebody left or the server stops.
void report_exception(std::string_view where, std::exception_ptr thrown) noexcept;

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/core/impl/report.ipp>
#endif
