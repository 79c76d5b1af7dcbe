#include "catch.hpp"
#include "proxied.hpp"

#include <relais/middleware/respond.hpp>

#include <functional>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

/// Lets the first operation on the client's stream fail, then the second, and so on until all that there is to do is done
/// without one that fails: every way out is walked.
void with_every_fault(std::function<bool(proxied&)> const& scenario, std::string const& expected) {
    std::size_t count = 0;
    for (bool passed = false; !passed; ++count) {
        REQUIRE(count < 2000);
        CAPTURE(count);
        proxied p;
        p.client.near().fail_after(count);
        passed = scenario(p);
        auto const& got = p.client.received();
        if (passed) {
            REQUIRE(got == expected);
            break;
        }
        REQUIRE(expected.starts_with(got)); // less, but nothing else
        p.client.advance(2min);
        REQUIRE(p.client.ended());
        for (auto why : *p.reasons)
            CHECK((why == end_reason::completed || why == end_reason::client_left ||
                   why == end_reason::tunnel_client_reset));
    }
    CHECK(count > 2);
}

// What the upstream does, with whatever connection there is.
struct other_side {
    proxied::peer at;
    bool came(proxied& p) {
        if (auto fresh = p.upstream.accept())
            at = std::move(fresh);
        return at != nullptr;
    }
};

std::string const date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

} // namespace

TEST_CASE("faults: two requests on one connection") {
    auto answer = [&](std::string const& text) {
        return "HTTP/1.1 200 OK\r\n" + date + "Content-Length: " + std::to_string(text.size()) +
               "\r\n\r\n" + text;
    };
    with_every_fault(
        [](proxied& p) {
            other_side up;
            for (auto text : {"first", "second"}) {
                p.client.send(get);
                if (!up.came(p) || up.at->take().empty())
                    return false;
                up.at->send("HTTP/1.1 200 OK\r\nContent-Length: " +
                            std::to_string(std::string(text).size()) + "\r\n\r\n");
                p.client.run();
                p.answer(up.at, text);
            }
            return !p.client.ended() && p.reasons->size() == 2 &&
                   p.client.received().ends_with("second");
        },
        answer("first") + answer("second"));
}

TEST_CASE("faults: an upload and a response, both in chunks, at the same time") {
    auto const expected = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" + date +
                          "Transfer-Encoding: chunked\r\n\r\n4\r\nback\r\n5\r\nagain\r\n0\r\n\r\n";
    with_every_fault(
        [](proxied& p) {
            other_side up;
            p.client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: "
                          "100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
            if (!up.came(p))
                return false;
            p.answer(up.at, "HTTP/1.1 100 Continue\r\n\r\n");
            for (char c : "3\r\nabc\r\n2\r\nde\r\n"s)
                p.client.send(std::string(1, c));
            p.answer(up.at, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nback\r\n");
            p.client.send("1\r\nf\r\n0\r\n\r\n");
            p.answer(up.at, "5\r\nagain\r\n");
            p.answer(up.at, "0\r\n\r\n");
            auto got = up.at->take();
            return !p.client.ended() && p.reasons->size() == 1 &&
                   got.ends_with("1\r\nf\r\n0\r\n\r\n") &&
                   p.client.received().ends_with("\r\n0\r\n\r\n");
        },
        expected);
}

TEST_CASE("faults: a tunnel") {
    auto const expected = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "
                          "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" +
                          date +
                          "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi\x81\x03you";
    with_every_fault(
        [](proxied& p) {
            other_side up;
            p.client.send(
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
            if (!up.came(p))
                return false;
            p.answer(
                up.at,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi");
            p.client.send("\x81\x80\x01\x02\x03\x04");
            p.answer(up.at, "\x81\x03you");
            p.client.shutdown_send();
            up.at->shutdown_send();
            p.client.run();
            return p.client.ended() && !p.client.saw_reset() &&
                   up.at->take().ends_with("\x01\x02\x03\x04") && p.reasons->size() == 1 &&
                   p.reasons->front() == end_reason::completed;
        },
        expected);
}

TEST_CASE("faults: a response that is cut at every byte") {
    auto const [response, content] = GENERATE(table<std::string, std::string>({
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", "0123456789"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n2\r\n!!\r\n0\r\n\r\n",
         "hello!!"},
    }));
    auto const head = response.find("\r\n\r\n") + 4;
    bool in_pieces = GENERATE(false, true);
    for (std::size_t cut = 0; cut < response.size(); ++cut) {
        CAPTURE(response, cut);
        proxied p;
        auto up = p.ask(get);
        REQUIRE(up);
        up->take();
        up->send(response.substr(0, cut));
        if (in_pieces)
            p.client.run();
        up.reset();
        p.client.run();
        auto got = p.got();
        REQUIRE(p.reasons->size() == 1);
        if (cut < head) {
            CHECK(got.starts_with("HTTP/1.1 502 "));
            CHECK_FALSE(p.client.ended());
        } else {
            CHECK(p.last_reason() == end_reason::response_incomplete);
            CHECK(p.client.saw_reset());
            CHECK_FALSE(p.client.saw_end());
            CHECK_FALSE(got.ends_with("\r\n0\r\n\r\n"));
        }
    }
}

TEST_CASE("faults: requests that are cut at every byte") {
    auto const request = GENERATE(values<std::string>({
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    }));
    bool reset = GENERATE(false, true);
    for (std::size_t cut = 0; cut < request.size(); ++cut) {
        CAPTURE(request, cut, reset);
        proxied p;
        auto up = p.ask(request.substr(0, cut));
        reset ? p.client.reset() : p.client.shutdown_send();
        CHECK(p.client.ended());
        CHECK(p.client.received() == "");
        if (up) {
            CHECK((up->saw_end() || up->saw_reset()));
            CHECK_FALSE(up->take().ends_with("\r\n0\r\n\r\n"));
            CHECK(p.last_reason() == end_reason::client_left);
        }
        CHECK(p.client.reason() == (cut == 0 ? end_reason::client_idle : end_reason::client_left));
    }
}
