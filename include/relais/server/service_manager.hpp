#pragma once

#include <relais/config.hpp>

#include <chrono>
#include <string_view>

namespace relais {

/// Tells the service manager that started this process how it is: `READY=1`, `STOPPING=1`, `STATUS=...`. `server::run()` tells the
/// first two, for units with `Type=notify`.
///
/// From any thread; never blocks. \param state lines of `NAME=value`. \return whether it was sent: false where the environment has no
/// `NOTIFY_SOCKET`. Source: sd_notify(3).
bool notify_service_manager(std::string_view state) noexcept;

/// Tells it that settings or certificates are loaded again, as long as the object exists: for units with
/// `Type=notify-reload`.
class reload_notice {
public:
    reload_notice() noexcept;
    reload_notice(reload_notice const&) = delete;
    reload_notice& operator=(reload_notice const&) = delete;
    ~reload_notice() { notify_service_manager("READY=1"); }
};

/// How often the service manager wants to hear `WATCHDOG=1` at least, before it takes this process for stuck; zero: not at
/// all. `server::run()` tells it as long as every worker gets round to its events. Source: sd_watchdog_enabled(3).
std::chrono::microseconds watchdog_limit() noexcept;

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/server/impl/service_manager.ipp>
#endif
