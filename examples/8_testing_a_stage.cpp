// A stage and its tests, in memory: no port, no waiting, time goes by when the test says so. With Catch or GoogleTest the
// checks are theirs.
//
//     8_testing_a_stage       # "14 checks, 0 failed"

#include <relais/relais.hpp>
#include <relais/testing/oneshot.hpp>
#include <relais/testing/scripted_server.hpp>
#include <relais/testing/session.hpp>

#include <iostream>

using namespace relais;
using namespace std::chrono_literals;

static awaitable<> signed_in(exchange& x, exchange::next next) {
    if (x.request.cookie("session").empty()) {
        x.respond(401, "sign in first\n");
        co_return;
    }
    co_await next(x);
    x.response.set("X-Served-By", "relais");
}

static int checks = 0, failed = 0;

static void check(bool holds, char const* what) {
    ++checks;
    if (!holds) {
        ++failed;
        std::cout << "failed: " << what << "\n";
    }
}

// One request, one answer.
static void it_lets_sessions_through() {
    auto chain = stage(signed_in) | respond(200, "hello\n");
    auto refused = testing::oneshot(chain, {.target = "/private"});
    check(refused.status == 401, "without a session: 401");
    check(refused.body == "sign in first\n", "it says what to do");
    check(refused["X-Served-By"].empty(), "an answer of its own is not marked");

    auto served = testing::oneshot(chain, {.fields = "Cookie: session=1\r\n"});
    check(served.status == 200 && served.body == "hello\n", "with a session: what is behind it");
    check(served["X-Served-By"] == "relais", "what passes is marked");
}

// A connection, byte by byte; its options say how the network behaves.
static void it_does_not_mind_how_bytes_come() {
    testing::session s(http({.keep_alive_timeout = 5s}) | signed_in | respond(200, "hello\n"),
                       {.read_at_most = 1, .write_at_most = 3});
    s.send("GET / HTTP/1.1\r\nHost: a\r\nCookie: session=1\r\n\r\n");
    check(s.take_received().starts_with("HTTP/1.1 200 OK\r\n"), "one byte at a time");
    s.advance(4900ms);
    check(!s.ended(), "an idle connection is kept");
    s.advance(200ms);
    check(s.ended() && s.reason() == end_reason::client_idle, "for five seconds");
}

// An upstream whose part the test plays.
static void it_stands_in_front_of_a_server() {
    testing::scripted_server upstream;
    testing::session s(http() | signed_in | proxy_to(upstream.url(), {.first_byte_timeout = 2s}));
    s.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    check(s.take_received().starts_with("HTTP/1.1 401 "), "refused");
    check(!upstream.accept(), "nobody asked the server");

    s.send("GET /a HTTP/1.1\r\nHost: a\r\nCookie: session=1\r\n\r\n");
    auto peer = upstream.accept();
    check(peer && peer->take().starts_with("GET /a HTTP/1.1\r\n"), "the server is asked");
    peer->send("HTTP/1.1 204 No Content\r\n\r\n");
    s.run();
    check(s.take_received().find("X-Served-By: relais\r\n") != std::string::npos, "its answer");

    s.send("GET /b HTTP/1.1\r\nHost: a\r\nCookie: session=1\r\n\r\n");
    check(s.received().empty(), "it waits for a server that is slow");
    s.advance(2100ms);
    check(s.received().starts_with("HTTP/1.1 504 "), "two seconds");
}

int main() {
    it_lets_sessions_through();
    it_does_not_mind_how_bytes_come();
    it_stands_in_front_of_a_server();
    std::cout << checks << " checks, " << failed << " failed\n";
    return failed > 0;
}
