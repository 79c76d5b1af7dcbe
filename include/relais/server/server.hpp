#pragma once

#include <relais/config.hpp>
#include <relais/core/clock.hpp>
#include <relais/core/stage.hpp>
#include <relais/core/waiter.hpp>
#include <relais/net/connection.hpp>
#include <relais/net/endpoint.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace relais {

/// How a server runs.
struct server_options {
    /// Threads, each with its own share of the connections; 0: as many as the machine has cores.
    std::size_t workers = 0;
    /// SIGINT and SIGTERM stop the server, the second one at once.
    bool handle_signals = true;
    /// How long what is going on may take once the server stops.
    std::chrono::milliseconds stop_timeout = std::chrono::seconds(1);
    /// How the workers learn of readiness.
    waiter_kind waiter = waiter_kind::native;
    /// Where the workers read the time; null: the system's clocks.
    time_source const* time = nullptr;
};

/// Listens, and runs chains of stages for what comes.
///
/// `run()` is for a program that is a server; `start()` and `stop()` embed one into another program or a test.
class server {
public:
    explicit server(server_options options = {});
    server(server const&) = delete;
    server& operator=(server const&) = delete;
    ~server();

    /// Has `chain` run for each connection to `where`: `0.0.0.0:443`, `[::]:443`, `name:443`, `unix:/path`. Nothing happens
    /// before the start, and nothing is thrown here.
    template <class Chain>
    void listen(std::string_view where, Chain&& chain) {
        require_complete<connection>(chain);
        add(std::string(where), any_chain<connection>(std::forward<Chain>(chain)));
    }

    /// Starts where `start()` was not called, runs until a signal or `stop()`, and returns the exit status: 0, or 1 after one sentence on standard
    /// error when it could not start.
    int run();

    /// Starts the workers and returns. \throws startup_error
    void start();

    /// Accepts nothing more, lets what is going on end within `stop_timeout`, and waits for the workers. From any thread
    /// that is not a worker's; a second call while the first one waits ends everything at once.
    void stop();

    /// Where it listens, in the order of `listen`, with the ports that were chosen for port 0. After the start.
    std::vector<socket_address> endpoints() const;

    /// How many connections there are on all workers.
    std::size_t connections() const;

private:
    void add(std::string where, any_chain<connection> chain);

    struct running;
    /// In the place of std::atomic<std::shared_ptr>, whose load() is a race in libstdc++ 12.
    class guarded {
    public:
        std::shared_ptr<running> load() const {
            std::lock_guard lock(mutex_);
            return value_;
        }
        void store(std::shared_ptr<running> value) {
            std::lock_guard lock(mutex_);
            value_.swap(value);
        }

    private:
        mutable std::mutex mutex_;
        std::shared_ptr<running> value_;
    };

    struct place {
        std::string where;
        any_chain<connection> chain;
    };

    server_options options_;
    std::vector<place> places_;
    guarded running_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/server/impl/server.ipp>
#endif
