#include "catch.hpp"

#include <relais/http/http.hpp>
#include <relais/testing/session.hpp>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;

namespace {

// The manual clock begins at the example date of RFC 9110.
std::string const date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
std::string const typed = "Content-Type: text/plain; charset=utf-8\r\n";

std::string ok(std::string_view content, std::string_view connection = {}) {
    std::string text = "HTTP/1.1 200 OK\r\n" + typed + date;
    text.append("Content-Length: ").append(std::to_string(content.size())).append("\r\n");
    return text.append(connection).append("\r\n").append(content);
}

/// Answers with the method, the path and the content.
awaitable<> echo(exchange& x) {
    auto content = co_await x.request.body.read_all(100'000);
    std::string text(x.request.method_text());
    text.append(" ").append(x.request.path()).append(" ").append(content);
    x.respond(200, text);
}

/// Pieces of an unknown length.
class pieces final : public body {
public:
    explicit pieces(std::vector<std::string> texts) : texts_(std::move(texts)) {}
    io_result try_read(std::span<std::byte> to) override {
        if (at_ == texts_.size())
            return {0, io_state::end};
        auto const& text = texts_[at_++];
        std::memcpy(to.data(), text.data(), text.size());
        return {text.size(), io_state::ok};
    }

private:
    std::vector<std::string> texts_;
    std::size_t at_ = 0;
};

awaitable<> stream_out(exchange& x) {
    x.response.set_status(200);
    x.response.body.set(
        std::make_unique<pieces>(std::vector<std::string>{"hello ", "world, again"}));
    co_return;
}

// Whole, and byte by byte.
std::vector<testing::memory_options> const ways = {{}, {.read_at_most = 1, .write_at_most = 1}};

template <class Chain>
std::string served(Chain const& chain, std::string_view bytes, testing::memory_options way = {}) {
    testing::session s(chain, way);
    s.send(bytes);
    s.advance(1100ms);
    CHECK_FALSE(s.saw_reset());
    return s.take_received();
}

unsigned status_of_answer(std::string_view bytes) {
    if (!bytes.starts_with("HTTP/1.1 ") || bytes.size() < 12)
        return 0;
    return static_cast<unsigned>(std::stoi(std::string(bytes.substr(9, 3))));
}

} // namespace

TEST_CASE("session: the connection is kept") {
    for (auto way : ways) {
        testing::session s(http() | echo, way);
        for (auto path : {"/a", "/b", "/c"}) {
            s.send("GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n\r\n");
            CHECK(s.take_received() == ok("GET " + std::string(path) + " "));
        }
        CHECK_FALSE(s.saw_end());
        s.shutdown_send();
        CHECK(s.ended());
        CHECK(s.reason() == end_reason::client_idle);
    }
}

TEST_CASE("session: pipelined requests are answered in order") {
    std::string const requests =
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
        "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntwo"
        "\r\nPOST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "2;x=y\r\nth\r\n3\r\nree\r\n0\r\n\r\n"
        "HEAD /4 HTTP/1.1\r\nHost: a\r\n\r\n"
        "GET /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        "GET /6 HTTP/1.1\r\nHost: a\r\n\r\n";
    auto head = ok("HEAD /4 ");
    head.resize(head.size() - 8);
    auto expected = ok("GET /1 ") + ok("POST /2 two") + ok("POST /3 three") + head +
                    ok("GET /5 ", "Connection: close\r\n");
    for (auto way : ways)
        CHECK(served(http() | echo, requests, way) == expected);

    for (std::size_t cut = 1; cut < requests.size(); cut += 7) { // two pieces
        testing::session s(http() | echo);
        s.send(requests.substr(0, cut));
        s.send(requests.substr(cut));
        CHECK(s.received() == expected);
        CHECK(s.saw_end());
    }
}

TEST_CASE("session: more requests at once than any buffer holds") {
    testing::session s(http() | echo, {.capacity = 300});
    std::string expected;
    std::string all;
    for (int i = 0; i < 500; ++i) {
        auto path = "/" + std::to_string(i);
        all += "GET " + path + " HTTP/1.1\r\nHost: a\r\nX-Padding: " + std::string(200, 'x') +
               "\r\n\r\n";
        expected += ok("GET " + path + " ");
    }
    CHECK(s.send(all) == all.size());
    CHECK(s.received() == expected);
}

TEST_CASE("session: HTTP/1.0") {
    auto whole = served(http() | echo, "GET /a HTTP/1.0\r\n\r\n");
    CHECK(whole.starts_with("HTTP/1.0 200 OK\r\n"));
    CHECK(whole.ends_with("Content-Length: 7\r\nConnection: close\r\n\r\nGET /a "));

    testing::session kept(http() | echo);
    for (int i = 0; i < 2; ++i) {
        kept.send("GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        CHECK(kept.take_received().ends_with("Connection: keep-alive\r\n\r\nGET /a "));
    }
    CHECK_FALSE(kept.saw_end());

    // Never chunked: the end of the connection is the end of the body.
    testing::session streamed(http() | stream_out);
    streamed.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CHECK(streamed.received() ==
          "HTTP/1.0 200 OK\r\n" + date + "Connection: close\r\n\r\nhello world, again");
    CHECK(streamed.saw_end());

    // No 1xx either.
    auto posted = served(http() | echo,
                         "POST /a HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nxy");
    CHECK(posted.starts_with("HTTP/1.0 200 OK\r\n"));
    CHECK(posted.ends_with("POST /a xy"));
}

TEST_CASE("session: chunked responses") {
    for (auto way : ways) {
        testing::session s(http() | stream_out, way);
        std::string const expected = "HTTP/1.1 200 OK\r\n" + date +
                                     "Transfer-Encoding: chunked\r\n\r\n"
                                     "6\r\nhello \r\nc\r\nworld, again\r\n0\r\n\r\n";
        for (int i = 0; i < 2; ++i) {
            s.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            CHECK(s.take_received() == expected);
        }
        s.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"); // a length that nobody knows is not told
        CHECK(s.take_received() == "HTTP/1.1 200 OK\r\n" + date + "\r\n");
        CHECK_FALSE(s.ended());
    }
}

TEST_CASE("session: responses without content") {
    unsigned status = GENERATE(204u, 304u);
    auto answer = [status](exchange& x) -> awaitable<> {
        x.respond(status, "this is not sent", "text/plain");
        x.response.set("Content-Length", "99");
        x.response.set("Transfer-Encoding", "chunked");
        co_return;
    };
    testing::session s(http() | answer);
    for (int i = 0; i < 2; ++i) {
        s.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        auto got = s.take_received();
        CHECK(status_of_answer(got) == status);
        CHECK(got.ends_with("\r\n" + date + "\r\n"));
        CHECK(got.find("Content-Length") == got.npos);
        CHECK(got.find("chunked") == got.npos);
    }
    CHECK_FALSE(s.ended());
}

TEST_CASE("session: a 304 tells the length that it was given") {
    auto answer = [](exchange& x) -> awaitable<> {
        x.respond(304);
        x.response.set_told_length(1234);
        co_return;
    };
    auto got = served(http() | answer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(got == "HTTP/1.1 304 Not Modified\r\n" + date + "Content-Length: 1234\r\n\r\n");
}

TEST_CASE("session: trailers are dropped") {
    auto trailers = [](exchange& x) -> awaitable<> {
        co_await x.request.body.read_all(100);
        auto const* kept = x.request.body.trailers();
        bool held = kept && (*kept)["X-Sum"] == "7";
        x.respond(200, x.request["X-Sum"].empty() && held ? "apart" : "merged");
    };
    std::string const head =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n";
    for (auto way : ways) {
        CHECK(served(http() | trailers, head + "X-Sum: 7\r\n\r\n", way) == ok("apart"));
        for (auto name : {"Content-Length: 1", "Host: b", "Authorization: Basic eA=="}) {
            auto got = served(http() | trailers, head + name + "\r\n\r\n", way);
            CHECK(status_of_answer(got) == 400);
            CHECK(got.find("\r\nConnection: close\r\n") != got.npos);
        }
    }
}

TEST_CASE("session: Expect, with a stage that reads") {
    for (auto way : ways) {
        testing::session s(http() | echo, way);
        for (int i = 0; i < 2; ++i) {
            s.send(
                "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-Continue\r\n\r\n");
            CHECK(s.take_received() == "HTTP/1.1 100 Continue\r\n\r\n");
            s.send("four");
            CHECK(s.take_received() == ok("POST /a four"));
        }
        CHECK_FALSE(s.saw_end());
        s.send("GET /b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"); // nothing to wait for
        CHECK(s.take_received() == ok("GET /b "));
    }
}
