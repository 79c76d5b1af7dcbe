#pragma once

#include <relais/core/worker.hpp>
#include <relais/net/connect.hpp>
#include <relais/tls/stream.hpp>
#include <relais/upstream/connector.hpp>

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace relais {

RELAIS_DECL void connector::prepare(std::span<std::shared_ptr<upstream_server> const> servers) {
    for (auto const& server : servers) {
        auto const& url = server->url();
        if (!url.secure)
            continue;
        if (url.where.is_unix() && options_.tls.name.empty())
            throw startup_error("https to " + url.where.to_string() +
                                " needs the name in the server's certificate: set .tls = {.name = "
                                "\"...\"}");
        if (!tls_)
            tls_ = std::make_unique<tls_client_context>(options_.tls);
    }
    if (options_.source_address.empty() || source_)
        return;
    boost::system::error_code error;
    auto const address = boost::asio::ip::make_address(options_.source_address, error);
    if (error)
        throw startup_error("source_address \"" + options_.source_address +
                            "\" is no IP address: write one of this machine's, such as 10.0.0.1");
    socket_address const place(address, 0);
    int const trial = ::socket(place.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool const ours = trial >= 0 && ::bind(trial, place.data(), place.size()) == 0;
    int const why = errno;
    if (trial >= 0)
        ::close(trial);
    if (!ours)
        throw startup_error("source_address \"" + options_.source_address +
                            "\" cannot be used: " + std::generic_category().message(why) +
                            "; write one of this machine's (ip address)");
    source_ = address;
}

namespace detail {

/// A worker's idle connections, by server.
struct worker_pools {
    worker_pools(std::shared_ptr<connector const> c, pool_options const& o)
        : of(std::move(c)), options(o) {}

    struct entry {
        upstream_server const* server;
        std::weak_ptr<upstream_server const> alive; ///< its address may come again
        std::unique_ptr<connection_pool> pool;
    };

    connection_pool& find(std::shared_ptr<upstream_server> const& server) {
        for (auto& one : all)
            if (one.server == server.get() && !one.alive.expired())
                return *one.pool;
        std::erase_if(all, [](entry const& one) { return one.alive.expired(); });
        all.push_back({server.get(), server, std::make_unique<connection_pool>(options)});
        return *all.back().pool;
    }

    std::shared_ptr<connector const> of; ///< its address is the key: no other one gets it
    pool_options const& options;
    std::vector<entry> all;
};

} // namespace detail

RELAIS_DECL connection_pool& connector::pool(std::shared_ptr<upstream_server> const& server) const {
    return worker::current()
        .local<detail::worker_pools>(this,
                                     [this] {
                                         return std::make_shared<detail::worker_pools>(
                                             shared_from_this(), options_.pool);
                                     })
        .find(server);
}

RELAIS_DECL awaitable<server_connection>
connector::connect(upstream_server const& server, std::string opening, total_limit total) const {
    server_connection made;
    auto const addresses = server.addresses();
    if (!addresses || addresses->empty()) {
        made.why = end_reason::resolve_failed;
        co_return made;
    }
    auto result =
        co_await relais::connect(*addresses, total.cut(options_.connect_timeout), source_);
    if (!result.connected) {
        made.why =
            result.why == end_reason::connect_timeout ? total.or_else(result.why) : result.why;
        co_return made;
    }
    if (!opening.empty()) {
        auto const sent =
            co_await write_all(*result.connected, std::as_bytes(std::span<char const>(opening)),
                               total.cut(options_.connect_timeout));
        if (sent != write_result::done) {
            made.why = sent == write_result::cancelled ? end_reason::client_left
                       : sent == write_result::timed_out
                           ? total.or_else(end_reason::upstream_write_timeout)
                           : end_reason::upstream_reset;
            co_return made;
        }
    }
    if (!server.url().secure) {
        made.connected = std::move(result.connected);
        co_return made;
    }
    if (!tls_) {
        made.why = end_reason::upstream_tls_failed;
        co_return made;
    }
    auto secured =
        std::make_unique<tls_stream>(std::move(result.connected), *tls_, server.url().where.host);
    auto end = worker::current().now() + total.cut(tls_->handshake_timeout());
    for (;;) {
        auto state = secured->try_handshake();
        if (state == io_state::ok)
            break;
        auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - worker::current().now());
        if (state != io_state::would_block || left.count() <= 0) {
            made.why = state == io_state::would_block
                           ? total.or_else(end_reason::upstream_tls_timeout)
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
