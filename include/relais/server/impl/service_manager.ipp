#pragma once

#include <relais/server/service_manager.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

namespace relais {

RELAIS_DECL bool notify_service_manager(std::string_view state) noexcept {
    auto const* path = std::getenv("NOTIFY_SOCKET");
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    auto const length = path ? std::strlen(path) : 0;
    if (length < 2 || length >= sizeof to.sun_path || (*path != '/' && *path != '@'))
        return false;
    std::memcpy(to.sun_path, path, length);
    if (*path == '@') // an abstract name, without a zero at its end
        to.sun_path[0] = '\0';
    auto const size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
    int const descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        return false;
    auto const sent = ::sendto(descriptor, state.data(), state.size(), MSG_NOSIGNAL,
                               reinterpret_cast<sockaddr const*>(&to), size);
    ::close(descriptor);
    return sent == static_cast<ssize_t>(state.size());
}

RELAIS_DECL reload_notice::reload_notice() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    char text[64];
    std::snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
                  static_cast<long long>(now.tv_sec) * 1000000 + now.tv_nsec / 1000);
    notify_service_manager(text);
}

RELAIS_DECL std::chrono::microseconds watchdog_limit() noexcept {
    auto number = [](char const* name) {
        auto const* text = std::getenv(name);
        return text ? std::strtoll(text, nullptr, 10) : 0LL;
    };
    auto const pid = number("WATCHDOG_PID");
    if (pid && pid != ::getpid())
        return {};
    return std::chrono::microseconds(std::max(number("WATCHDOG_USEC"), 0LL));
}

} // namespace relais
