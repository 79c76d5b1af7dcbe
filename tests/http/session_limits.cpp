#include "catch.hpp"

#include <relais/core/report.hpp>
#include <relais/http/http.hpp>
#include <relais/testing/session.hpp>

#include <string>
#include <string_view>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;

namespace {

std::string const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

awaitable<> echo(exchange& x) {
    auto content = co_await x.request.body.read_all(100'000);
    x.respond(200, std::string(x.request.path()) + " " + std::string(content));
}

awaitable<> refuse_all(exchange& x) {
    x.respond(403, "no");
    co_return;
}

/// The status of each response, in order.
std::string statuses(std::string_view bytes) {
    std::string all;
    for (auto at = bytes.find("HTTP/1.1 "); at != bytes.npos; at = bytes.find("HTTP/1.1 ", at + 1))
        all.append(bytes.substr(at + 9, 3)).append(" ");
    return all;
}

bool closes(std::string_view response) {
    return response.find("\r\nConnection: close\r\n") != response.npos;
}

} // namespace

TEST_CASE("session: so many requests on one connection") {
    testing::session s(http({.keep_alive_requests = 3}) | echo);
    for (int i = 0; i < 2; ++i) {
        s.send(get);
        CHECK_FALSE(closes(s.received()));
        CHECK(statuses(s.take_received()) == "200 ");
    }
    s.send(get + get);
    CHECK(statuses(s.received()) == "200 ");
    CHECK(closes(s.received()));
    CHECK(s.saw_end());
    s.advance(1100ms); // it lingers over the request that nobody reads
    CHECK(s.ended());
    CHECK(s.reason() == end_reason::completed);
}

TEST_CASE("session: Connection: close of the client") {
    auto ask = GENERATE("close", "CLOSE", "x-y, close", "close, keep-alive",
                        "keep-alive\r\nConnection: close");
    testing::session s(http() | echo);
    s.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: " + std::string(ask) + "\r\n\r\n" + get);
    CHECK(statuses(s.received()) == "200 ");
    CHECK(closes(s.received()));
    CHECK(s.saw_end());
    s.advance(1100ms);
    CHECK(s.ended());
}

TEST_CASE("session: a stage closes the connection") {
    bool by_field = GENERATE(true, false);
    auto closing = [by_field](exchange& x) -> awaitable<> {
        x.respond(200, "bye");
        if (by_field)
            x.response.set("Connection", "Close");
        else
            x.response.close_connection();
        co_return;
    };
    testing::session s(http() | closing);
    s.send(get + get);
    CHECK(statuses(s.received()) == "200 ");
    CHECK(closes(s.received()));
    CHECK(s.saw_end());
}

TEST_CASE("session: absolute-form") {
    auto tell = [](exchange& x) -> awaitable<> {
        auto const& r = x.request;
        std::string text;
        for (auto part : {r.authority(), r.host(), r.path(), r.query(), r.scheme(), r.target()})
            text.append(part).append(" ");
        x.respond(200, text);
        co_return;
    };
    struct row {
        char const* target;
        char const* host;
        char const* told;
    };
    auto r = GENERATE(row{"http://Abc.com:81/p%20q?r", "Abc.com:81",
                          "Abc.com:81 abc.com /p q r http http://Abc.com:81/p%20q?r "},
                      row{"http://abc.com", "abc.com", "abc.com abc.com /  http http://abc.com "},
                      row{"http://abc.com/", "d.com", nullptr});
    testing::session s(http() | tell);
    s.send("GET " + std::string(r.target) + " HTTP/1.1\r\nHost: " + r.host + "\r\n\r\n");
    if (r.told)
        CHECK(s.received().ends_with("\r\n\r\n" + std::string(r.told)));
    else
        CHECK(statuses(s.received()) == "400 ");
}

TEST_CASE("session: Expect, with a stage that refuses") {
    testing::session s(http() | refuse_all);
    s.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nExpect: 100-continue\r\n\r\n");
    CHECK(statuses(s.received()) == "403 "); // no 100
    CHECK(closes(s.received()));             // whether the body comes nobody can tell
    CHECK(s.saw_end());
    CHECK_FALSE(s.ended());
    s.send("GET /what/looks/like/a/request HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(statuses(s.received()) == "403 ");
    s.advance(1100ms);
    CHECK(s.ended());
}

TEST_CASE("session: a body that a stage leaves is read where it is short") {
    testing::session s(http() | refuse_all);
    s.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    CHECK(statuses(s.received()) == "403 ");
    CHECK_FALSE(closes(s.received()));
    s.send("56789" + get);
    CHECK(statuses(s.received()) == "403 403 ");

    // A long one is not: the connection ends after what was discarded.
    s.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    s.send(std::string(200'000, 'x'));
    s.send(get);
    s.advance(1100ms);
    CHECK(statuses(s.received()) == "403 403 403 ");
    CHECK(s.ended());

    // Nor one that does not come.
    testing::session slow(http() | refuse_all);
    slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    slow.advance(800ms);
    CHECK_FALSE(slow.saw_end());
    slow.advance(2500ms);
    CHECK(slow.ended());
}

TEST_CASE("session: what is refused before the stages") {
    struct row {
        std::string request;
        char const* status;
    };
    std::string many;
    for (int i = 0; i < 12; ++i)
        many += "X-" + std::to_string(i) + ": y\r\n";
    std::vector<row> const rows = {
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 200-maybe\r\n\r\nx", "417 "},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(5000, 'x') + "\r\n\r\n", "431 "},
        {"GET / HTTP/1.1\r\nHost: a\r\n" + many + "\r\n", "431 "},
        {"GET /" + std::string(300, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n", "414 "},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505 "},
        {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505 "},
        {"GET / HTTP/1.1\r\n\r\n", "400 "},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400 "},
        {"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", "400 "},
        {"GET /?<x> HTTP/1.1\r\nHost: a\r\n\r\n", "400 "},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         "400 "},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "501 "},
        {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "405 "},
        {"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "405 "},
    };
    for (auto const& r : rows)
        for (auto way : {testing::memory_options{},
                         testing::memory_options{.read_at_most = 1, .write_at_most = 1}}) {
            INFO(r.request.substr(0, 120));
            testing::session s(
                http({.max_head_size = 4096, .max_fields = 10, .max_target_size = 256}) | echo,
                way);
            s.send(get);
            CHECK(statuses(s.take_received()) == "200 ");
            s.send(r.request + get); // what follows is not looked at
            CHECK(statuses(s.received()) == r.status);
            CHECK(closes(s.received()));
            CHECK((s.received().find("\r\nAllow: GET, ") != std::string::npos) ==
                  (std::string_view(r.status) == "405 "));
            CHECK(s.saw_end());
            CHECK_FALSE(s.saw_reset());
            s.advance(1100ms);
            CHECK(s.ended());
        }
}

TEST_CASE("session: a close that lingers") {
    auto reject = "GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n";
    SECTION("until the client has ended its side") {
        testing::session s(http() | echo);
        s.send(reject);
        CHECK(statuses(s.received()) == "400 ");
        CHECK(s.saw_end());
        CHECK_FALSE(s.ended());
        s.shutdown_send();
        CHECK(s.ended());
    }
    SECTION("for a second") {
        testing::session s(http() | echo);
        s.send(reject);
        for (int i = 0; i < 9; ++i) {
            s.advance(100ms);
            CHECK(s.send("more") == 4);
            CHECK_FALSE(s.ended());
        }
        s.advance(300ms);
        CHECK(s.ended());
    }
    SECTION("for 64 KiB") {
        testing::session s(http() | echo);
        s.send(reject);
        s.send(std::string(60'000, 'x'));
        CHECK_FALSE(s.ended());
        s.send(std::string(40'000, 'x'));
        CHECK(s.ended());
        CHECK(statuses(s.received()) == "400 ");
    }
}

TEST_CASE("session: chunks that are malformed") {
    auto chunks = GENERATE("x\r\n", "-1\r\n", "0x1\r\na\r\n", "1\na\r\n", "1\r\nab\r\n", "\r\n",
                           "fffffffffffffffff\r\n");
    testing::session s(http() | echo);
    s.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
           std::string(chunks) + get);
    CHECK(statuses(s.received()) == "400 ");
    CHECK(closes(s.received()));
    CHECK(s.saw_end());
    s.advance(1100ms);
    CHECK(s.ended());
}

TEST_CASE(
    "session: a close waits until the client has sent what it sends, over unread bytes only") {
    std::string const last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    auto as_a_socket = [](exchange& x, exchange::next next) -> awaitable<> {
        x.connection().downstream().ready().readable = true; // it knows no better until it is read
        return next(x);
    };
    testing::session s(http() | as_a_socket | echo);
    SECTION("none") {
        s.send(last);
        CHECK(statuses(s.received()) == "200 ");
        CHECK(s.saw_end());
        CHECK(s.ended());
    }
    SECTION("in the segment of the request") {
        s.send(last + get);
        CHECK(statuses(s.received()) == "200 ");
        CHECK(s.saw_end());
        CHECK_FALSE(s.ended()); // closed now, the client's kernel might throw the answer away
        s.shutdown_send();
        CHECK(s.ended());
    }
}
