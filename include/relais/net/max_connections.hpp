#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/net/connection.hpp>

#include <cstddef>
#include <memory>

namespace relais {

/// How many connections there may be at once, over all workers; 0: any number.
struct max_connections_options {
    std::size_t total = 0;
    std::size_t per_address =
        0; ///< from one client; of an IPv6 address, its /64 counts as one client
};

/// Closes connections that are too many, at once. To stand before `tls()`, so that no handshake is made for them, and
/// behind `proxy_protocol()`. Copies of the stage in several listeners count together.
class max_connections_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("max_connections()");
    explicit max_connections_stage(max_connections_options options);
    awaitable<> operator()(connection& c, connection::next next) const;

    /// \throws startup_error
    void prepare() const;

private:
    struct counters;
    std::shared_ptr<counters> counters_;
};

/// See `max_connections_stage`.
[[nodiscard]] inline max_connections_stage max_connections(max_connections_options options) {
    return max_connections_stage(options);
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/max_connections.ipp>
#endif
