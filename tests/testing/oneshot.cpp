#include "catch.hpp"

#include <relais/middleware/respond.hpp>
#include <relais/testing/oneshot.hpp>
#include <relais/testing/session.hpp>

using namespace relais;
using namespace std::chrono_literals;

TEST_CASE("oneshot: a chain of exchanges answers one request") {
    auto name = [](exchange& x, exchange::next next) -> awaitable<> {
        co_await next(x);
        x.response.set("X-Name", "one");
    };
    auto echo = [](exchange& x) -> awaitable<> {
        auto body = co_await x.request.body.read_all(100);
        std::string text(body);
        x.respond(201, "got " + text);
    };
    auto answer = testing::oneshot(stage(name) | echo,
                                   {.method = "POST", .target = "/a?b", .body = "some text"});
    CHECK(answer.status == 201);
    CHECK(answer["X-Name"] == "one");
    CHECK(answer.body == "got some text");
    CHECK_FALSE(answer.closed);
}

TEST_CASE("oneshot: a body that is too large, and an answer to HEAD") {
    auto small = [](exchange& x) -> awaitable<> {
        co_await x.request.body.read_all(4);
        x.respond(200);
    };
    auto answer = testing::oneshot(stage(small), {.method = "POST", .body = "12345"});
    CHECK(answer.status == 413);
    auto head = testing::oneshot(respond(200, "hello\n"), {.method = "HEAD"});
    CHECK(head.status == 200);
    CHECK(head["Content-Length"] == "6");
    CHECK(head.raw.ends_with("\r\n\r\n"));
}

TEST_CASE("session: time goes by when it is told to") {
    testing::session s(http({.keep_alive_timeout = 5s}) | respond(200, "hello\n"));
    s.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(s.take_received().starts_with("HTTP/1.1 200 OK\r\n"));
    s.advance(4900ms);
    CHECK_FALSE(s.ended());
    s.advance(300ms);
    CHECK(s.ended());
    CHECK(s.received().empty());
    CHECK(s.saw_end());
    CHECK(s.reason() == end_reason::client_idle);
}
