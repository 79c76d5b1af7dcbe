#pragma once

#include <relais/core/error.hpp>
#include <relais/net/endpoint.hpp>

#include <charconv>
#include <cstddef>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

namespace relais {

RELAIS_DECL socket_address::socket_address(boost::asio::ip::address const& ip, std::uint16_t port) {
    if (ip.is_v4()) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(port);
        auto bytes = ip.to_v4().to_bytes();
        std::memcpy(&in.sin_addr, bytes.data(), bytes.size());
        std::memcpy(&storage_, &in, size_ = sizeof in);
    } else {
        sockaddr_in6 in{};
        in.sin6_family = AF_INET6;
        in.sin6_port = htons(port);
        auto bytes = ip.to_v6().to_bytes();
        std::memcpy(&in.sin6_addr, bytes.data(), bytes.size());
        in.sin6_scope_id = static_cast<std::uint32_t>(ip.to_v6().scope_id());
        std::memcpy(&storage_, &in, size_ = sizeof in);
    }
}

RELAIS_DECL socket_address socket_address::unix_path(std::string_view path) {
    sockaddr_un un{};
    if (path.empty() || path.size() >= sizeof un.sun_path)
        throw startup_error("the Unix socket path \"" + std::string(path) + "\" has to have 1 to " +
                            std::to_string(sizeof un.sun_path - 1) + " bytes: use a shorter path");
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, path.data(), path.size());
    socket_address made;
    made.size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    std::memcpy(&made.storage_, &un, sizeof un);
    return made;
}

RELAIS_DECL socket_address socket_address::from_kernel(sockaddr const* data,
                                                       socklen_t size) noexcept {
    socket_address made;
    made.size_ = size < sizeof made.storage_ ? size : socklen_t(sizeof made.storage_);
    std::memcpy(&made.storage_, data, made.size_);
    return made;
}

RELAIS_DECL boost::asio::ip::address socket_address::ip() const {
    namespace ip = boost::asio::ip;
    if (family() == AF_INET) {
        sockaddr_in in;
        std::memcpy(&in, &storage_, sizeof in);
        return ip::address_v4(ntohl(in.sin_addr.s_addr));
    }
    if (family() == AF_INET6) {
        sockaddr_in6 in;
        std::memcpy(&in, &storage_, sizeof in);
        ip::address_v6::bytes_type bytes;
        std::memcpy(bytes.data(), &in.sin6_addr, bytes.size());
        ip::address_v6 v6(bytes, in.sin6_scope_id);
        if (v6.is_v4_mapped())
            return ip::make_address_v4(ip::v4_mapped, v6);
        return v6;
    }
    return {};
}

RELAIS_DECL std::uint16_t socket_address::port() const noexcept {
    if (family() == AF_INET)
        return ntohs(reinterpret_cast<sockaddr_in const*>(&storage_)->sin_port);
    if (family() == AF_INET6)
        return ntohs(reinterpret_cast<sockaddr_in6 const*>(&storage_)->sin6_port);
    return 0;
}

RELAIS_DECL std::string_view socket_address::path() const noexcept {
    if (!is_unix() || size_ <= offsetof(sockaddr_un, sun_path))
        return {};
    auto* un = reinterpret_cast<sockaddr_un const*>(&storage_);
    return {un->sun_path, ::strnlen(un->sun_path, size_ - offsetof(sockaddr_un, sun_path))};
}

RELAIS_DECL std::string socket_address::to_string() const {
    if (is_unix())
        return "unix:" + std::string(path());
    auto text = ip().to_string();
    if (ip().is_v6())
        text = '[' + text + ']';
    return text + ':' + std::to_string(port());
}

RELAIS_DECL bool operator==(socket_address const& a, socket_address const& b) noexcept {
    return a.size_ == b.size_ && std::memcmp(&a.storage_, &b.storage_, a.size_) == 0;
}

RELAIS_DECL endpoint endpoint::parse(std::string_view text) {
    auto wrong = [&](char const* what) {
        return startup_error("\"" + std::string(text) + "\" is not an address: " + what +
                             "; write 0.0.0.0:443, [::]:443, name:443 or unix:/path");
    };
    endpoint made;
    if (text.starts_with("unix:")) {
        made.path = text.substr(5);
        if (made.path.empty())
            throw wrong("the path is missing");
        return made;
    }
    if (text.starts_with("systemd:")) {
        made.inherited = text.substr(8);
        if (made.inherited.empty())
            throw wrong("the name of the socket is missing");
        return made;
    }
    auto colon = text.rfind(':');
    if (colon == text.npos || (text.starts_with('[') && text[colon - 1] != ']'))
        throw wrong("the port is missing");
    auto host = text.substr(0, colon);
    auto port = text.substr(colon + 1);
    if (host.starts_with('[')) {
        if (!host.ends_with(']') || host.size() < 3)
            throw wrong("the bracket is not closed");
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != host.npos) {
        throw wrong("an IPv6 address needs brackets");
    }
    if (host.empty())
        throw wrong("the host is missing");
    unsigned number = 0;
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number > 65535)
        throw wrong("the port has to be a number up to 65535");
    made.host = host;
    made.port = port;
    return made;
}

RELAIS_DECL std::string endpoint::to_string() const {
    if (is_unix())
        return "unix:" + path;
    if (is_inherited())
        return "systemd:" + inherited;
    return (host.find(':') != host.npos ? '[' + host + ']' : host) + ':' + port;
}

RELAIS_DECL std::vector<socket_address> resolve(endpoint const& where) {
    if (where.is_unix())
        return {socket_address::unix_path(where.path)};
    if (where.is_inherited())
        throw startup_error(where.to_string() + " is a place to listen, nobody can connect to it: "
                                                "write its address");
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* found = nullptr;
    int failed = ::getaddrinfo(where.host.c_str(), where.port.c_str(), &hints, &found);
    if (failed)
        throw startup_error("the host \"" + where.host + "\" of " + where.to_string() +
                            " is not known (" + ::gai_strerror(failed) +
                            "): check the name or write an address");
    std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, &::freeaddrinfo);
    std::vector<socket_address> addresses;
    for (auto* one = found; one; one = one->ai_next)
        if (one->ai_family == AF_INET || one->ai_family == AF_INET6)
            addresses.push_back(socket_address::from_kernel(one->ai_addr, one->ai_addrlen));
    return addresses;
}

} // namespace relais
