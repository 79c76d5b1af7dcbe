#include "catch.hpp"

#include <relais/core/scope.hpp>
#include <relais/testing/manual_clock.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

using namespace relais;
using namespace std::chrono_literals;
namespace net = boost::asio;

namespace {

struct trial {
    trial() : w({.time = &clock}), on(w) {}
    void run() {
        while (w.poll() != 0)
            ;
    }
    testing::manual_clock clock;
    worker w;
    worker::scoped_current on;
};

awaitable<> sleep_for(std::chrono::milliseconds time, int& ended) {
    free_slot pause;
    co_await wait_at(pause, time);
    ++ended;
}

awaitable<> throw_after(std::chrono::milliseconds time, char const* what) {
    free_slot pause;
    co_await wait_at(pause, time);
    throw std::runtime_error(what);
}

awaitable<> end_at_once(int& ended) {
    ++ended;
    co_return;
}

awaitable<> join(scope& s, std::string& outcome) {
    try {
        co_await s.join();
        outcome = "joined";
    } catch (std::exception const& e) {
        outcome = e.what();
    }
}

} // namespace

TEST_CASE("scope: join ends when the last one has, not before") {
    trial t;
    scope s;
    int ended = 0;
    std::string outcome;
    s.spawn(sleep_for(100ms, ended));
    s.spawn(sleep_for(500ms, ended));
    s.spawn(end_at_once(ended));
    CHECK(s.running() == 3);
    net::co_spawn(t.w.context(), join(s, outcome), net::detached);
    t.run();
    CHECK(ended == 1);
    t.clock.advance(t.w, 300ms);
    CHECK(ended == 2);
    CHECK(s.running() == 1);
    CHECK(outcome.empty());
    t.clock.advance(t.w, 500ms);
    CHECK(ended == 3);
    CHECK(outcome == "joined");
}

TEST_CASE("scope: join of nothing ends at once, also when all ended before") {
    trial t;
    scope s;
    int ended = 0;
    std::string outcome;
    bool some = GENERATE(false, true);
    if (some)
        s.spawn(end_at_once(ended));
    t.run();
    CHECK(ended == (some ? 1 : 0));
    net::co_spawn(t.w.context(), join(s, outcome), net::detached);
    t.run();
    CHECK(outcome == "joined");
}

TEST_CASE("scope: the first exception comes out of join, once, after all have ended") {
    trial t;
    scope s;
    int ended = 0;
    std::string outcome;
    s.spawn(throw_after(200ms, "second"));
    s.spawn(throw_after(100ms, "first"));
    s.spawn(sleep_for(400ms, ended));
    net::co_spawn(t.w.context(), join(s, outcome), net::detached);
    t.run();
    t.clock.advance(t.w, 300ms);
    CHECK(outcome.empty());
    t.clock.advance(t.w, 300ms);
    CHECK(ended == 1);
    CHECK(outcome == "first");
    net::co_spawn(t.w.context(), join(s, outcome), net::detached);
    t.run();
    CHECK(outcome == "joined");
}

TEST_CASE("scope: a cancelled join waits on, and gives the cancellation back afterwards") {
    trial t;
    scope s;
    int ended = 0;
    bool joined = false, after = false, threw = false;
    net::cancellation_signal signal;
    auto run = [](scope& of, bool& was_joined, bool& went_on) -> awaitable<> {
        co_await of.join();
        was_joined = true;
        free_slot pause;
        co_await wait_at(pause, 10s); // throws: the cancellation stands
        went_on = true;
    };
    net::co_spawn(
        t.w.context(), run(s, joined, after),
        net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { threw = bool(e); }));
    s.spawn(sleep_for(100ms, ended));
    t.run();
    signal.emit(net::cancellation_type::terminal);
    t.run();
    CHECK_FALSE(joined);
    CHECK(s.running() == 1);
    t.clock.advance(t.w, 300ms);
    CHECK(ended == 1);
    CHECK(joined);
    CHECK_FALSE(after);
    CHECK(threw);
}

TEST_CASE("scope: who joins may destroy the scope as soon as it ended") {
    trial t;
    int ended = 0;
    auto run = [](int& n) -> awaitable<> {
        auto s = std::make_unique<scope>();
        s->spawn(sleep_for(100ms, n));
        s->spawn(sleep_for(100ms, n));
        co_await s->join();
        s.reset();
        n += 10;
    };
    net::co_spawn(t.w.context(), run(ended), net::detached);
    t.run();
    t.clock.advance(t.w, 300ms);
    CHECK(ended == 12);
}

TEST_CASE("scope: what is spawned while somebody joins is waited for as well") {
    trial t;
    scope s;
    int ended = 0;
    std::string outcome;
    auto spawn_another = [](scope& into, int& n) -> awaitable<> {
        free_slot pause;
        co_await wait_at(pause, 100ms);
        into.spawn(sleep_for(300ms, n));
        ++n;
    };
    s.spawn(spawn_another(s, ended));
    net::co_spawn(t.w.context(), join(s, outcome), net::detached);
    t.run();
    t.clock.advance(t.w, 250ms);
    CHECK(ended == 1);
    CHECK(outcome.empty());
    t.clock.advance(t.w, 400ms);
    CHECK(ended == 2);
    CHECK(outcome == "joined");
}

TEST_CASE("scope: settled only while join has nothing to wait for and nothing to throw") {
    trial t;
    scope s;
    std::string outcome;
    CHECK(s.settled());
    s.spawn(throw_after(100ms, "thrown"));
    CHECK_FALSE(s.settled());
    t.run();
    t.clock.advance(t.w, 200ms);
    CHECK(s.running() == 0);
    CHECK_FALSE(s.settled());
    net::co_spawn(t.w.context(), join(s, outcome), net::detached);
    t.run();
    CHECK(outcome == "thrown");
    CHECK(s.settled());
}
