#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/net/connection.hpp>
#include <relais/net/proxy_protocol.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace relais {

/// Deadlines of a relay of plain bytes.
struct relay_options {
    /// For connecting to the upstream.
    std::chrono::milliseconds connect_timeout = std::chrono::seconds(5);
    /// Without a byte in either direction.
    std::chrono::milliseconds tunnel_timeout = std::chrono::minutes(10);
    /// Without a byte, once one side has ended.
    std::chrono::milliseconds linger = std::chrono::seconds(10);
    /// Begin each connection with a header of the PROXY protocol that tells the client's address.
    proxy_version proxy_protocol = proxy_version::none;
};

/// Connects each connection to an upstream and moves bytes both ways, with half-close: a TCP proxy.
class relay_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("relay()");
    relay_stage(std::string_view upstream, relay_options options);
    awaitable<> operator()(connection& c) const;
    void prepare() const;

private:
    struct shared;
    std::shared_ptr<shared> shared_;
};

/// A terminal of connections. \param upstream `host:port` or `unix:/path`; names are resolved at start.
inline relay_stage relay(std::string_view upstream, relay_options options = {}) {
    return relay_stage(upstream, options);
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/relay.ipp>
#endif
