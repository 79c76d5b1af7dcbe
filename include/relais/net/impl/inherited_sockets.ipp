#pragma once

#include <relais/core/error.hpp>
#include <relais/net/inherited_sockets.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace relais {

RELAIS_DECL inherited_sockets const& inherited_sockets::current() {
    static inherited_sockets const taken = [] {
        inherited_sockets made(std::getenv("LISTEN_PID"), std::getenv("LISTEN_FDS"),
                               std::getenv("LISTEN_FDNAMES"));
        for (auto name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) // not for our children
            ::unsetenv(name); // once, at the start. NOLINT(concurrency-mt-unsafe)
        return made;
    }();
    return taken;
}

RELAIS_DECL inherited_sockets::inherited_sockets(char const* pid, char const* count,
                                                 char const* names, int first) {
    auto number = [](char const* text) {
        int value = -1;
        if (text)
            std::from_chars(text, text + std::strlen(text), value);
        return value;
    };
    if (number(pid) != ::getpid())
        return;
    std::string_view rest = names ? names : "";
    for (int descriptor = first; descriptor < first + number(count); ++descriptor) {
        auto name = rest.substr(0, rest.find(':'));
        rest.remove_prefix(std::min(rest.size(), name.size() + 1));
        int listens = 0, type = 0;
        socklen_t size = sizeof listens;
        if (::getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens ||
            ::getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM)
            continue;
        sockaddr_storage bound{};
        socklen_t length = sizeof bound;
        if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&bound), &length) < 0)
            continue;
        ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
        ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
        auto const address =
            socket_address::from_kernel(reinterpret_cast<sockaddr*>(&bound), length);
        int one_family = 1;
        if (!address.is_unix()) { // what is accepted inherits it
            int one = 1;
            ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        }
        if (address.family() == AF_INET6)
            ::getsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &one_family, &size);
        all_.push_back(
            {descriptor, std::string(name), address, !one_family && address.ip().is_unspecified()});
    }
}

RELAIS_DECL inherited_sockets::one const*
inherited_sockets::find(socket_address const& address) const noexcept {
    for (auto const& o : all_)
        if (o.address == address ||
            (address.is_unix() && o.address.is_unix() && o.address.path() == address.path()))
            return &o;
    if (address.family() == AF_INET && address.ip().is_unspecified())
        for (auto const& o : all_)
            if (o.every_address && o.address.port() == address.port())
                return &o;
    return nullptr;
}

RELAIS_DECL inherited_sockets::one const& inherited_sockets::named(std::string_view name) const {
    one const* found = nullptr;
    std::string there;
    for (auto const& o : all_) {
        if (o.name == name) {
            if (found)
                throw startup_error("cannot listen on systemd:" + std::string(name) +
                                    ": more than one socket of that name was passed; give each a "
                                    "FileDescriptorName of its own, or listen on their addresses");
            found = &o;
        }
        there += (there.empty() ? "" : ", ") + o.name + " (" + o.address.to_string() + ')';
    }
    if (!found)
        throw startup_error(
            "cannot listen on systemd:" + std::string(name) + ": no such socket was passed, " +
            (there.empty() ? "nor any other; start the program through its socket unit"
                           : "only " + there + "; compare the FileDescriptorName of its unit"));
    return *found;
}

} // namespace relais
