#pragma once

#include "catch.hpp"
#include "loopback.hpp"

#include <relais/http/exchange.hpp>
#include <relais/server/server.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

// What tests of a server on threads of its own share.

namespace relais::testing {

using namespace std::chrono_literals;

struct folder {
    folder() {
        char name[] = "/tmp/relais-server-XXXXXX";
        REQUIRE(::mkdtemp(name));
        path = name;
    }
    ~folder() { std::filesystem::remove_all(path); }
    std::string socket() const { return "unix:" + (path / "s").string(); }
    std::filesystem::path path;
};

inline server_options quiet(std::size_t workers = 2, std::chrono::milliseconds stop_timeout = 1h) {
    return {.workers = workers, .handle_signals = false, .stop_timeout = stop_timeout};
}

// Goes twenty times as fast as it should, where a client may take its time and a test has none.
class hurried_clock final : public time_source {
public:
    std::chrono::steady_clock::time_point steady() const override {
        return began_ + 20 * (std::chrono::steady_clock::now() - began_);
    }

private:
    std::chrono::steady_clock::time_point const began_ = std::chrono::steady_clock::now();
};

// A call of the server's that waits, on a thread of its own. A test that fails does not wait for ever.
class waiting {
public:
    template <class Function>
    waiting(server& srv, Function call)
        : server_(srv), thread_([this, call] {
              status_ = call();
              returned_ = true;
          }) {}
    ~waiting() {
        while (!returned_) {
            server_.stop();
            std::this_thread::sleep_for(1ms);
        }
        thread_.join();
    }
    bool returned() const { return returned_; }
    bool returns() const {
        return eventually([this] { return returned(); });
    }
    int status() const { return status_; }

private:
    server& server_;
    std::atomic<int> status_{-1};
    std::atomic<bool> returned_{false};
    std::thread thread_;
};

struct stopping : waiting {
    explicit stopping(server& srv)
        : waiting(srv, [&srv] {
              srv.stop();
              return 0;
          }) {}
};

struct running : waiting {
    explicit running(server& srv) : waiting(srv, [&srv] { return srv.run(); }) {
        REQUIRE(eventually([&] { return !srv.endpoints().empty(); }));
    }
};

inline bool refuses(socket_address const& at) {
    return eventually([&] { return !loopback_client(at).connected(); });
}

// A handler that answers when the test says so.
class held {
public:
    awaitable<> operator()(exchange& x) const { return hold(*state_, x); }

    bool has(int requests) const {
        return eventually([&] { return state_->entered == requests; });
    }
    void let_go() const { state_->go = true; }
    void ignore_cancellation() const { state_->deaf = true; }
    int left() const { return state_->left; }

private:
    struct shared {
        std::atomic<int> entered{0}, left{0};
        std::atomic<bool> go{false}, deaf{false};
    };
    struct leaving {
        explicit leaving(shared& s) noexcept : of(s) {}
        ~leaving() { ++of.left; }
        shared& of;
    };

    static awaitable<> hold(shared& s, exchange& x) {
        leaving guard(s);
        if (s.deaf)
            co_await boost::asio::this_coro::reset_cancellation_state(
                boost::asio::disable_cancellation());
        boost::asio::steady_timer timer(worker::current().context());
        ++s.entered;
        while (!s.go) {
            timer.expires_after(1ms);
            co_await timer.async_wait(boost::asio::use_awaitable);
        }
        x.respond(200, "at last\n");
    }

    std::shared_ptr<shared> state_ = std::make_shared<shared>();
};

} // namespace relais::testing
