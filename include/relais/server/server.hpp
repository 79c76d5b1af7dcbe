#pragma once

#include <relais/config.hpp>
#include <relais/core/clock.hpp>
#include <relais/core/replaceable.hpp>
#include <relais/core/stage.hpp>
#include <relais/core/waiter.hpp>
#include <relais/net/connection.hpp>
#include <relais/net/endpoint.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace relais {

/// How a server runs.
struct server_options {
    /// Threads, each with its own share of the connections; 0: as many as the machine has cores.
    std::size_t workers = 0;
    /// SIGINT and SIGTERM drain the server, the second one stops it at once; SIGHUP reloads.
    bool handle_signals = true;
    /// How long a draining server still accepts although `ready()` is false: for load balancers to notice.
    std::chrono::milliseconds drain_notice = std::chrono::seconds(0);
    /// Over how long a draining server spreads the ends of its tunnels, whose clients come back all at once elsewhere.
    std::chrono::milliseconds drain_spread = std::chrono::seconds(20);
    /// After how long a draining server ends what is still going on, `drain_notice` not counted.
    std::chrono::milliseconds drain_timeout = std::chrono::seconds(30);
    /// The same for `stop()`, and for a signal where standard input is a terminal: somebody waits.
    std::chrono::milliseconds stop_timeout = std::chrono::seconds(1);
    /// Listen where another process of the same user listens already: a successor that starts before its predecessor
    /// drains. To be set in both.
    bool share_ports = false;
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

    /// Starts where `start()` was not called, runs until it has drained or was stopped, and returns the exit status: 0, or 1
    /// after one sentence on standard error when it could not start. Tells a service manager that it is ready, and that it
    /// stops (`notify_service_manager`).
    int run();

    /// Starts the workers and returns. \throws startup_error
    void start();

    /// Takes itself out of service without disturbing anybody, and returns at once; from any thread, stages too.
    ///
    /// `ready()` turns false. After `drain_notice` nothing more is accepted, but what waits in the queue of a listening
    /// socket; responses say `Connection: close`, idle connections end, a client that has just connected has a second to
    /// ask. Tunnels are told to go (Close 1001 both ways, between two frames) one after another within `drain_spread`.
    /// Relays of plain bytes go on. Whatever is left after `drain_timeout` is closed, and `run()` returns. Does nothing
    /// where the server does not run or drains already.
    void drain();

    /// Drains within `stop_timeout`, and waits for the workers. What drains already is ended at once; so is, by a second call, what the
    /// first one waits for. From any thread that is not a worker's.
    void stop();

    /// Has stages load anew what they took from files, certificates above all, for what begins from now on; SIGHUP does the same in `run()`.
    ///
    /// Everything is checked first: a stage whose files are broken keeps what it has, and says so in a report. From any
    /// thread that is not a worker's: it reads files. \return whether all stages could.
    bool reload();

    /// Whether new connections are welcome: from the start to the call of `drain()` or `stop()`; from any thread.
    bool ready() const noexcept { return ready_->load(std::memory_order_relaxed); }

    /// Where it listens, in the order of `listen`, with the ports that were chosen for port 0. After the start.
    std::vector<socket_address> endpoints() const;

    /// How many connections there are on all workers; from any thread.
    std::size_t connections() const;

    /// How many of them are WebSocket tunnels that no drain has told to go yet. Together with `connections()` it says how
    /// far a drain is; from any thread.
    std::size_t tunnels() const;

private:
    std::size_t sum(std::size_t (connection_list::*count)() const noexcept) const;
    void add(std::string where, any_chain<connection> chain);

    struct running;
    struct place {
        std::string where;
        any_chain<connection> chain;
    };

    friend class readiness_stage;

    void drain_quickly(); ///< `drain()` where somebody waits at a terminal

    server_options options_;
    std::vector<place> places_;
    std::shared_ptr<std::atomic<bool>> ready_ = std::make_shared<std::atomic<bool>>(false);
    replaceable<running> running_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/server/impl/server.ipp>
#endif
