#include "catch.hpp"
#include "proxied.hpp"

#include <relais/upstream/server.hpp>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;
using namespace std::string_literals;

TEST_CASE("connections: one is used again, and the last one first") {
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    for (int i = 0; i < 3; ++i) {
        CHECK(up->take().starts_with("GET / HTTP/1.1\r\n"));
        p.answer(up, ok(std::to_string(i)));
        CHECK(content_of(p.got()) == std::to_string(i));
        CHECK_FALSE(p.ask(get)); // no new one
    }
}

TEST_CASE("connections: what may not be used again") {
    auto const [request, response, rest] = GENERATE(table<std::string, char const*, char const*>({
        {get, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", ""},
        {get, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", ""},
        {get, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxmore", ""},
        {get,
         "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: "
         "6\r\n\r\nsplit!",
         ""},
        {get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nmore", ""},
        {get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nmore", ""},
        {get, "HTTP/1.1 204 No Content\r\n\r\nmore", ""},
        {"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmore",
         ""},
        {get, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", "56789more"},
        {get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", "\r\nmore"},
        // Not all of the request was wanted.
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
         "HTTP/1.1 400 Bad\r\nContent-Length: 1\r\n\r\nx", ""},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
         "HTTP/1.1 400 Bad\r\nContent-Length: 1\r\n\r\nx", ""},
    }));
    CAPTURE(request, response);
    proxied p;
    auto up = p.ask(request);
    REQUIRE(up);
    up->take();
    p.answer(up, response);
    p.answer(up, rest);
    auto got = p.got();
    CHECK(got.starts_with("HTTP/1.1 "));
    CHECK(got.find("more") == got.npos);
    CHECK(got.find("split") == got.npos);
    CHECK((up->saw_end() || up->saw_reset()));
    if (request.starts_with("POST"))
        return;
    auto next = p.ask(get);
    REQUIRE(next);
    CHECK(next->take().starts_with("GET "));
    p.answer(next, ok("good"));
    CHECK(content_of(p.got()) == "good");
}

TEST_CASE("connections: HTTP/1.0 with keep-alive is kept") {
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    p.answer(up, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx");
    CHECK(p.got().starts_with("HTTP/1.1 200 OK\r\n")); // the client's version, not the upstream's
    CHECK_FALSE(p.ask(get));
}

TEST_CASE("connections: what comes on an idle one discards it") {
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    p.answer(up, ok("one"));
    p.got();
    up->take();
    SECTION("a response that nobody asked for") {
        p.answer(up, ok("poison"));
    }
    SECTION("an end") {
        up->shutdown_send();
        p.client.run();
    }
    auto next = p.ask(get);
    REQUIRE(next);
    CHECK(up->take().empty());
    CHECK(next->take().starts_with("GET "));
    p.answer(next, ok("two"));
    CHECK(content_of(p.got()) == "two");
}

TEST_CASE("connections: idle ones have a time and a number") {
    proxy_options o;
    o.pool_timeout = 10s;
    o.pool_size = 1;
    http_options h;
    h.keep_alive_timeout = 1h;
    proxied p(o, h);
    auto up = p.ask(get);
    REQUIRE(up);
    p.answer(up, ok("one"));
    p.client.advance(8s);
    CHECK_FALSE(up->saw_end());
    p.client.advance(4s);
    CHECK(up->saw_end());
    // As many as there is room for are kept.
    proxy_options none;
    none.pool_size = 0;
    proxied q(none);
    up = q.ask(get);
    REQUIRE(up);
    q.answer(up, ok("one"));
    CHECK(up->saw_end());
}

TEST_CASE("connections: one that went stale is tried once more") {
    auto const [request, again] = GENERATE(table<std::string, bool>({
        {get, true},
        {"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", true},
        {"POST / HTTP/1.1\r\nHost: a\r\n\r\n", false},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", false},
        {"PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", false},
        {"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", false},
    }));
    CAPTURE(request);
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    p.answer(up, ok("one"));
    p.got();
    up->take();
    CHECK_FALSE(p.ask(request));
    auto first = up->take(); // it read the request and closed
    CHECK_FALSE(first.empty());
    up.reset();
    p.client.run();
    auto next = p.upstream.accept();
    REQUIRE(bool(next) == again);
    if (!again) {
        CHECK(p.got().starts_with("HTTP/1.1 502 "));
        CHECK(p.last_reason() == end_reason::upstream_reset);
        return;
    }
    CHECK(next->take() == first);
    SECTION("and answers") {
        p.answer(next, "HTTP/1.1 204 No Content\r\n\r\n");
        CHECK(p.got().starts_with("HTTP/1.1 204 "));
        CHECK(p.last_reason() == end_reason::completed);
    }
    SECTION("but not twice") {
        next.reset();
        p.client.run();
        CHECK_FALSE(p.upstream.accept());
        CHECK(p.got().starts_with("HTTP/1.1 502 "));
    }
}

TEST_CASE("connections: one that has said something is not stale") {
    auto const said = GENERATE(
        values<char const*>({"H", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n"}));
    CAPTURE(said);
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    p.answer(up, ok("one"));
    up->take();
    p.ask(get);
    up->take();
    p.answer(up, said);
    p.got();
    up.reset();
    p.client.run();
    CHECK_FALSE(p.upstream.accept());
    CHECK(p.got().starts_with("HTTP/1.1 502 "));
}

TEST_CASE("connections: a body that came in pieces is not sent twice") {
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    p.answer(up, ok("one"));
    p.got();
    up->take();
    p.ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    p.client.send("world");
    up->take();
    up.reset();
    p.client.run();
    CHECK_FALSE(p.upstream.accept());
    CHECK(p.got().starts_with("HTTP/1.1 502 "));
}

TEST_CASE("connections: a client that authenticates its connection has one of its own") {
    auto const asks = "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM TlRMTVNTUAAB\r\n\r\n"s;
    proxied p;
    auto up = p.ask(get); // this one is for all
    REQUIRE(up);
    p.answer(up, ok("public"));
    auto own = p.ask(asks);
    REQUIRE(own);
    p.answer(own,
             "HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM TlRMTVNTUAAC\r\nContent-Length: 0\r\n\r\n");
    own->take();
    up->take();
    CHECK_FALSE(p.ask(asks));
    CHECK(own->take().starts_with("GET / "));
    p.answer(own, ok("private"));
    CHECK_FALSE(p.ask(get)); // from now on everything of this client
    CHECK(own->take().starts_with("GET / "));
    CHECK(up->take().empty());
    p.answer(own, ok("private"));
    p.client.shutdown_send();
    CHECK(p.client.ended());
    CHECK_FALSE(up->saw_end());
}

TEST_CASE("connections: one that begins with a client's address serves nobody else") {
    scripted_server upstream;
    // Who asks is what a field says.
    auto const says = [](exchange& x, exchange::next next) -> awaitable<> {
        x.set_client_address(x.request["From"]);
        return next(x);
    };
    session client(http() | says | proxy_to(upstream.url(), {.proxy_protocol = proxy_version::v1}));
    auto const asks = [&](std::string const& from) {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nFrom: " + from + "\r\n\r\n");
        return upstream.accept();
    };
    auto const is_answered = [&](auto const& by) {
        by->send(ok("x"));
        client.run();
        return client.take_received().starts_with("HTTP/1.1 200 ");
    };
    auto one = asks("192.0.2.1");
    REQUIRE(one);
    auto const head = one->take();
    CAPTURE(head);
    CHECK(head.starts_with("PROXY TCP4 192.0.2.1 "));
    CHECK(head.find("\r\nGET / HTTP/1.1\r\n") != head.npos);
    CHECK(is_answered(one));
    CHECK_FALSE(asks("192.0.2.1")); // the same client again
    CHECK(one->take().starts_with("GET / HTTP/1.1\r\n"));
    CHECK(is_answered(one));
    auto two = asks("192.0.2.2");
    REQUIRE(two);
    CHECK(two->take().starts_with("PROXY TCP4 192.0.2.2 "));
    CHECK(is_answered(two));
    auto six = asks("2001:db8::1"); // of another family than the address that it reached
    REQUIRE(six);
    auto const opening = six->take();
    CAPTURE(opening);
    CHECK(opening.starts_with("PROXY TCP6 2001:db8::1 ::ffff:"));
    CHECK(opening.find("\r\nGET / HTTP/1.1\r\n") != opening.npos);
    CHECK(is_answered(six));
}

TEST_CASE("connections: nobody listens") {
    auto over = GENERATE(transport::local, transport::tcp);
    scripted_server upstream(over);
    auto url = upstream.url();
    upstream.stop_listening();
    session client(http() | proxy_to(url));
    client.send(get);
    for (int i = 0; i < 1000 && client.received().empty(); ++i)
        client.run();
    CHECK(client.received().starts_with("HTTP/1.1 502 "));
    CHECK_FALSE(client.saw_end());
}

TEST_CASE("connections: the time that a server has") {
    proxy_options o;
    o.first_byte_timeout = 20s;
    o.read_timeout = 30s;
    proxied p(o);
    auto up = p.ask(get);
    REQUIRE(up);
    SECTION("for its first byte") {
        p.client.advance(19800ms);
        CHECK(p.got().empty());
        p.client.advance(400ms);
        CHECK(p.got().starts_with("HTTP/1.1 504 "));
        CHECK(p.last_reason() == end_reason::first_byte_timeout);
        CHECK(up->saw_end());
        CHECK_FALSE(p.client.saw_end());
    }
    SECTION("for the whole head, byte by byte") {
        std::string const head = "HTTP/1.1 200 OK\r\nX-Slow: yes\r\n";
        for (std::size_t i = 0; i < 19; ++i) {
            p.client.advance(1s);
            p.answer(up, head.substr(i, 1));
        }
        CHECK(p.got().empty());
        p.client.advance(1s);
        p.answer(up, "x");
        CHECK(p.got().starts_with("HTTP/1.1 504 "));
    }
    SECTION("for each piece of the body") {
        p.answer(up, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        for (int i = 0; i < 5; ++i) {
            p.client.advance(29800ms);
            p.answer(up, "x");
        }
        CHECK(content_of(p.got()) == "xxxxx");
        p.client.advance(29800ms);
        CHECK_FALSE(p.client.saw_reset());
        p.client.advance(400ms);
        CHECK(p.client.saw_reset());
        CHECK(p.last_reason() == end_reason::response_timeout);
        CHECK((up->saw_end() || up->saw_reset()));
    }
    SECTION("interim responses are bytes") {
        for (int i = 0; i < 5; ++i) {
            p.client.advance(19s);
            p.answer(up, "HTTP/1.1 102 Processing\r\n\r\n");
        }
        p.got();
        p.answer(up, ok("x"));
        CHECK(content_of(p.got()) == "x");
    }
}

TEST_CASE("connections: the first byte counts from the end of the request") {
    proxy_options o;
    o.first_byte_timeout = 20s;
    proxied p(o);
    auto up = p.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n");
    REQUIRE(up);
    for (int i = 0; i < 5; ++i) { // fast enough on average, though it pauses
        p.client.advance(15s);
        p.client.send(std::string(10'000, 'x'));
    }
    CHECK(content_of(up->take()).size() == 50'000);
    p.client.advance(19s);
    CHECK(p.got().empty());
    p.client.advance(2s);
    CHECK(p.got().starts_with("HTTP/1.1 504 "));
}

TEST_CASE("connections: a server that does not read") {
    proxy_options o;
    o.write_timeout = 7s;
    proxied p(o);
    auto up = p.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    REQUIRE(up);
    std::string const much(1 << 20, 'x');
    std::size_t sent = 0;
    while (p.client.send(much) == much.size()) {
        sent += much.size();
        REQUIRE(sent < (10u << 20)); // what is held on the way has bounds
    }
    p.client.advance(6800ms);
    CHECK(p.got().empty());
    p.client.advance(400ms);
    CHECK(p.got().starts_with("HTTP/1.1 504 "));
    CHECK(p.last_reason() == end_reason::upstream_write_timeout);
}

TEST_CASE(
    "connections: an upgrade of a client that authenticated its connection goes over that one") {
    auto const upgrade =
        "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"s;
    proxied p;
    auto own = p.ask("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM TlRMTVNTUAAB\r\n\r\n");
    REQUIRE(own);
    p.answer(own, ok("private"));
    own->take();
    CHECK_FALSE(p.ask(upgrade));
    CHECK(own->take().starts_with("GET /chat "));
}
