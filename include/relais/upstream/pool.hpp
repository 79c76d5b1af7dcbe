#pragma once

#include <relais/config.hpp>
#include <relais/core/deadline.hpp>
#include <relais/net/stream.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

namespace relais {

/// Where a connection goes whose last message was read to its end.
class connection_keeper {
public:
    virtual void give(std::unique_ptr<stream> idle) = 0;

protected:
    ~connection_keeper() = default;
};

/// Idle connections to one server, of one worker: the one that was used last comes first.
///
/// A connection that turned readable or hung up meanwhile is never handed out; that costs no system call.
class connection_pool final : public connection_keeper {
public:
    /// \param size idle connections at most. \param timeout how long one may be idle.
    connection_pool(std::size_t size, std::chrono::milliseconds timeout);
    connection_pool(connection_pool const&) = delete;
    connection_pool& operator=(connection_pool const&) = delete;
    ~connection_pool();

    /// An idle connection; null when there is none.
    std::unique_ptr<stream> take();

    void give(std::unique_ptr<stream> idle) override;

    std::size_t size() const noexcept { return idle_.size(); }

    /// Closes them all.
    void clear() { idle_.clear(); }

private:
    struct entry {
        std::unique_ptr<stream> connection;
        ticks since;
    };
    struct sweeper final : deadline {
        explicit sweeper(connection_pool& p) noexcept : deadline(&expired), pool(p) {}
        static void expired(deadline& self);
        connection_pool& pool;
    };

    void sweep();

    std::vector<entry> idle_;
    std::size_t most_;
    ticks timeout_;
    sweeper sweeper_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/pool.ipp>
#endif
