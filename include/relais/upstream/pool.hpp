#pragma once

#include <relais/config.hpp>
#include <relais/core/deadline.hpp>
#include <relais/net/stream.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace relais {

/// Which idle connections are kept.
struct pool_options {
    std::size_t size = 64; ///< at most, of a worker to a server; 0: none
    std::chrono::milliseconds timeout = std::chrono::seconds(60); ///< how long one may be idle
    std::chrono::milliseconds max_age = std::chrono::hours(1);    ///< since it was connected
    std::size_t max_requests = 0; ///< that one carries in all; 0: any number
};

/// What a connection has behind it.
struct connection_past {
    ticks made = 0;             ///< when it was connected, by the worker's wheel
    std::uint32_t requests = 0; ///< that it has carried
};

/// Where a connection goes whose last message was read to its end.
class connection_keeper {
public:
    virtual void give(std::unique_ptr<stream> idle, connection_past past) = 0;

protected:
    ~connection_keeper() = default;
};

/// Idle connections to one server, of one worker: the one that was used last comes first.
///
/// A connection that turned readable or hung up meanwhile is never handed out; that costs no system call.
class connection_pool final : public connection_keeper {
public:
    explicit connection_pool(pool_options const& options);
    connection_pool(connection_pool const&) = delete;
    connection_pool& operator=(connection_pool const&) = delete;
    ~connection_pool();

    /// A connection and its past; null when there is none.
    struct idle {
        std::unique_ptr<stream> connection;
        connection_past past;
    };
    idle take();

    void give(std::unique_ptr<stream> idle, connection_past past) override;

    std::size_t size() const noexcept { return idle_.size(); }

    /// Closes them all.
    void clear() { idle_.clear(); }

private:
    struct entry {
        std::unique_ptr<stream> connection;
        connection_past past;
        ticks since;
    };
    struct sweeper final : deadline {
        explicit sweeper(connection_pool& p) noexcept : deadline(&expired), pool(p) {}
        static void expired(deadline& self);
        connection_pool& pool;
    };

    bool is_good(entry const& one, ticks now) const;
    void sweep();

    std::vector<entry> idle_;
    std::size_t most_;
    std::size_t max_requests_;
    ticks timeout_;
    ticks max_age_;
    sweeper sweeper_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/pool.ipp>
#endif
