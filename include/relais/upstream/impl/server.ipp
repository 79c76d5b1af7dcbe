#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/path.hpp>
#include <relais/net/connect.hpp>
#include <relais/tls/stream.hpp>
#include <relais/upstream/server.hpp>

namespace relais {

RELAIS_DECL upstream_url upstream_url::parse(std::string_view text) {
    auto wrong = [&](std::string const& what) {
        return startup_error(
            "\"" + std::string(text) + "\" is not an upstream: " + what +
            "; write http://host:port, http://host:port/prefix/, https://host or unix:/path");
    };
    upstream_url made;
    auto rest = text;
    if (rest.starts_with("https://")) {
        made.secure = true;
        rest.remove_prefix(8);
    } else if (rest.starts_with("http://")) {
        rest.remove_prefix(7);
    } else if (auto scheme = rest.find("://"); scheme != rest.npos) {
        throw wrong("\"" + std::string(rest.substr(0, scheme)) +
                    "\" is no scheme it can have (a WebSocket goes through http or https)");
    }
    std::string_view path;
    if (rest.starts_with("unix:")) {
        if (auto colon = rest.find(':', 5); colon != rest.npos) {
            path = rest.substr(colon + 1);
            rest = rest.substr(0, colon);
        }
        made.authority = "localhost";
        made.where = endpoint::parse(rest);
    } else {
        if (auto slash = rest.find('/'); slash != rest.npos) {
            path = rest.substr(slash);
            rest = rest.substr(0, slash);
        }
        if (rest.find('@') != rest.npos)
            throw wrong("names and passwords in front of the host are not supported");
        if (rest.empty())
            throw wrong("the host is missing");
        made.authority = rest;
        auto colon = rest.rfind(':');
        bool has_port = colon != rest.npos && rest.find(']', colon) == rest.npos;
        std::string with_port(rest);
        if (!has_port)
            with_port += made.secure ? ":443" : ":80";
        made.where = endpoint::parse(with_port);
    }
    if (!path.empty()) {
        if (path.find_first_of("?#") != path.npos)
            throw wrong("the part after the host is a path, without a query or a fragment");
        std::string matched, canonical;
        auto normal = normalise_path(path, matched, canonical);
        if (normal.rejected())
            throw wrong("its path is not one: " + std::string(normal.sentence));
        made.path = normal.canonical;
    }
    return made;
}

RELAIS_DECL upstream_server::upstream_server(upstream_url url, upstream_options options)
    : url_(std::move(url)), options_(std::move(options)) {}

RELAIS_DECL void upstream_server::prepare() {
    if (addresses_.empty())
        addresses_ = resolve(url_.where);
    if (url_.secure && !tls_)
        tls_ = std::make_unique<tls_client_context>(options_.tls);
}

namespace detail {

/// A worker's idle connections to a server, which lives as long as they do: no other one gets its address.
struct servers_pool {
    servers_pool(std::shared_ptr<upstream_server const> s, std::size_t size,
                 std::chrono::milliseconds timeout)
        : server(std::move(s)), pool(size, timeout) {}
    std::shared_ptr<upstream_server const> server;
    connection_pool pool;
};

} // namespace detail

RELAIS_DECL connection_pool& upstream_server::pool() const {
    return worker::current()
        .local<detail::servers_pool>(this,
                                     [this] {
                                         return std::make_shared<detail::servers_pool>(
                                             shared_from_this(), options_.pool_size,
                                             options_.pool_timeout);
                                     })
        .pool;
}

RELAIS_DECL awaitable<server_connection> upstream_server::connect() const {
    server_connection made;
    auto result = co_await relais::connect(addresses_, options_.connect_timeout);
    if (!result.connected) {
        made.why = result.why;
        co_return made;
    }
    if (!tls_) {
        made.connected = std::move(result.connected);
        co_return made;
    }
    auto secured =
        std::make_unique<tls_stream>(std::move(result.connected), *tls_, url_.where.host);
    auto end = worker::current().now() + tls_->handshake_timeout();
    for (;;) {
        auto state = secured->try_handshake();
        if (state == io_state::ok)
            break;
        auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - worker::current().now());
        if (state != io_state::would_block || left.count() <= 0) {
            made.why = state == io_state::would_block ? end_reason::upstream_tls_timeout
                                                      : end_reason::upstream_tls_failed;
            co_return made;
        }
        auto why = co_await secured->readable(left);
        if (why == wait_result::cancelled) {
            made.why = end_reason::client_left;
            co_return made;
        }
    }
    made.connected = std::move(secured);
    co_return made;
}

} // namespace relais
