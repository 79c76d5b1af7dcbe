#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/error.hpp>
#include <relais/net/endpoint.hpp>
#include <relais/net/stream.hpp>
#include <relais/tls/context.hpp>
#include <relais/upstream/pool.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace relais {

/// Where an upstream is, as one writes it: `http://host:port/prefix`, `https://host`, `unix:/run/app.sock`,
/// `http://unix:/run/app.sock:/prefix`.
struct upstream_url {
    endpoint where;
    std::string authority; ///< what Host says when the client's is not kept
    std::string path;      ///< the replacement part, canonical; empty without
    bool secure = false;

    /// \throws startup_error that says what is wrong with the text and how to write it.
    static upstream_url parse(std::string_view text);
};

/// How connections to a server are made and kept.
struct upstream_options {
    std::chrono::milliseconds connect_timeout;
    std::size_t pool_size;
    std::chrono::milliseconds pool_timeout;
    tls_client_options tls;
};

/// A connection to a server, or why there is none.
struct server_connection {
    std::unique_ptr<stream> connected;
    end_reason why = end_reason::completed;
};

/// One server of an upstream: its addresses, its TLS, its idle connections on each worker. Immutable once prepared; made by
/// `std::make_shared`.
class upstream_server : public std::enable_shared_from_this<upstream_server> {
public:
    upstream_server(upstream_url url, upstream_options options);

    /// Resolves the name and loads what TLS needs; called once at start, off the workers. \throws startup_error
    void prepare();

    /// Makes a fresh connection, TLS included. Cancellation: every type, `client_left`.
    /// \param opening bytes that are sent before anything else, TLS too.
    awaitable<server_connection> connect(std::string opening = {}) const;

    /// The idle connections of the current worker.
    connection_pool& pool() const;

    upstream_url const& url() const noexcept { return url_; }

private:
    upstream_url url_;
    upstream_options options_;
    std::vector<socket_address> addresses_;
    std::unique_ptr<tls_client_context> tls_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/server.ipp>
#endif
