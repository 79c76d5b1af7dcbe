#include "catch.hpp"
#include "proxied.hpp"

#include <relais/core/report.hpp>
#include <relais/upstream/health_check.hpp>
#include <relais/upstream/impl/waiting_line.hpp>
#include <relais/upstream/upstream.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

std::vector<std::string> reports;

// A checker on a worker whose time the test moves, and servers whose parts it plays.
struct checked {
    explicit checked(health_check_options options, std::size_t count = 1)
        : scripted(count), checker(std::move(options), [this] { return servers; }) {
        reports.clear();
        set_report_function([](std::string_view s) { reports.emplace_back(s); });
        for (auto const& s : scripted) {
            servers.push_back(std::make_shared<upstream_server>(
                s.url(), server_health_options{.rise = 2, .fall = 2}, events));
            servers.back()->set_addresses(resolve(servers.back()->url().where));
        }
        boost::asio::co_spawn(w.context(), checker.run(),
                              boost::asio::bind_cancellation_slot(
                                  stop.slot(), [this](std::exception_ptr) { ended = true; }));
        w.poll();
    }
    ~checked() {
        end();
        set_report_function(nullptr);
    }
    void end() {
        stop.emit(boost::asio::cancellation_type::terminal);
        for (int i = 0; i < 10 && !ended; ++i)
            w.poll();
        CHECK(ended);
    }

    // The next check of a server, as text; empty: none has come.
    std::string asked(std::size_t i = 0) {
        peer = scripted[i].accept();
        w.poll();
        return peer ? peer->take() : std::string();
    }
    void answer(std::string_view bytes) {
        peer->send(bytes);
        w.poll();
        w.poll();
    }
    void advance(std::chrono::milliseconds by) { clock.advance(w, by); }
    health_state state(std::size_t i = 0) const { return servers[i]->health().state(); }

    std::vector<scripted_server> scripted;
    manual_clock clock;
    worker w{{.time = &clock}};
    worker::scoped_current on{w};
    std::shared_ptr<detail::server_events> events = std::make_shared<detail::server_events>(10);
    std::vector<std::shared_ptr<upstream_server>> servers;
    boost::asio::cancellation_signal stop;
    bool ended = false;
    health_checker checker;
    proxied::peer peer;
};

health_check_options every_five_seconds() {
    return {.path = "/health?deep=1", .host = "app.example", .interval = 5s, .jitter = 0};
}

std::string refusal(health_check_options options) {
    try {
        health_checker(std::move(options),
                       [] { return std::vector<std::shared_ptr<upstream_server>>(); });
    } catch (startup_error const& e) {
        return e.what();
    }
    return "fine";
}

} // namespace

TEST_CASE("health check: asks at once, then at its interval, over connections of its own") {
    checked c(every_five_seconds());
    for (int i = 0; i < 3; ++i) {
        auto const request = c.asked();
        CHECK(request.starts_with("GET /health?deep=1 HTTP/1.1\r\nHost: app.example\r\n"));
        CHECK(request.find("Connection: close\r\n") != request.npos);
        c.answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        CHECK(c.peer->saw_end()); // the body is not waited for
        c.advance(4800ms);
        CHECK(c.asked().empty());
        c.advance(400ms);
    }
    CHECK(c.state() == health_state::healthy);
    CHECK(reports.empty());
}

TEST_CASE("health check: what is an answer of a server that is well") {
    struct row {
        std::string bytes;
        status_set expected;
        bool good;
    };
    auto const r = GENERATE(values<row>({
        {"HTTP/1.1 200 OK\r\n\r\n", {}, true},
        {"HTTP/1.0 302 Found\r\n\r\n", {}, true},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", {}, true},
        {"HTTP/1.1 404 Not Found\r\n\r\n", {}, false},
        {"HTTP/1.1 503 Busy\r\n\r\n", {}, false},
        {"HTTP/1.1 401 Unauthorized\r\n\r\n", {401}, true},
        {"HTTP/1.1 200 OK\r\n\r\n", {401}, false},
        {"SSH-2.0-OpenSSH\r\n\r\n", {}, false},
        {"HTTP/1.1 200 OK\r\nA b\r\n\r\n", {}, false},
        {"", {}, false}, // closes
    }));
    INFO(r.bytes);
    auto options = every_five_seconds();
    options.expected = r.expected;
    checked c(options);
    for (int i = 0; i < 2; ++i) {
        REQUIRE(!c.asked().empty());
        if (r.bytes.empty()) {
            c.peer->close();
            c.w.poll();
            c.w.poll();
        } else {
            c.answer(r.bytes);
        }
        c.advance(5200ms);
    }
    CHECK((c.state() == health_state::healthy) == r.good);
}

TEST_CASE("health check: servers go down and come up, and a sentence says so") {
    checked c(every_five_seconds());
    auto const round = [&](std::string_view bytes) {
        REQUIRE(!c.asked().empty());
        c.answer(bytes);
        c.advance(5200ms);
    };
    round("HTTP/1.1 500 No\r\n\r\n");
    CHECK(c.state() == health_state::healthy);
    round("HTTP/1.1 500 No\r\n\r\n");
    CHECK(c.state() == health_state::down);
    CHECK(reports ==
          std::vector{"upstream: " + c.scripted[0].url() + " is down: the check was answered 500"});
    round("HTTP/1.1 200 OK\r\n\r\n");
    CHECK(c.state() == health_state::down);
    round("HTTP/1.1 200 OK\r\n\r\n");
    CHECK(c.state() == health_state::healthy);
    CHECK(reports.back() == "upstream: " + c.scripted[0].url() + " is up again");
    CHECK(c.events->changes.load() >= 2);
}

TEST_CASE(
    "health check: a server that says nothing, or byte by byte, or is not there, is down in time") {
    auto options = every_five_seconds();
    options.timeout = 1s;
    checked c(options, 2);
    int const how = GENERATE(0, 1, 2);
    CAPTURE(how);
    if (how == 2) {
        (void)c.asked(); // the first check found it
        c.scripted[0].stop_listening();
        c.peer->close();
    }
    for (int i = 0; i < 3; ++i) {
        if (how != 2)
            REQUIRE(!c.asked(0).empty());
        auto const silent = std::move(c.peer);
        REQUIRE(!c.asked(1).empty()); // nobody waits for it
        c.answer("HTTP/1.1 200 OK\r\n\r\n");
        for (int j = 0; j < 5; ++j) {
            if (how == 1)
                silent->send(j == 0 ? "HTTP/1.1 200 OK\r\n" : "A: b\r\n");
            c.advance(300ms);
        }
        if (how != 2)
            CHECK((silent->saw_end() || silent->saw_reset()));
        c.advance(3800ms);
    }
    CHECK(c.state(0) == health_state::down);
    CHECK(c.state(1) == health_state::healthy);
}

TEST_CASE("health check: servers that come are asked, those that go are not") {
    checked c(every_five_seconds(), 2);
    CHECK(!c.asked(0).empty());
    c.answer("HTTP/1.1 200 OK\r\n\r\n");
    CHECK(!c.asked(1).empty());
    c.answer("HTTP/1.1 200 OK\r\n\r\n");
    c.servers.erase(c.servers.begin());
    c.advance(5200ms);
    CHECK(c.asked(0).empty());
    CHECK(!c.asked(1).empty());
}

TEST_CASE("health check: ends in the middle of a check") {
    checked c(every_five_seconds());
    REQUIRE(!c.asked().empty());
    c.end();
    CHECK(c.peer->saw_end());
    CHECK(c.servers[0]->health().counts().failed_checks == 0);
}

TEST_CASE("health check: options that cannot be") {
    CHECK(refusal({}) == "fine");
    CHECK(refusal({.path = "health"}) ==
          "health_check: .path \"health\" is no path: write one such as /health");
    CHECK(refusal({.path = "/a b"}) ==
          "health_check: .path \"/a b\" is no path: write one such as /health");
    CHECK(refusal({.path = "/a\r\nB: c"}).starts_with("health_check: .path "));
    CHECK(refusal({.host = "a\r\nB: c"}).starts_with("health_check: .host "));
    CHECK(refusal({.expected = {20}}) ==
          "health_check: .expected has 20, and a status is from 100 to 999");
    CHECK(refusal({.interval = 0ms}) ==
          "health_check: .interval and .timeout have to be longer than 0");
    CHECK(refusal({.jitter = 2}) == "health_check: .jitter is a part of the interval, from 0 to 1");
}

TEST_CASE("health check: an upstream with checks starts and ends with its handles") {
    scripted_server server;
    {
        upstream const app({server.url()}, {.check = health_check_options{.interval = 1s}});
        app.prepare();
        proxied::peer peer;
        for (int i = 0; i < 2000 && !peer; ++i) {
            peer = server.accept();
            ::usleep(1000);
        }
        REQUIRE(peer);
    }
    // The thread is gone, whatever the check was waiting for.
}
