#pragma once

#include <relais/config.hpp>

#include <string_view>

namespace relais {

/// Tells the service manager that started this process how it is: `READY=1`, `STOPPING=1`, `STATUS=...`. `server::run()` tells the
/// first two, for units with `Type=notify`.
///
/// From any thread; never blocks. \param state lines of `NAME=value`. \return whether it was sent: false where the environment has no
/// `NOTIFY_SOCKET`. Source: sd_notify(3).
bool notify_service_manager(std::string_view state) noexcept;

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/server/impl/service_manager.ipp>
#endif
