#include "catch.hpp"
#include "proxied.hpp"

#include <relais/websocket/frame.hpp>

#include <optional>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

// The key and the answer to it of RFC 6455, section 1.3.
std::string const asks =
    "GET /chat HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
std::string const accepted = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
std::string const switches =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + accepted;

// Frames as a server sends them, and as a client does.
std::string down(char opcode, std::string const& payload) {
    std::string made{static_cast<char>(0x80 | opcode)};
    if (payload.size() < 126)
        made += static_cast<char>(payload.size());
    else if (payload.size() < 65536)
        made += {126, static_cast<char>(payload.size() >> 8), static_cast<char>(payload.size())};
    else
        made += {127,
                 0,
                 0,
                 0,
                 0,
                 static_cast<char>(payload.size() >> 24),
                 static_cast<char>(payload.size() >> 16),
                 static_cast<char>(payload.size() >> 8),
                 static_cast<char>(payload.size())};
    return made + payload;
}
std::string up_frame(char opcode, std::string payload) {
    auto made = down(opcode, payload);
    made[1] = static_cast<char>(made[1] | 0x80);
    auto const head = made.size() - payload.size();
    std::string const key = "\x11\x22\x33\x44";
    for (std::size_t i = 0; i < payload.size(); ++i)
        payload[i] = static_cast<char>(payload[i] ^ key[i % 4]);
    return made.substr(0, head) + key + payload;
}
std::string const going_away = "\x88\x02\x03\xe9";

// The payload of a masked frame with a short length.
std::string unmasked(std::string_view frame) {
    std::string made;
    for (std::size_t i = 6; i < frame.size(); ++i)
        made += static_cast<char>(frame[i] ^ frame[2 + (i - 6) % 4]);
    return made;
}

struct tunnelled : proxied {
    explicit tunnelled(proxy_options o = {}, transport over = transport::local,
                       memory_options near = {})
        : proxied(std::move(o), {}, over, near) {}
    // Up to the open tunnel; both sides have read what came before.
    void open() {
        server = ask(asks + "\r\n");
        REQUIRE(server);
        server->take();
        answer(server, switches + "\r\n");
        REQUIRE(got().starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    }
    peer server;
};

} // namespace

TEST_CASE("tunnel: what goes up and what comes back") {
    tunnelled t;
    t.server = t.ask(
        asks + "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
               "Origin: https://a.example\r\nCookie: x=y\r\n\r\n");
    REQUIRE(t.server);
    auto head = t.server->take();
    for (auto line : {"Host: a.example", "Upgrade: websocket", "Connection: Upgrade",
                      "Sec-WebSocket-Version: 13",
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: a, b",
                      "Sec-WebSocket-Extensions: permessage-deflate", "Origin: https://a.example",
                      "Cookie: x=y", "X-Forwarded-For: 192.0.2.1"})
        CHECK(has_line(head, line));
    CHECK(t.got().empty()); // nothing is told to the client before the upstream has agreed
    t.answer(t.server,
             switches +
                 "Sec-WebSocket-Protocol: b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
                 "X-More: 1\r\nContent-Length: 5\r\n\r\n");
    auto answer = t.got();
    CHECK(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    for (auto line :
         {"Upgrade: websocket", "Connection: Upgrade",
          "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Sec-WebSocket-Protocol: b",
          "Sec-WebSocket-Extensions: permessage-deflate", "X-More: 1"})
        CHECK(has_line(answer, line));
    CHECK(answer.find("Content-Length") == answer.npos);
    CHECK(answer.ends_with("\r\n\r\n"));
}

TEST_CASE("tunnel: different bytes each way, in any pieces") {
    bool bytewise = GENERATE(false, true);
    tunnelled t({}, transport::local,
                bytewise ? memory_options{.read_at_most = 1, .write_at_most = 1}
                         : memory_options{});
    t.open();
    auto const up =
        up_frame(1, "up, up and away") + up_frame(2, std::string(300, '\xfe')) + up_frame(9, "");
    auto const back = down(1, "down") + down(2, std::string(70'000, '\0')) + down(10, "pong");
    std::string came;
    if (bytewise) {
        for (char c : up) {
            t.client.send(std::string(1, c));
            came += t.server->take();
        }
        for (std::size_t i = 0; i < back.size(); i += 1000)
            t.answer(t.server, back.substr(i, 1000));
    } else {
        t.client.send(up);
        t.answer(t.server, back);
    }
    CHECK((came + t.server->take() == up));
    CHECK((t.got() == back));
    CHECK_FALSE(t.client.ended());
    CHECK(t.reasons->empty()); // the exchange lasts as long as the tunnel
}

TEST_CASE("tunnel: frames glued to the request and to the 101") {
    tunnelled t;
    SECTION("in the same segment as the request") {
        t.server = t.ask(asks + "\r\n" + up_frame(1, "early"));
    }
    SECTION("behind it, before the answer") {
        t.server = t.ask(asks + "\r\n");
        t.client.send(up_frame(1, "early"));
    }
    REQUIRE(t.server);
    auto head = t.server->take();
    CHECK(content_of(head).empty()); // held until the upstream has agreed
    t.answer(t.server, switches + "\r\n" + down(1, "glued"));
    CHECK(content_of(t.got()) == down(1, "glued"));
    CHECK(t.server->take() == up_frame(1, "early"));
    t.client.send(up_frame(1, "later"));
    CHECK(t.server->take() == up_frame(1, "later"));
}

TEST_CASE("tunnel: early bytes are no request where the upgrade is refused") {
    tunnelled t;
    t.server = t.ask(asks + "\r\n" + get);
    REQUIRE(t.server);
    t.server->take();
    t.answer(t.server, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    auto answer = t.got();
    CHECK(answer.starts_with("HTTP/1.1 403 "));
    CHECK(answer.ends_with("\r\n\r\nno"));
    CHECK(t.server->take().empty());
    CHECK_FALSE(t.upstream.accept());
    CHECK(t.client.saw_end());
}

TEST_CASE("tunnel: another answer is a response as any") {
    auto const answer = GENERATE(
        values<char const*>({"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                             "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nhi",
                             "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nhi"}));
    tunnelled t;
    t.server = t.ask(asks + "\r\n");
    REQUIRE(t.server);
    t.server->take();
    t.answer(t.server, answer);
    CHECK(content_of(t.got()) == "hi");
    CHECK(t.last_reason() == end_reason::completed);
    CHECK_FALSE(t.client.saw_end()); // and the connection goes on
    auto next = t.ask(get);
    auto& by = next ? next : t.server;
    CHECK(by->take().starts_with("GET / "));
    t.answer(by, ok("next"));
    CHECK(content_of(t.got()) == "next");
}

TEST_CASE("tunnel: a 101 that is not right is 502") {
    auto const begin = "HTTP/1.1 101 Switching Protocols\r\n"s;
    auto const bad = GENERATE_COPY(values<std::string>({
        begin,
        begin + "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        begin + "Upgrade: websocket\r\n" + accepted,
        begin + "Connection: Upgrade\r\n" + accepted,
        begin + "Upgrade: h2c\r\nConnection: Upgrade\r\n" + accepted,
        begin + "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n" + accepted,
        begin + "Upgrade: websocket\r\nConnection: close\r\n" + accepted,
        begin + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n",
        switches + accepted,
        switches + "Sec-WebSocket-Protocol: c\r\n",
        switches + "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    }));
    CAPTURE(bad);
    tunnelled t;
    t.server = t.ask(asks + "Sec-WebSocket-Protocol: a, b\r\n\r\n");
    REQUIRE(t.server);
    t.server->take();
    t.answer(t.server, bad + "\r\n" + down(1, "not for the client"));
    auto answer = t.got();
    CHECK(answer.starts_with("HTTP/1.1 502 "));
    CHECK(answer.find("not for") == answer.npos);
    CHECK(t.last_reason() == end_reason::bad_upgrade);
    CHECK((t.server->saw_end() || t.server->saw_reset()));
    CHECK(t.server->take().empty());
}

TEST_CASE("tunnel: a request that is no WebSocket") {
    auto const [request, answer] = GENERATE(table<std::string, char const*>({
        {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: "
         "Upgrade\r\nSec-WebSocket-Version: 8\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
         "HTTP/1.1 426 "},
        {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: "
         "Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
         "HTTP/1.1 400 "},
        {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: "
         "Upgrade\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: c2hvcnQ=\r\n\r\n",
         "HTTP/1.1 400 "},
        {asks + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "HTTP/1.1 400 "},
        {asks + "Content-Length: 2\r\n\r\nhi", "HTTP/1.1 400 "},
    }));
    CAPTURE(request);
    tunnelled t;
    CHECK_FALSE(t.ask(request));
    auto got = t.got();
    CHECK(got.starts_with(answer));
    CHECK(has_line(got, "Sec-WebSocket-Version: 13") == got.starts_with("HTTP/1.1 426 "));
}

TEST_CASE("tunnel: an end goes through, and the other direction goes on") {
    tunnelled t;
    t.open();
    SECTION("the client's first") {
        t.client.send(up_frame(1, "last"));
        t.client.shutdown_send();
        CHECK(t.server->take() == up_frame(1, "last"));
        CHECK(t.server->saw_end());
        CHECK_FALSE(t.client.saw_end());
        t.answer(t.server, down(1, "still"));
        CHECK(t.got() == down(1, "still"));
        t.server->shutdown_send();
        t.client.run();
    }
    SECTION("the server's first") {
        t.answer(t.server, down(1, "last"));
        t.server->shutdown_send();
        t.client.run();
        CHECK(t.got() == down(1, "last"));
        CHECK(t.client.saw_end());
        CHECK_FALSE(t.server->saw_end());
        t.client.send(up_frame(1, "still"));
        CHECK(t.server->take() == up_frame(1, "still"));
        t.client.shutdown_send();
        CHECK(t.server->saw_end());
    }
    CHECK(t.client.ended());
    CHECK(t.client.saw_end());
    CHECK_FALSE(t.client.saw_reset());
    CHECK(t.last_reason() == end_reason::completed);
}

TEST_CASE("tunnel: a half-closed one ends when nothing comes any more") {
    proxy_options o;
    o.linger = 10s;
    tunnelled t(o);
    t.open();
    bool by_client = GENERATE(true, false);
    if (by_client)
        t.client.shutdown_send();
    else
        t.server->shutdown_send();
    t.client.run();
    t.client.advance(9s);
    by_client ? t.answer(t.server, "x") : static_cast<void>(t.client.send("x"));
    t.client.advance(9s);
    CHECK_FALSE(t.client.ended());
    t.client.advance(1200ms);
    CHECK(t.client.ended());
    CHECK(t.last_reason() == end_reason::tunnel_linger);
    CHECK(t.server->saw_end());
}

TEST_CASE("tunnel: an idle one ends, bytes of either side keep it") {
    proxy_options o;
    o.tunnel_timeout = 60s;
    tunnelled t(o);
    t.open();
    for (int i = 0; i < 4; ++i) {
        t.client.advance(50s);
        i % 2 ? t.answer(t.server, "x") : static_cast<void>(t.client.send("x"));
    }
    t.client.advance(59800ms);
    CHECK_FALSE(t.client.ended());
    t.client.advance(400ms);
    CHECK(t.client.ended());
    CHECK(t.last_reason() == end_reason::tunnel_idle);
    CHECK(t.server->saw_end());
    CHECK(t.client.saw_end());
}

TEST_CASE("tunnel: the time-outs of requests end at the 101") {
    proxy_options o;
    o.first_byte_timeout = o.read_timeout = o.write_timeout = 1s;
    tunnelled t(o);
    t.open();
    t.client.advance(5min);
    CHECK_FALSE(t.client.ended());
    t.client.send(up_frame(1, "x"));
    CHECK(t.server->take() == up_frame(1, "x"));
}

TEST_CASE("tunnel: a reset of one side is one of the other") {
    SECTION("the client's") {
        tunnelled t({}, transport::local);
        t.open();
        t.client.reset();
        CHECK(t.client.ended());
        CHECK(t.last_reason() == end_reason::tunnel_client_reset);
        CHECK((t.server->saw_end() || t.server->saw_reset()));
    }
    SECTION("the server's") {
        tunnelled t({}, transport::tcp);
        t.client.send(asks + "\r\n");
        for (int i = 0; i < 1000 && !t.server; ++i, t.client.run())
            t.server = t.upstream.accept();
        REQUIRE(t.server);
        for (int i = 0; i < 1000 && t.server->received().empty(); ++i)
            t.client.run();
        t.server->send(switches + "\r\n");
        for (int i = 0; i < 1000 && t.client.received().empty(); ++i)
            t.client.run();
        t.server->reset();
        for (int i = 0; i < 1000 && !t.client.ended(); ++i)
            t.client.run();
        CHECK(t.client.saw_reset());
        CHECK(t.last_reason() == end_reason::tunnel_upstream_reset);
    }
}

TEST_CASE("tunnel: a side that does not read stops the other one") {
    tunnelled t;
    t.open();
    std::string const much(1 << 20, 'x');
    std::size_t sent = 0;
    SECTION("the server") {
        for (std::size_t took = 1; took; sent += took)
            took = t.client.send(much);
        CHECK(sent < (4u << 20));
        t.answer(t.server, "down"); // the other way is open
        CHECK(t.got() == "down");
        auto come = t.server->take().size();
        for (int i = 0; i < 1000 && come < sent; ++i) {
            t.client.run();
            come += t.server->take().size();
        }
        CHECK(come == sent);
    }
    SECTION("the client") {
        t.client.set_reading(false);
        for (std::size_t took = 1; took; sent += took) {
            took = t.server->send(much);
            t.client.run();
        }
        CHECK(sent < (4u << 20));
        t.client.send("up");
        CHECK(t.server->take() == "up");
        t.client.set_reading(true);
        t.client.run();
        CHECK(t.got().size() == sent);
    }
}

TEST_CASE("tunnel: drained, with a Close 1001 both ways") {
    proxy_options o;
    o.linger = 10s;
    tunnelled t(o);
    t.open();
    t.client.send(up_frame(1, "x"));
    t.server->take();
    t.client.connection().drain();
    t.client.run();
    CHECK(t.got() == going_away);
    auto close = t.server->take();
    REQUIRE(close.size() == 8);
    CHECK(close.substr(0, 2) == "\x88\x82");
    CHECK(unmasked(close) == "\x03\xe9");
    CHECK_FALSE(t.client.ended());
    SECTION("both answer") {
        t.client.send(up_frame(8, "\x03\xe9"));
        t.answer(t.server, down(8, "\x03\xe9"));
        CHECK(t.server->take().empty()); // the echo is not passed on: it answered ours
        CHECK(t.got().empty());
    }
    SECTION("nobody answers") {
        t.client.advance(9800ms);
        CHECK_FALSE(t.client.ended());
        t.client.advance(400ms);
    }
    CHECK(t.client.ended());
    CHECK(t.client.saw_end());
    CHECK(t.server->saw_end());
    CHECK(t.last_reason() == end_reason::tunnel_drained);
}

TEST_CASE("tunnel: drained in the middle of large frames, in both directions") {
    tunnelled t;
    t.open();
    auto const up = up_frame(2, std::string(100'000, 'u'));
    auto const back = down(2, std::string(200'000, 'd'));
    t.client.send(up.substr(0, 50'000));
    t.answer(t.server, back.substr(0, 150'000));
    auto came_up = t.server->take(), came_down = t.got();
    t.client.connection().drain();
    t.client.run();
    t.client.send(up.substr(50'000) + up_frame(1, "too late"));
    t.answer(t.server, back.substr(150'000) + down(1, "too late"));
    came_up += t.server->take();
    came_down += t.got();
    CHECK((came_down == back + going_away));
    REQUIRE(came_up.size() == up.size() + 8);
    CHECK((came_up.substr(0, up.size()) == up));
    CHECK(unmasked(came_up.substr(up.size())) == "\x03\xe9");
}

TEST_CASE("tunnel: drained while the upstream is still asked") {
    tunnelled t;
    t.server = t.ask(asks + "\r\n");
    REQUIRE(t.server);
    worker::scoped_current on(t.client.worker());
    auto& all = connection_list::current();
    all.drain();
    t.client.run();
    t.answer(t.server, switches + "\r\n");
    CAPTURE(t.client.received());
    CHECK_FALSE(t.client.ended());
    CHECK(t.got().find(going_away) == std::string::npos);
    REQUIRE(all.to_be_asked() == 1); // as any other tunnel
    all.drain_next(1);
    t.client.run();
    CHECK(t.got().ends_with(going_away));
}

TEST_CASE("tunnel: what was held lives as long as the tunnel, and on_complete comes last") {
    scripted_server upstream;
    auto token = std::make_shared<int>(7);
    std::weak_ptr<int> const watch = token;
    std::optional<end_reason> ended;
    bool alive_at_the_end = false;
    std::uint64_t sent = 0;
    auto stage = [&](exchange& x, exchange::next next) -> awaitable<> {
        x.hold(std::exchange(token, nullptr));
        x.on_complete([&](exchange& over) {
            ended = over.reason();
            alive_at_the_end = !watch.expired();
            sent = over.body_bytes_sent();
            CHECK(over.request.path() == "/chat"); // views last
            CHECK(over.request["Host"] == "a.example");
            CHECK(over.response.status() == 101);
        });
        co_await next(x);
    };
    session client(http() | stage | proxy_to(upstream.url()));
    client.send(asks + "\r\n");
    auto server = upstream.accept();
    REQUIRE(server);
    server->send(switches + "\r\n");
    client.run();
    server->send("12345");
    client.run();
    CHECK_FALSE(ended);
    CHECK_FALSE(watch.expired());
    client.shutdown_send();
    server->shutdown_send();
    client.run();
    CHECK(ended == end_reason::completed);
    CHECK(alive_at_the_end);
    CHECK(watch.expired());
    CHECK(sent == 5);
}

TEST_CASE("tunnel: a stage that makes another answer of the 101") {
    bool const status = GENERATE(true, false);
    auto stage = [&](exchange& x, exchange::next next) -> awaitable<> {
        co_await next(x);
        if (status)
            x.response.set_status(404);
        x.response.body.set("edited");
    };
    scripted_server upstream;
    session client(http() | stage | proxy_to(upstream.url()));
    client.send(asks + "\r\n");
    auto server = upstream.accept();
    REQUIRE(server);
    server->take();
    server->send(switches + "\r\n" + "12345");
    client.run();
    auto got = client.take_received();
    if (status) { // an answer as any, and nobody is left on the other side
        CHECK(got.starts_with("HTTP/1.1 404 Not Found\r\n"));
        CHECK(has_line(got, "Content-Length: 6"));
        CHECK(content_of(got) == "edited");
        server->take();
        CHECK(server->saw_end());
    } else { // a 101 has no content
        CHECK(got.starts_with("HTTP/1.1 101 "));
        CHECK(content_of(got) == "12345");
    }
}
