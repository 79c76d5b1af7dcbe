#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/error.hpp>
#include <relais/net/stream.hpp>
#include <relais/tls/context.hpp>
#include <relais/upstream/pool.hpp>
#include <relais/upstream/server.hpp>
#include <relais/upstream/total_limit.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace relais {

/// How connections to the servers of an upstream are made and kept.
struct connector_options {
    std::chrono::milliseconds connect_timeout;
    pool_options pool;
    std::string source_address; ///< empty: the system's choice
    tls_client_options tls;
};

/// A connection to a server, or why there is none.
struct server_connection {
    std::unique_ptr<stream> connected;
    end_reason why = end_reason::completed;
};

/// Makes connections to servers, and keeps the idle ones of each worker. Immutable once prepared; all workers share one.
class connector : public std::enable_shared_from_this<connector> {
public:
    explicit connector(connector_options options) : options_(std::move(options)) {}

    /// Loads what connections to these servers need; called at start, off the workers. Servers that come later speak TLS
    /// only where one of these does. \throws startup_error
    void prepare(std::span<std::shared_ptr<upstream_server> const> servers);

    /// Makes a fresh connection, TLS included. Cancellation: every type, `client_left`.
    /// \param opening bytes that are sent before anything else, TLS too.
    /// \param total for the exchange as a whole: `total_timeout` where that is what ends it.
    awaitable<server_connection> connect(upstream_server const& server, std::string opening = {},
                                         total_limit total = {}) const;

    /// The idle connections of the current worker to a server. The pool lives as long as somebody owns the server.
    connection_pool& pool(std::shared_ptr<upstream_server> const& server) const;

private:
    connector_options options_;
    std::optional<boost::asio::ip::address> source_;
    std::unique_ptr<tls_client_context> tls_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/connector.ipp>
#endif
