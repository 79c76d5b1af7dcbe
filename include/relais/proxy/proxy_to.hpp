#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>
#include <relais/net/proxy_protocol.hpp>
#include <relais/route/match.hpp>
#include <relais/tls/context.hpp>
#include <relais/upstream/upstream.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace relais {

/// Which fields tell the upstream about the client.
enum class forwarded_fields : std::uint8_t {
    none,
    x_forwarded, ///< X-Real-IP, X-Forwarded-For, -Proto, -Host and -Port
    rfc7239,     ///< Forwarded
    both,
};

/// Which form of the path goes to the upstream.
enum class path_form : std::uint8_t {
    canonical, ///< normalised: read in one way only
    as_sent,   ///< byte by byte, for signed URLs
};

/// How requests are passed on. Durations of zero are not allowed.
struct proxy_options {
    /// For connecting, over all addresses of the server.
    std::chrono::milliseconds connect_timeout = std::chrono::seconds(5);
    /// From the last byte of the request to the whole head of the response: 504.
    std::chrono::milliseconds first_byte_timeout = std::chrono::seconds(60);
    /// Between two pieces of the response's body.
    std::chrono::milliseconds read_timeout = std::chrono::seconds(60);
    /// For the server to take any of the bytes that wait for it.
    std::chrono::milliseconds write_timeout = std::chrono::seconds(60);
    /// From the first try to the last byte of the response, tunnels excepted; unset: as long as it goes on.
    std::optional<std::chrono::milliseconds> total_timeout{};
    /// A tunnel without a byte in either direction.
    std::chrono::milliseconds tunnel_timeout = std::chrono::minutes(10);
    /// A tunnel without a byte, once one side has ended.
    std::chrono::milliseconds linger = std::chrono::seconds(10);
    /// Idle connections that are kept per worker and server, and for how long.
    std::size_t pool_size = 64;
    std::chrono::milliseconds pool_timeout = std::chrono::seconds(60);
    /// How old a connection may become, and how many requests it may carry (0: any number), before another takes its place.
    std::chrono::milliseconds pool_max_age = std::chrono::hours(1);
    std::size_t pool_max_requests = 0;
    /// The address of this machine that connections come from; empty: the system's choice.
    std::string source_address{};
    /// Of a group of servers: what the route's prefix is replaced by, as the path in a URL is; empty: it stays.
    std::string prefix{};
    /// Send Host as the client sent it; otherwise as the upstream's URL has it.
    bool preserve_host = true;
    /// What tells the upstream about the client; what the client claims itself is dropped.
    forwarded_fields forwarded = forwarded_fields::x_forwarded;
    /// The pseudonym of this deployment in Via; empty: no Via. A request that carries it already is a loop: 508.
    std::string via{};
    path_form path = path_form::canonical;
    /// Put what the upstream says about its own address and paths into the client's words: Location, Content-Location and
    /// Refresh, as nginx's `proxy_redirect default`; for an upstream that answers in the client's words already: off.
    bool rewrite_location = true;
    /// The same for Path and Domain of Set-Cookie, as nginx's `proxy_cookie_path` and `proxy_cookie_domain`.
    bool rewrite_cookies = true;
    /// What a Domain becomes that the client would refuse, because it is the upstream's: a name that the client's host is or is
    /// below. Empty: it is taken off, and the cookie is for the client's host alone.
    std::string cookie_domain{};
    /// Begin each connection with a header of the PROXY protocol that tells the client's address, before TLS. A connection
    /// serves one client alone then, and is kept no longer than that client's own.
    proxy_version proxy_protocol = proxy_version::none;
    /// TLS to an `https` upstream: chain and name are verified by default.
    tls_client_options tls{};
};

/// Passes requests on to a server, and opens a tunnel where a WebSocket was asked for and granted.
class proxy_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("proxy_to()");
    proxy_stage(std::string_view url, proxy_options options);
    proxy_stage(upstream servers, proxy_options options);
    awaitable<> operator()(exchange& x) const;
    void prepare() const;

    /// A pattern has no prefix that the path of the URL could replace. \throws startup_error
    void prepare_at(matcher const& rule) const;

private:
    struct shared;
    class forwarding;
    std::shared_ptr<shared> shared_;
};

/// A terminal of exchanges.
///
/// \param url `http://host:port`, `https://host`, `unix:/path`; with a path (`http://host/app/`) that replaces what the
/// route's prefix matched. Names are resolved at start.
inline proxy_stage proxy_to(std::string_view url, proxy_options options = {}) {
    return proxy_stage(url, std::move(options));
}

/// A terminal of exchanges for several servers that do the same.
inline proxy_stage proxy_to(upstream servers, proxy_options options = {}) {
    return proxy_stage(std::move(servers), std::move(options));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/proxy/impl/proxy_to.ipp>
#endif
