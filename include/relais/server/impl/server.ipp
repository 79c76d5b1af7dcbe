#pragma once

#include <relais/core/report.hpp>
#include <relais/core/worker.hpp>
#include <relais/net/listener.hpp>
#include <relais/server/server.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <thread>

namespace relais {

struct server::running {
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
        free_slot pause; ///< where `wind_down` waits: whoever ends it sooner finds it here
        std::thread thread;

        awaitable<> wind_down(std::chrono::milliseconds patience);
    };

    std::vector<std::unique_ptr<seat>> seats;
    std::vector<socket_address> endpoints;
    std::atomic<bool> stopping{false};
    std::atomic<bool> ended{false};

    void open(server const& of, std::size_t count);

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
    running_.store(std::move(made));
}

RELAIS_DECL void server::running::open(server const& of, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        seats.push_back(
            std::make_unique<seat>(worker_options{i, of.options_.waiter, of.options_.time}));
        worker::scoped_current on(seats.back()->worker);
        seats.back()->connections = &connection_list::current();
    }
    for (auto const& p : of.places_) {
        auto sockets = listening_socket::open(endpoint::parse(p.where), count);
        endpoints.push_back(sockets.front().address());
        for (std::size_t i = 0; i < count; ++i) {
            auto& s = *seats[i];
            worker::scoped_current on(s.worker);
            s.listeners.push_back(std::make_unique<listener>(std::move(sockets[i]), p.chain));
            boost::asio::co_spawn(s.worker.context(), s.listeners.back()->run(),
                                  boost::asio::detached);
        }
    }
    for (auto& s : seats)
        s->thread = std::thread([&seat = *s] {
            // A peer that is gone is told by a return value. The signal goes to the thread that wrote.
            sigset_t broken_pipe;
            sigemptyset(&broken_pipe);
            sigaddset(&broken_pipe, SIGPIPE);
            pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
            seat.worker.run();
        });
}

RELAIS_DECL awaitable<> server::running::seat::wind_down(std::chrono::milliseconds patience) {
    for (auto& l : listeners)
        l->stop();
    auto& all = connection_list::current();
    all.drain();
    auto end = worker.now() + patience;
    while (all.size() > 0 && worker.now() < end)
        co_await wait_at(pause, std::chrono::milliseconds(1));
    all.close();
    end = worker.now() + std::chrono::milliseconds(500); // for stages to notice
    while (all.size() > 0 && worker.now() < end)
        co_await wait_at(pause, std::chrono::milliseconds(1));
    worker.stop();
}

RELAIS_DECL void server::stop() {
    auto now = running_.load();
    if (!now)
        return;
    if (now->stopping.exchange(true)) {
        for (auto& s : now->seats)
            s->worker.stop();
        return;
    }
    for (auto& s : now->seats)
        s->worker.post([&seat = *s, patience = options_.stop_timeout] {
            boost::asio::co_spawn(seat.worker.context(), seat.wind_down(patience),
                                  boost::asio::detached);
        });
    now->join();
    running_.store(nullptr);
    now->ended = true;
    now->ended.notify_all();
}

RELAIS_DECL int server::run() {
    try {
        boost::asio::io_context listening(1);
        std::optional<boost::asio::signal_set> signals;
        if (options_.handle_signals)
            signals.emplace(listening, SIGINT, SIGTERM); // before the start: none is missed
        if (!running_.load())
            start();
        auto now = running_.load();
        if (!now) // somebody has stopped it meanwhile
            return 0;
        std::thread stopping;
        std::thread waiting;
        if (signals) {
            signals->async_wait([&](boost::system::error_code error, int) {
                if (error)
                    return;
                stopping = std::thread([this] { stop(); });
                signals->async_wait([this](boost::system::error_code again, int) {
                    if (!again)
                        stop();
                });
            });
            waiting = std::thread([&] { listening.run(); });
        }
        now->ended.wait(false);
        listening.stop();
        if (waiting.joinable())
            waiting.join();
        if (stopping.joinable())
            stopping.join();
        return 0;
    } catch (startup_error const& error) {
        report(error.what());
        return 1;
    }
}

RELAIS_DECL std::vector<socket_address> server::endpoints() const {
    auto now = running_.load();
    return now ? now->endpoints : std::vector<socket_address>();
}

RELAIS_DECL std::size_t server::connections() const {
    std::size_t all = 0;
    if (auto now = running_.load())
        for (auto& s : now->seats)
            all += s->connections->size();
    return all;
}

} // namespace relais
