#include "catch.hpp"
#include "proxied.hpp"

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;
using namespace std::string_literals;

TEST_CASE("proxy: a response comes through, whole and byte by byte") {
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    CHECK(up->take().starts_with("GET / HTTP/1.1\r\nHost: a.example\r\n"));
    std::string const answer =
        "HTTP/1.1 201 Whatever\r\nX-One: 1\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\n"
        "Content-Length: 5\r\nDate: Mon, 07 Nov 1994 08:49:37 GMT\r\n\r\nhello";
    bool bytewise = GENERATE(false, true);
    if (bytewise) {
        for (char c : answer)
            p.answer(up, std::string(1, c));
    } else {
        p.answer(up, answer);
    }
    CHECK(p.got() == "HTTP/1.1 201 Created\r\nX-One: 1\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\n"
                     "Date: Mon, 07 Nov 1994 08:49:37 GMT\r\nContent-Length: 5\r\n\r\nhello");
    CHECK(p.last_reason() == end_reason::completed);
    CHECK_FALSE(up->saw_end()); // kept for the next request
    CHECK_FALSE(p.client.saw_end());
}

TEST_CASE("proxy: a status without a name") {
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    p.answer(up, "HTTP/1.1 279 Mine\r\nContent-Length: 0\r\n\r\n");
    CHECK(p.got().starts_with("HTTP/1.1 279 \r\n"));
}

TEST_CASE("proxy: framing is made anew") {
    auto const [sent, framed] = GENERATE(table<char const*, std::string>({
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "Content-Length: 5\r\n\r\nhello"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n005;a=b\r\nhello\r\n0\r\nX-T: "
         "1\r\n\r\n",
         "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
         "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "Content-Length: 0\r\n\r\n"},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "Content-Length: 5\r\n\r\nhello"},
        {"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", "\r\n"},
        {"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", "\r\n"},
        {"HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5\r\n\r\n"},
        {"HTTP/1.1 304 Not\r\n\r\n", "\r\n"},
    }));
    CAPTURE(sent);
    proxied p;
    for (int i = 0; i < 2; ++i) {
        auto up = p.ask(get);
        REQUIRE(up);
        p.answer(up, sent);
        auto got = p.got();
        CHECK(got.ends_with("\r\n" + framed));
        for (auto name : {"Content-Length", "Transfer-Encoding"})
            CHECK((got.find(name) == got.npos) == (framed.find(name) == framed.npos));
        CHECK(p.last_reason() == end_reason::completed);
        up.reset(); // the next request wants a connection of its own
    }
}

TEST_CASE("proxy: a body without a length ends with the upstream's connection") {
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    p.answer(up, "HTTP/1.1 200 OK\r\n\r\nhello");
    CHECK(content_of(p.got()) == "5\r\nhello\r\n");
    p.answer(up, " again");
    CHECK(p.got() == "6\r\n again\r\n");
    up->shutdown_send();
    p.client.run();
    CHECK(p.got() == "0\r\n\r\n");
    CHECK(p.last_reason() == end_reason::completed);
    CHECK(up->saw_end()); // and nobody uses it again
    CHECK_FALSE(p.client.saw_end());
}

TEST_CASE("proxy: an answer to HEAD has no content whatever it says") {
    auto const [fields, told] = GENERATE(table<char const*, char const*>({
        {"Content-Length: 5000000\r\n", "Content-Length: 5000000\r\n"},
        {"Transfer-Encoding: chunked\r\n", ""},
        {"", ""},
    }));
    proxied p;
    auto up = p.ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    REQUIRE(up);
    p.answer(up, "HTTP/1.1 200 OK\r\n"s + fields + "\r\n");
    auto got = p.got();
    CHECK(got == "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"s + told + "\r\n");
    CHECK_FALSE(p.ask(get)); // the same connection serves the next one
    CHECK(up->take().find("\r\n\r\nGET / HTTP/1.1\r\n") != std::string::npos);
}

TEST_CASE("proxy: bad responses are 502, and their connection is never used again") {
    std::string const fine = "HTTP/1.1 200 OK\r\n";
    auto const bad = GENERATE_COPY(values<std::string>({
        fine + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        fine + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        fine + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        fine + "Content-Length: 5, 5\r\n\r\nhello",
        fine + "Content-Length: +5\r\n\r\nhello",
        fine + "Content-Length: 0x5\r\n\r\nhello",
        fine + "Content-Length:\r\n\r\nhello",
        fine + "Content-Length: 9223372036854775808\r\n\r\n",
        fine + "Transfer-Encoding: gzip\r\n\r\n",
        fine + "Transfer-Encoding: gzip, chunked\r\n\r\n",
        fine + "Transfer-Encoding: chunked, chunked\r\n\r\n",
        fine + "Transfer-Encoding: xchunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        fine + "X: folded\r\n line\r\n\r\n",
        fine + "X: \x01\r\n\r\n",
        fine + "X: a\0b\r\n\r\n"s,
        fine + "X : y\r\n\r\n",
        fine + ": y\r\n\r\n",
        fine + "X: y\nZ: y\r\n\r\n",
        fine + "X: y\r\rZ: y\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "\x16\x03\x01\x02\x00\x01"s,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        fine + "X: " + std::string(70'000, 'y') + "\r\n\r\n",
    }));
    CAPTURE(bad.substr(0, 120));
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    p.answer(up, bad);
    auto got = p.got();
    CHECK(got.starts_with("HTTP/1.1 502 "));
    CHECK(got.find("folded") == got.npos);
    auto why = p.last_reason();
    CHECK((why == end_reason::bad_response || why == end_reason::response_head_too_large));
    CHECK((up->saw_end() || up->saw_reset()));
    CHECK_FALSE(p.client.saw_end()); // the client did nothing wrong
    up = p.ask(get);
    REQUIRE(up);
    p.answer(up, ok("fresh"));
    CHECK(content_of(p.got()) == "fresh");
}

TEST_CASE("proxy: an upstream that ends before its head is there") {
    auto const [sent, why] = GENERATE(table<char const*, end_reason>({
        {"", end_reason::upstream_reset},
        {"HTTP/1.1 200", end_reason::bad_response},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", end_reason::bad_response},
    }));
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    up->take();
    p.answer(up, sent);
    CHECK(p.got().empty());
    up.reset();
    p.client.run();
    CHECK(p.got().starts_with("HTTP/1.1 502 "));
    CHECK(p.last_reason() == why);
    CHECK_FALSE(p.upstream.accept()); // a fresh connection is not tried twice
}

TEST_CASE("proxy: a response that breaks off is never a clean end") {
    auto const [sent, ends] = GENERATE(table<char const*, bool>({
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n", false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n", false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", false},
    }));
    CAPTURE(sent);
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    up->take();
    p.answer(up, sent);
    if (ends) {
        CHECK_FALSE(p.client.saw_reset());
        up.reset();
        p.client.run();
    }
    auto got = p.got();
    if (ends)
        CHECK(got.starts_with("HTTP/1.1 200 OK\r\n")); // it was under way
    CHECK_FALSE(got.ends_with("\r\n0\r\n\r\n"));
    CHECK(p.client.saw_reset());
    CHECK_FALSE(p.client.saw_end());
    CHECK(p.client.ended());
    auto why = p.last_reason();
    CHECK(why == (ends ? end_reason::response_incomplete : end_reason::bad_response));
}

TEST_CASE("proxy: interim responses") {
    auto const [status, version, hints, passes] =
        GENERATE(table<char const*, char const*, bool, bool>({
            {"100 Continue", "1.1", false, true},
            {"102 Processing", "1.1", false, true},
            {"103 Early Hints", "1.1", false, false},
            {"103 Early Hints", "1.1", true, true},
            {"100 Continue", "1.0", false, false},
            {"102 Processing", "1.0", false, false},
            {"103 Early Hints", "1.0", true, false},
        }));
    CAPTURE(status, version, hints);
    http_options options;
    options.early_hints = hints;
    proxied p({}, options);
    auto up = p.ask("GET / HTTP/"s + version + "\r\nHost: a\r\n\r\n");
    REQUIRE(up);
    std::string const interim = "HTTP/1.1 "s + status + "\r\n";
    // Its hop-by-hop fields are taken off as those of any response.
    p.answer(up, interim + "Link: </a>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n");
    CHECK(p.got() == (passes ? interim + "Link: </a>\r\n\r\n" : ""));
    // Several, and the response in one piece.
    p.answer(up, interim + "\r\n" + interim + "\r\n" + ok("x"));
    auto got = p.got();
    CHECK(got.starts_with(passes ? interim + "\r\n" + interim + "\r\nHTTP/1.1 200 OK\r\n"
                                 : "HTTP/"s + version + " 200 OK\r\n"));
    CHECK(content_of(passes ? std::string_view(got).substr(2 * interim.size() + 4) : got) == "x");
}

TEST_CASE("proxy: interim responses that do not stop") {
    std::string const interim = "HTTP/1.1 102 Processing\r\n\r\n";
    SECTION("all at once") {
        proxied p;
        auto up = p.ask(get);
        REQUIRE(up);
        for (int i = 0; i < 64; ++i)
            p.answer(up, interim);
        CHECK(p.last_reason() != end_reason::too_many_interim);
        p.answer(up, interim);
        CHECK(p.last_reason() == end_reason::too_many_interim);
        CHECK(p.got().find("HTTP/1.1 502 ") != std::string::npos);
        CHECK(up->saw_end());
    }
    SECTION("one a second, as who works long may send") {
        proxied p;
        auto up = p.ask(get);
        REQUIRE(up);
        for (int i = 0; i < 100; ++i) {
            p.answer(up, interim);
            p.client.advance(1010ms);
        }
        p.got();
        p.answer(up, ok("at last"));
        CHECK(content_of(p.got()) == "at last");
    }
}
