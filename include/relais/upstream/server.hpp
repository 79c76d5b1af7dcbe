#pragma once

#include <relais/config.hpp>
#include <relais/core/replaceable.hpp>
#include <relais/net/endpoint.hpp>
#include <relais/upstream/health.hpp>
#include <relais/upstream/server_list.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
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

namespace detail {
struct server_events;
}

/// One server of an upstream: where it is, how it does, and how busy it is. All workers share it; every member may be
/// called from any thread.
class upstream_server {
public:
    /// \param name as it is configured: a URL, or `host:port`. \param events who is told of changes and of room.
    upstream_server(std::string name, server_health_options const& health,
                    std::shared_ptr<detail::server_events> events);
    upstream_server(upstream_server const&) = delete;
    upstream_server& operator=(upstream_server const&) = delete;

    std::string const& name() const noexcept { return name_; }
    upstream_url const& url() const noexcept { return url_; }

    /// The same for the same name, on every machine.
    std::uint64_t id() const noexcept { return id_; }

    server_health& health() noexcept { return health_; }
    server_health const& health() const noexcept { return health_; }

    /// Exchanges and tunnels that are under way, of all workers.
    std::uint32_t active() const noexcept { return active_.load(std::memory_order_relaxed); }
    std::atomic<std::uint32_t> const& active_counter() const noexcept { return active_; }

    /// Counts one more in, unless the server has as many as it may. Whoever does `leave()`s.
    bool try_enter() noexcept;
    void leave() noexcept;

    /// How many may be under way at once; 0: any number.
    void set_limit(std::size_t most) noexcept;

    /// Where its name leads; empty before it was resolved.
    std::shared_ptr<std::vector<socket_address> const> addresses() const;
    void set_addresses(std::vector<socket_address> found);

private:
    std::atomic<std::uint32_t> active_{
        0}; // first: beside the count of owners, which changes with it
    std::atomic<std::uint32_t> limit_{0};
    std::shared_ptr<detail::server_events> events_; // before what tells them
    server_health health_;
    std::string name_;
    upstream_url url_;
    std::uint64_t id_;
    replaceable<std::vector<socket_address> const> addresses_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/server.ipp>
#endif
