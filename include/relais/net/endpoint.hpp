#pragma once

#include <relais/config.hpp>

#include <boost/asio/ip/address.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <vector>

namespace relais {

/// A resolved address of a stream socket: IPv4, IPv6 or a Unix path.
class socket_address {
public:
    socket_address() noexcept = default;
    socket_address(boost::asio::ip::address const& ip, std::uint16_t port);

    /// A Unix socket. \throws startup_error when the path does not fit into an address.
    static socket_address unix_path(std::string_view path);

    /// The address that the kernel wrote into `data`.
    static socket_address from_kernel(sockaddr const* data, socklen_t size) noexcept;

    sockaddr const* data() const noexcept { return reinterpret_cast<sockaddr const*>(&storage_); }
    socklen_t size() const noexcept { return size_; }
    int family() const noexcept { return storage_.ss_family; }
    bool is_unix() const noexcept { return family() == AF_UNIX; }

    /// The IP address; unspecified for a Unix socket. IPv4 mapped into IPv6 comes out as IPv4.
    boost::asio::ip::address ip() const;
    std::uint16_t port() const noexcept;

    /// The path of a Unix socket, empty otherwise.
    std::string_view path() const noexcept;

    /// As one writes it: `10.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock`.
    std::string to_string() const;

    friend bool operator==(socket_address const& a, socket_address const& b) noexcept;

private:
    sockaddr_storage storage_{};
    socklen_t size_ = 0;
};

/// Where to listen or to connect, as one writes it: `0.0.0.0:443`, `[::]:443`, `localhost:8080`, `unix:/path`; and to
/// listen only, `systemd:NAME`.
struct endpoint {
    std::string host;           ///< a name or an address; empty for a Unix socket
    std::string port;           ///< a number
    std::string path;           ///< of a Unix socket
    std::string inherited = {}; ///< the name of a socket that the service manager passes

    /// \throws startup_error that says what is wrong with the text and how to write it.
    static endpoint parse(std::string_view text);

    bool is_unix() const noexcept { return !path.empty(); }
    bool is_inherited() const noexcept { return !inherited.empty(); }
    std::string to_string() const;
};

/// The addresses of an endpoint; asks the system's resolver for names, so not to be called on a worker.
///
/// \throws startup_error when a name is not known, or for what is only to listen on.
std::vector<socket_address> resolve(endpoint const& where);

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/endpoint.ipp>
#endif
