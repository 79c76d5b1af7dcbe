#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/net/address_set.hpp>
#include <relais/net/connection.hpp>
#include <relais/net/endpoint.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace relais {

/// Which version of the PROXY protocol is sent.
enum class proxy_version : std::uint8_t {
    none,
    v1, ///< one line of text
    v2, ///< binary
};

/// What a proxy in front said about a connection. Source: the PROXY protocol, versions 1 and 2, by HAProxy.
struct proxy_header {
    /// One of the extra values of version 2.
    struct value {
        std::uint8_t type;
        std::string bytes;
    };

    proxy_version version = proxy_version::none;
    /// Empty where the proxy speaks for itself (LOCAL) or does not know (UNKNOWN): the connection's own addresses count.
    std::optional<socket_address> source{};
    std::optional<socket_address> destination{};
    std::vector<value> values{};

    /// The first value of a type; null without one.
    std::string const* find(std::uint8_t type) const noexcept;
};

/// What came of reading a header.
struct proxy_header_result {
    std::size_t size = 0;        ///< of the whole header, once it is there
    std::size_t missing = 0;     ///< at least so many bytes have to come before it can be decided
    std::string_view sentence{}; ///< what is wrong with it; empty: nothing
};

/// Reads a header at the beginning of `bytes`. It is complete when the result has neither `missing` nor a `sentence`.
///
/// \param most bytes that a header of version 2 may have, values included. A line of version 1 has at most 107.
proxy_header_result parse_proxy_header(std::span<std::byte const> bytes, std::size_t most,
                                       proxy_header& into);

/// Makes the header of a connection from `source` to `destination`; UNKNOWN or LOCAL where one of them is no IP address.
/// Where they are of two families, which a header cannot say, the one of IPv4 is mapped into IPv6: a receiver that was
/// told nothing would take the client for this gateway.
std::string make_proxy_header(proxy_version version, socket_address const& source,
                              socket_address const& destination);

/// From whom headers of the PROXY protocol are taken.
struct proxy_protocol_options {
    /// The load balancers in front: ranges as of `address_set`. They have to send a header.
    std::vector<std::string> trusted{};
    /// Let connections from everywhere else through as they are; otherwise they are closed.
    bool others = false;
    /// From accept to the whole header.
    std::chrono::milliseconds timeout = std::chrono::seconds(5);
    /// Bytes that a header may have, with the values of version 2.
    std::size_t max_size = 4096;
};

/// Takes the addresses of a connection from the header of the PROXY protocol, version 1 or 2, that a load balancer in
/// front sends. To stand before `tls()`, `max_connections()` and `allow()`.
///
/// Whoever is trusted has to send one: what comes without, malformed or too late is closed. The header itself is in
/// `connection::state`, as `proxy_header`.
class proxy_protocol_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("proxy_protocol()");
    explicit proxy_protocol_stage(proxy_protocol_options options);
    awaitable<> operator()(connection& c, connection::next next) const;

    /// \throws startup_error
    void prepare() const;

private:
    struct shared;
    awaitable<bool> read_header(connection& c) const;

    std::shared_ptr<shared> shared_;
};

/// See `proxy_protocol_stage`: `proxy_protocol({.trusted = {"10.0.0.0/8"}})`.
[[nodiscard]] inline proxy_protocol_stage proxy_protocol(proxy_protocol_options options) {
    return proxy_protocol_stage(std::move(options));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/proxy_protocol.ipp>
#endif
