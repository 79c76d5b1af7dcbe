#pragma once

#include <relais/core/report.hpp>
#include <relais/core/worker.hpp>
#include <relais/net/inherited_sockets.hpp>
#include <relais/net/listener.hpp>
#include <relais/server/drain_pace.hpp>
#include <relais/server/server.hpp>
#include <relais/server/service_manager.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <poll.h>
#include <string>
#include <thread>
#include <unistd.h>

namespace relais {

struct server::running {
    /// How long each part of a drain takes.
    struct drain_plan {
        std::chrono::milliseconds notice;
        std::chrono::milliseconds spread;
        std::chrono::milliseconds timeout;
    };

    /// draining and stopping differ in whether somebody waits in `stop()`.
    enum class phase : int { serving, draining, stopping };

    /// One thread and what it runs.
    struct seat {
        explicit seat(worker_options options)
            : worker(options), work(boost::asio::make_work_guard(worker.context())) {}
        seat(seat const&) = delete;
        seat& operator=(seat const&) = delete;
        ~seat() { // after a start that failed, too
            if (thread.joinable()) {
                worker.stop();
                thread.join();
            }
            worker::scoped_current on(worker);
            pause.abandon();
            listeners.clear();
        }

        relais::worker worker;
        boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work;
        std::vector<std::unique_ptr<listener>> listeners;
        connection_list* connections = nullptr;
        free_slot pause; ///< where `drain` waits: whoever ends it sooner finds it here
        std::thread thread;

        awaitable<> drain(drain_plan plan);

    private:
        // The nanoseconds at which somebody has a server drain are as good as drawn by lot, and cannot fail.
        static double some_share() noexcept {
            auto const now = std::chrono::steady_clock::now().time_since_epoch();
            return static_cast<double>(std::chrono::nanoseconds(now).count() % 1'000'000) / 1e6;
        }
    };

    std::vector<std::unique_ptr<seat>> seats;
    std::vector<socket_address> endpoints;
    std::shared_ptr<std::atomic<bool>> ready;
    std::atomic<bool> managed{false}; ///< a service manager was told that it is ready
    std::atomic<phase> present{phase::serving};
    std::atomic<std::size_t> left{0};     ///< threads that have not ended
    std::atomic<bool> ended{false};       ///< whoever stopped the server does not touch it any more
    std::atomic<std::size_t> answered{0}; ///< workers that got round to what `watchdog` asked last

    /// \return false where it does not serve any more.
    bool drain(phase next, drain_plan plan);
    void open(server const& of, std::size_t count);

    /// Tells the service manager time and again that no worker is stuck.
    void watchdog(boost::asio::steady_timer& timer, std::chrono::microseconds limit);

    /// For a start that failed half-way.
    void end_at_once() {
        for (auto& s : seats)
            s->worker.stop();
        join();
    }

    void join() {
        for (auto& s : seats)
            if (s->thread.joinable())
                s->thread.join();
        for (auto& s : seats) {
            worker::scoped_current on(s->worker);
            s->pause.abandon();
            s->listeners.clear();
        }
    }
};

RELAIS_DECL server::server(server_options options) : options_(options) {}

RELAIS_DECL server::~server() {
    stop();
}

RELAIS_DECL void server::add(std::string where, any_chain<connection> chain) {
    places_.push_back({std::move(where), std::move(chain)});
}

RELAIS_DECL void server::start() {
    if (running_.load())
        throw startup_error("the server runs already: start() may be called once");
    if (places_.empty())
        throw startup_error(
            "the server has nowhere to listen: call listen(\"0.0.0.0:443\", ...) before the start");
    if (options_.drain_spread > options_.drain_timeout)
        throw startup_error("server({...}): drain_spread is longer than drain_timeout, so that "
                            "tunnels would be cut "
                            "before they are told to go: make it shorter");
    auto count =
        options_.workers ? options_.workers : std::size_t{std::thread::hardware_concurrency()};
    count = count ? count : 1;
    for (auto const& p : places_) {
        try {
            p.chain.prepare();
        } catch (startup_error const&) {
            throw;
        } catch (std::exception const& error) {
            throw startup_error("the stages of " + p.where +
                                " cannot be prepared: " + error.what());
        }
    }

    auto made = std::make_shared<running>();
    try {
        made->open(*this, count);
    } catch (startup_error const&) {
        made->end_at_once();
        throw;
    } catch (std::exception const& error) { // descriptors, memory, threads
        made->end_at_once();
        throw startup_error("a server with " + std::to_string(count) +
                            " workers cannot be started: " + error.what() +
                            "; raise the limit (ulimit -a) or start fewer workers");
    }
    made->ready = ready_;
    running_.store(std::move(made));
    ready_->store(true, std::memory_order_relaxed);
}

RELAIS_DECL void server::running::open(server const& of, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        seats.push_back(
            std::make_unique<seat>(worker_options{i, of.options_.waiter, of.options_.time}));
        worker::scoped_current on(seats.back()->worker);
        seats.back()->connections = &connection_list::current();
    }
    for (auto const& p : of.places_) {
        auto sockets = listening_socket::open(endpoint::parse(p.where), count,
                                              of.options_.share_ports ? listen_beside::predecessor
                                                                      : listen_beside::nobody);
        auto const& address = sockets.front().address();
        if (std::find(endpoints.begin(), endpoints.end(), address) != endpoints.end())
            throw startup_error("cannot listen on " + p.where + ": an earlier listen() has " +
                                address.to_string() +
                                " already; give each a place of its own, or both one chain");
        endpoints.push_back(address);
        for (std::size_t i = 0; i < count; ++i) {
            auto& s = *seats[i];
            worker::scoped_current on(s.worker);
            s.listeners.push_back(std::make_unique<listener>(std::move(sockets[i]), p.chain));
            boost::asio::co_spawn(s.worker.context(), s.listeners.back()->run(),
                                  boost::asio::detached);
        }
    }
    left = count;
    for (auto& s : seats)
        s->thread = std::thread([this, &seat = *s] {
            // A peer that is gone is told by a return value. The signal goes to the thread that wrote.
            sigset_t broken_pipe;
            sigemptyset(&broken_pipe);
            sigaddset(&broken_pipe, SIGPIPE);
            pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
            seat.worker.run();
            if (--left == 0)
                left.notify_all();
        });
}

RELAIS_DECL awaitable<> server::running::seat::drain(drain_plan plan) {
    if (plan.notice.count() > 0)
        co_await wait_at(pause, plan.notice);
    bool awaited = false;
    for (auto& l : listeners)
        awaited |= l->turn_away();
    if (awaited) // handshakes over long distances
        co_await wait_at(pause, std::chrono::milliseconds(200));
    for (auto& l : listeners)
        l->stop();
    auto& all = connection_list::current();
    all.drain();
    auto const end = worker.now() + plan.timeout;
    drain_pace pace(worker.now(), plan.spread, some_share());
    while (all.size() > 0 && worker.now() < end) {
        all.drain_next(pace.due(worker.now(), all.to_be_asked()));
        co_await wait_at(pause, std::chrono::milliseconds(1));
    }
    all.close();
    auto const noticed = worker.now() + std::chrono::milliseconds(500); // by the stages
    while (all.size() > 0 && worker.now() < noticed)
        co_await wait_at(pause, std::chrono::milliseconds(1));
    worker.stop();
}

RELAIS_DECL bool server::running::drain(phase next, drain_plan plan) {
    auto before = phase::serving;
    if (!present.compare_exchange_strong(before, next))
        return false;
    ready->store(false, std::memory_order_relaxed);
    if (managed)
        notify_service_manager("STOPPING=1");
    for (auto& s : seats)
        s->worker.post([&seat = *s, plan] {
            boost::asio::co_spawn(seat.worker.context(), seat.drain(plan), boost::asio::detached);
        });
    return true;
}

RELAIS_DECL void server::running::watchdog(boost::asio::steady_timer& timer,
                                           std::chrono::microseconds limit) {
    if (answered == seats.size()) {
        notify_service_manager("WATCHDOG=1");
        answered = 0;
        for (auto& s : seats)
            s->worker.post([this] { ++answered; });
    }
    timer.expires_after(limit / 4);
    timer.async_wait([this, &timer, limit](boost::system::error_code error) {
        if (!error)
            watchdog(timer, limit);
    });
}

RELAIS_DECL void server::drain() {
    if (auto now = running_.load())
        now->drain(running::phase::draining,
                   {options_.drain_notice, options_.drain_spread, options_.drain_timeout});
}

RELAIS_DECL void server::drain_quickly() {
    if (auto now = running_.load())
        now->drain(running::phase::draining, {{}, {}, options_.stop_timeout});
}

RELAIS_DECL void server::stop() {
    auto now = running_.load();
    if (!now)
        return;
    if (!now->drain(running::phase::stopping, {{}, {}, options_.stop_timeout})) {
        auto before = now->present.exchange(running::phase::stopping);
        for (auto& s : now->seats)
            s->worker.stop();
        if (before == running::phase::stopping) { // by somebody else, who joins the threads
            now->ended.wait(false);
            return;
        }
    }
    now->join();
    running_.store(nullptr);
    now->ended = true;
    now->ended.notify_all();
}

RELAIS_DECL bool server::reload() {
    bool all = true;
    for (auto const& p : places_)
        for (auto const& sentence : p.chain.reload()) {
            report(p.where + " goes on as it was: " + sentence);
            all = false;
        }
    return all;
}

namespace detail {

// Each SIGHUP reloads. The one that comes because the terminal is gone ends the program, as it does without us.
inline void reload_on_signal(boost::asio::signal_set& signal, server& of, bool at_terminal) {
    signal.async_wait([&signal, &of, at_terminal](boost::system::error_code error, int) {
        if (error)
            return;
        pollfd terminal{STDIN_FILENO, 0, 0};
        if (at_terminal && ::poll(&terminal, 1, 0) > 0 && (terminal.revents & POLLHUP)) {
            of.stop();
            return;
        }
        {
            reload_notice const under_way;
            if (of.reload())
                report("everything was loaded again");
        }
        reload_on_signal(signal, of, at_terminal);
    });
}

} // namespace detail

RELAIS_DECL int server::run() {
    try {
        bool const at_terminal = ::isatty(STDIN_FILENO);
        boost::asio::io_context listening(1);
        std::optional<boost::asio::signal_set> signals;
        boost::asio::signal_set hang_up(listening);
        if (options_.handle_signals) { // before the start: none is missed
            signals.emplace(listening, SIGINT, SIGTERM);
            hang_up.add(SIGHUP);
            detail::reload_on_signal(hang_up, *this, at_terminal);
        }
        if (!running_.load())
            start();
        auto now = running_.load();
        if (!now) // somebody has stopped it meanwhile
            return 0;
        for (auto const& one : inherited_sockets::current().all())
            if (std::find(now->endpoints.begin(), now->endpoints.end(), one.address) ==
                now->endpoints.end())
                report("the service manager passed " + one.address.to_string() + " (" + one.name +
                       "), but nothing listens there: clients wait in vain; add a listen() or take "
                       "it out "
                       "of the socket unit");
        now->managed = notify_service_manager("READY=1");
        auto const limit = watchdog_limit();
        boost::asio::steady_timer timer(listening);
        if (limit.count() > 0) {
            now->answered = now->seats.size();
            now->watchdog(timer, limit);
        }
        if (signals)
            signals->async_wait([&](boost::system::error_code error, int) {
                if (error)
                    return;
                if (at_terminal)
                    drain_quickly();
                else
                    drain();
                signals->async_wait([this](boost::system::error_code again, int) {
                    if (!again)
                        stop();
                });
            });
        std::thread waiting([&] { listening.run(); });
        for (auto left = now->left.load(); left; left = now->left.load())
            now->left.wait(left);
        listening.stop();
        waiting.join();
        stop();
        now->ended.wait(false); // where somebody else stopped it and is not through
        return 0;
    } catch (startup_error const& error) {
        std::string_view rest = error.what(); // a line for each mistake
        while (!rest.empty()) {
            auto const end = std::min(rest.find('\n'), rest.size());
            report(rest.substr(0, end));
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
        return 1;
    } catch (std::exception const& error) { // descriptors, memory, threads
        stop();
        report(std::string("the server cannot run: ") + error.what() +
               "; raise the limit (ulimit -a) or start fewer workers");
        return 1;
    }
}

RELAIS_DECL std::vector<socket_address> server::endpoints() const {
    auto now = running_.load();
    return now ? now->endpoints : std::vector<socket_address>();
}

RELAIS_DECL std::size_t server::connections() const {
    return sum(&connection_list::size);
}

RELAIS_DECL std::size_t server::tunnels() const {
    return sum(&connection_list::to_be_asked);
}

RELAIS_DECL std::size_t server::sum(std::size_t (connection_list::*count)() const noexcept) const {
    std::size_t all = 0;
    if (auto now = running_.load())
        for (auto& s : now->seats)
            all += (s->connections->*count)();
    return all;
}

} // namespace relais
