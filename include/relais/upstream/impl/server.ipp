#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/path.hpp>
#include <relais/net/connect.hpp>
#include <relais/tls/stream.hpp>
#include <relais/upstream/server.hpp>

#include <charconv>

namespace relais {

namespace detail {

/// The host and the port of a URL. What is wrong goes through `wrong`: a sentence about the whole URL.
template <class Wrong>
endpoint endpoint_of_authority(std::string_view text, std::string_view usual_port,
                               Wrong const& wrong) {
    auto bracket = text.starts_with('[') ? text.find(']') : 0;
    if (bracket == text.npos)
        throw wrong("the bracket is not closed");
    auto colon = text.find(':', bracket);
    auto host = text.substr(0, colon);
    auto port = colon == text.npos ? usual_port : text.substr(colon + 1);
    if (port.find(':') != port.npos)
        throw wrong("an IPv6 address needs brackets");
    if (host.empty() || host == "[]")
        throw wrong("the host is missing");
    if (bracket != 0 && bracket + 1 != host.size())
        throw wrong("the port has to stand right behind the bracket");
    unsigned number = 0;
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number == 0 || number > 65535)
        throw wrong("the port has to be a number from 1 to 65535");
    if (bracket != 0)
        host = host.substr(1, host.size() - 2);
    return {std::string(host), std::string(port), {}};
}

} // namespace detail

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
        if (rest.size() == 5)
            throw wrong("the path of the socket is missing");
        made.authority = "localhost";
        made.where = endpoint::parse(rest);
    } else {
        if (auto end = rest.find_first_of("/?#"); end != rest.npos) {
            path = rest.substr(end);
            rest = rest.substr(0, end);
        }
        if (rest.find('@') != rest.npos)
            throw wrong("names and passwords in front of the host are not supported");
        made.authority = rest;
        made.where = detail::endpoint_of_authority(rest, made.secure ? "443" : "80", wrong);
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
    if (url_.secure && url_.where.is_unix() && options_.tls.name.empty())
        throw startup_error("https to " + url_.where.to_string() +
                            " needs the name in the server's certificate: set .tls = {.name = "
                            "\"...\"}");
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

RELAIS_DECL awaitable<server_connection> upstream_server::connect(std::string opening) const {
    server_connection made;
    auto result = co_await relais::connect(addresses_, options_.connect_timeout);
    if (!result.connected) {
        made.why = result.why;
        co_return made;
    }
    if (!opening.empty()) {
        auto const sent =
            co_await write_all(*result.connected, std::as_bytes(std::span<char const>(opening)),
                               options_.connect_timeout);
        if (sent != write_result::done) {
            made.why = sent == write_result::cancelled   ? end_reason::client_left
                       : sent == write_result::timed_out ? end_reason::upstream_write_timeout
                                                         : end_reason::upstream_reset;
            co_return made;
        }
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
