#include "catch.hpp"

#include <relais/core/error.hpp>
#include <relais/http/http.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/testing/session.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;
using std::chrono::milliseconds;
using testing::session;

namespace {

std::string const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

std::string post(std::size_t length) {
    return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n";
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

/// The gateway has said or ended something that the client can see.
bool stirred(session const& s) {
    return !s.received().empty() || s.saw_end() || s.saw_reset() || s.ended();
}

/// Nothing happens before `limit` has passed since now, and then something does. A deadline may be late by two steps of
/// the wheel, never early.
void stirs_after(session& s, milliseconds limit) {
    CAPTURE(limit.count());
    REQUIRE_FALSE(stirred(s));
    s.advance(limit - 50ms);
    CHECK_FALSE(stirred(s));
    s.advance(50ms + 2 * deadline_wheel::resolution);
    CHECK(stirred(s));
}

/// Reads the body, and notes how each exchange ended.
struct reading {
    std::vector<end_reason>* reasons;
    awaitable<> operator()(exchange& x) const {
        x.on_complete([to = reasons](exchange& over) { to->push_back(over.reason()); });
        co_await x.request.body.read_all(1'000'000);
        x.respond(200);
    }
};

} // namespace

TEST_CASE("time: a connection on which nothing comes is closed silently") {
    auto const limit = GENERATE(milliseconds(75s), milliseconds(20s), milliseconds(1s));
    std::vector<end_reason> reasons;
    http_options o;
    if (limit != 75s) // the default
        o.keep_alive_timeout = limit;
    session s(http(o) | reading{&reasons});
    SECTION("from the beginning") {
        stirs_after(s, limit);
        CHECK(reasons.empty());
    }
    SECTION("between two requests, each time anew") {
        for (int i = 0; i < 3; ++i) {
            s.advance(limit - 100ms);
            s.send(get);
            CHECK(statuses(s.take_received()) == "200 ");
        }
        stirs_after(s, limit);
    }
    SECTION("behind a body") {
        s.send(post(3));
        s.advance(200ms);
        s.send("abc");
        CHECK(statuses(s.take_received()) == "200 ");
        stirs_after(s, limit);
    }
    CHECK(s.received().empty());
    CHECK(s.saw_end());
    CHECK_FALSE(s.saw_reset());
    CHECK(s.ended());
    CHECK(s.reason() == end_reason::client_idle);
}

TEST_CASE("time: a head has to be there so long after its first byte") {
    auto const limit = GENERATE(milliseconds(15s), milliseconds(4s), milliseconds(40s));
    std::vector<end_reason> reasons;
    http_options o;
    if (limit != 15s) // the default
        o.head_timeout = limit;
    session s(http(o) | reading{&reasons});
    auto const part = get.substr(0, 20);
    SECTION("of the first request, however long it was waited for") {
        s.advance(50s);
        s.send(part);
        stirs_after(s, limit);
    }
    SECTION("of the next one") {
        s.send(get);
        CHECK(statuses(s.take_received()) == "200 ");
        s.advance(50s);
        s.send(part);
        stirs_after(s, limit);
    }
    SECTION("of one that began in the segment of another") {
        s.send(get + part);
        CHECK(statuses(s.take_received()) == "200 ");
        stirs_after(s, limit);
    }
    SECTION("of one that begins while a body is still to come") {
        s.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        s.advance(30s); // is not counted
        s.send("0\r\n\r\n" + part);
        CHECK(statuses(s.take_received()) == "200 ");
        stirs_after(s, limit);
    }
    SECTION("though an empty line be all there is") {
        s.send("\r\n");
        stirs_after(s, limit);
    }
    SECTION("though it drips") {
        s.send("GET /");
        for (milliseconds spent{0}; spent < limit; spent += 50ms) {
            CHECK_FALSE(stirred(s));
            s.advance(50ms);
            s.send("x");
        }
        s.advance(50ms);
        CHECK(stirred(s));
    }
    CHECK(statuses(s.received()) == "408 ");
    CHECK(closes(s.received()));
    CHECK(s.saw_end());
    CHECK_FALSE(s.saw_reset());
    s.send(get.substr(20)); // what comes too late
    s.advance(1100ms);
    CHECK(statuses(s.received()) == "408 ");
    CHECK(s.ended());
}

TEST_CASE("time: a head that is there in time has no deadline any more") {
    std::vector<end_reason> reasons;
    session s(http({.head_timeout = 2s}) | reading{&reasons});
    s.send(post(3).substr(0, 10));
    s.advance(1900ms);
    s.send(post(3).substr(10));
    s.advance(20s);
    CHECK_FALSE(stirred(s));
    s.send("abc");
    CHECK(statuses(s.received()) == "200 ");
    CHECK_FALSE(s.ended());
}

TEST_CASE("time: the longest pause in a body") {
    auto const limit = GENERATE(milliseconds(60s), milliseconds(5s), milliseconds(100s));
    std::vector<end_reason> reasons;
    http_options o;
    o.body_min_rate = 0;
    if (limit != 60s) // the default
        o.body_timeout = limit;
    session s(http(o) | reading{&reasons});
    SECTION("before its first byte") {
        s.send(post(10));
    }
    SECTION("after some") {
        s.send(post(10) + "abc");
    }
    SECTION("after each piece anew") {
        s.send(post(10));
        for (int i = 0; i < 9; ++i) {
            s.advance(limit - 100ms);
            s.send("x");
        }
    }
    SECTION("in the framing of chunks") {
        s.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n");
    }
    stirs_after(s, limit);
    CHECK(statuses(s.received()) == "408 ");
    CHECK(closes(s.received()));
    CHECK(reasons == std::vector{end_reason::body_timeout});
    CHECK(s.saw_end());
    s.advance(1100ms);
    CHECK(s.ended());
}

TEST_CASE("time: the least rate of a body") {
    struct row {
        std::optional<std::size_t> rate;   // none: 240
        std::optional<milliseconds> after; // none: 10 s
        std::size_t bytes_a_second;
        int ends_after; // seconds; 0: never
    };
    auto const r = GENERATE(values<row>({
        {{}, {}, 239, 11},
        {{}, {}, 241, 0},
        {{}, {}, 1, 11},
        {1000, {}, 999, 11},
        {1000, {}, 1001, 0},
        {2, {}, 3, 0},
        {{}, 30s, 1, 31},
        {{}, 2s, 1, 3},
        {0, {}, 1, 0},
    }));
    CAPTURE(r.rate.value_or(240), r.after.value_or(10s).count(), r.bytes_a_second);
    std::vector<end_reason> reasons;
    http_options o;
    if (r.rate)
        o.body_min_rate = *r.rate;
    if (r.after)
        o.body_min_rate_after = *r.after;
    session s(http(o) | reading{&reasons});
    s.send(post(500'000));
    int seconds = 0;
    while (seconds < 120 && !stirred(s)) {
        ++seconds;
        s.advance(1s);
        s.send(std::string(r.bytes_a_second, 'x'));
    }
    if (r.ends_after) {
        CHECK(seconds == r.ends_after);
        CHECK(statuses(s.received()) == "408 ");
        CHECK(closes(s.received()));
        CHECK(reasons == std::vector{end_reason::body_timeout});
    } else {
        CHECK_FALSE(stirred(s));
    }
}

TEST_CASE("time: of the rate only the time counts that was spent waiting for the client") {
    boost::asio::steady_timer* pause = nullptr;
    auto stage = [&](exchange& x) -> awaitable<> {
        auto at = co_await boost::asio::this_coro::executor;
        boost::asio::steady_timer never(at, boost::asio::steady_timer::time_point::max());
        pause = &never;
        boost::system::error_code ended;
        co_await never.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ended));
        co_await x.request.body.read_all(1000);
        x.respond(200);
    };
    session s(http() | stage);
    s.send(post(20));
    s.advance(1h);
    {
        worker::scoped_current on(s.worker());
        REQUIRE(pause);
        pause->cancel();
        s.run();
    }
    for (int i = 0; i < 9; ++i) { // slow, but not yet for ten seconds
        s.advance(1s);
        s.send("x");
    }
    CHECK_FALSE(stirred(s));
    s.send(std::string(11, 'x'));
    CHECK(statuses(s.received()) == "200 ");
}

namespace {

/// Bytes without an end.
class endless final : public body {
public:
    io_result try_read(std::span<std::byte> to) override {
        auto count = std::min<std::size_t>(to.size(), 3000);
        std::fill_n(to.begin(), count, std::byte('x'));
        return {count, io_state::ok};
    }
};

} // namespace

TEST_CASE("time: a client that does not read") {
    auto const limit = GENERATE(milliseconds(60s), milliseconds(7s), milliseconds(200s));
    bool streamed = GENERATE(false, true);
    std::vector<end_reason> reasons;
    http_options o;
    if (limit != 60s) // the default
        o.write_timeout = limit;
    auto stage = [&](exchange& x) -> awaitable<> {
        x.on_complete([&](exchange& over) { reasons.push_back(over.reason()); });
        x.respond(200, std::string(100'000, 'x'));
        if (streamed)
            x.response.body.set(std::make_unique<endless>());
        co_return;
    };
    session s(http(o) | stage, {.capacity = 5000});
    s.set_reading(false);
    s.send(get);
    SECTION("at all") {}
    SECTION("fast enough, each time anew") {
        for (std::size_t more = 1; more < 9; ++more) {
            s.advance(limit - 100ms);
            worker::scoped_current on(s.worker());
            s.near().set_capacity(5000 + more); // as if it had taken a byte
            s.run();
            CHECK(s.near().written() == 5000 + more);
        }
    }
    s.advance(limit - 50ms);
    CHECK_FALSE(s.ended());
    CHECK(reasons.empty());
    s.advance(50ms + 2 * deadline_wheel::resolution);
    REQUIRE(s.ended());
    CHECK(reasons == std::vector{end_reason::client_write_timeout});
    s.set_reading(true);
    s.run();
    CHECK(s.saw_reset()); // never as if it were whole
    CHECK_FALSE(s.saw_end());
}

TEST_CASE("time: the rest of a body that nobody reads has a second, even if it drips") {
    session s(http() | respond(403));
    s.send(post(100));
    CHECK(statuses(s.take_received()) == "403 ");
    for (int i = 0; i < 9; ++i) {
        s.advance(100ms);
        s.send("x");
        CHECK_FALSE(stirred(s));
    }
    s.advance(200ms);
    CHECK(s.saw_end());
    CHECK_FALSE(s.ended()); // what comes now is discarded for another second
    for (int i = 0; i < 9; ++i) {
        s.advance(100ms);
        s.send("x");
    }
    s.advance(300ms);
    CHECK(s.ended());
    CHECK(s.received().empty());
    CHECK_FALSE(s.saw_reset());
}

TEST_CASE("time: a second for the rest that comes in it") {
    session s(http() | respond(403));
    s.send(post(10));
    s.advance(900ms);
    s.send("0123456789" + get);
    CHECK(statuses(s.received()) == "403 403 ");
    s.advance(10s);
    CHECK_FALSE(s.ended());
}

TEST_CASE("time: a stage may take as long as it likes") {
    boost::asio::steady_timer* pause = nullptr;
    auto stage = [&](exchange& x) -> awaitable<> {
        auto at = co_await boost::asio::this_coro::executor;
        boost::asio::steady_timer never(at, boost::asio::steady_timer::time_point::max());
        pause = &never;
        boost::system::error_code ended;
        co_await never.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ended));
        x.respond(204);
    };
    session s(http() | stage);
    s.send(get);
    s.advance(1h);
    CHECK_FALSE(stirred(s));
    {
        worker::scoped_current on(s.worker());
        REQUIRE(pause);
        pause->cancel();
        s.run();
    }
    CHECK(statuses(s.received()) == "204 ");
}

// The limits that are no time: what the default is, and that another value is honoured on both sides of it.
TEST_CASE("time: the other limits") {
    auto const fields_of = [](std::size_t count) { // Host is one
        std::string text = "GET / HTTP/1.1\r\nHost: a\r\n";
        for (std::size_t i = 1; i < count; ++i)
            text += "X-A: y\r\n";
        return text + "\r\n";
    };
    auto const target_of = [](std::size_t size) {
        return "GET /" + std::string(size - 1, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n";
    };
    auto const head_of = [](std::size_t size) {
        std::string const before = "GET / HTTP/1.1\r\nHost: a\r\nX: ", behind = "\r\n\r\n";
        return before + std::string(size - before.size() - behind.size(), 'x') + behind;
    };
    std::string const underscore = "GET / HTTP/1.1\r\nHost: a\r\nX_A: y\r\n\r\n";
    std::string const quote = "GET /?a=\"b\" HTTP/1.1\r\nHost: a\r\n\r\n";
    struct row {
        char const* what;
        http_options options;
        std::string request;
        char const* status;
    };
    std::vector<row> const rows = {
        {"fields", {}, fields_of(100), "200 "},
        {"fields", {}, fields_of(101), "431 "},
        {"fields", {.max_fields = 7}, fields_of(7), "200 "},
        {"fields", {.max_fields = 7}, fields_of(8), "431 "},
        {"fields", {.max_fields = 300}, fields_of(300), "200 "},
        {"target", {}, target_of(8 * 1024), "200 "},
        {"target", {}, target_of(8 * 1024 + 1), "414 "},
        {"target", {.max_target_size = 10}, target_of(10), "200 "},
        {"target", {.max_target_size = 10}, target_of(11), "414 "},
        {"target", {.max_target_size = 9'000}, target_of(9'000), "200 "},
        {"head", {}, head_of(32 * 1024), "200 "},
        {"head", {}, head_of(32 * 1024 + 1), "431 "},
        {"head", {.max_head_size = 256}, head_of(256), "200 "},
        {"head", {.max_head_size = 256}, head_of(257), "431 "},
        {"head", {.max_head_size = 64 * 1024}, head_of(64 * 1024), "200 "},
        {"underscore", {}, underscore, "200 "},
        {"underscore", {.underscore_names = underscores::keep}, underscore, "200 y"},
        {"underscore", {.underscore_names = underscores::reject}, underscore, "400 "},
        {"query", {}, quote, "400 "},
        {"query", {.strict_query = false}, quote, "200 "},
    };
    auto stage = [](exchange& x) -> awaitable<> {
        x.respond(200, x.request["X_A"]);
        co_return;
    };
    for (auto const& r : rows)
        for (bool in_pieces : {false, true}) {
            CAPTURE(r.what, r.request.size(), r.status, in_pieces);
            session s(http(r.options) | stage, {.read_at_most = in_pieces ? 100u : 1'000'000u});
            s.send(r.request);
            auto const& got = s.received();
            auto text = statuses(got);
            if (text == "200 ")
                text += got.substr(got.find("\r\n\r\n") + 4);
            CHECK(text == r.status);
        }
}

TEST_CASE("time: the number of requests on a connection") {
    struct row {
        http_options options;
        std::size_t requests;
    };
    auto const r = GENERATE(values<row>({{{}, 1000}, {{.keep_alive_requests = 1}, 1}}));
    session s(http(r.options) | respond(204));
    for (std::size_t i = 1; i <= r.requests; ++i) {
        REQUIRE_FALSE(s.saw_end());
        s.send(get);
        REQUIRE(closes(s.take_received()) == (i == r.requests));
    }
    CHECK(s.saw_end());
    CHECK(s.ended());
}

TEST_CASE("time: options that leave a wait without an end are refused at the start") {
    struct row {
        char const* name;
        http_options options;
    };
    auto const r = GENERATE(values<row>({
        {"head_timeout", {.head_timeout = 0s}},
        {"body_timeout", {.body_timeout = 0s}},
        {"body_timeout", {.body_timeout = -1s}},
        {"body_min_rate_after", {.body_min_rate_after = 0s}},
        {"keep_alive_timeout", {.keep_alive_timeout = 0s}},
        {"keep_alive_requests", {.keep_alive_requests = 0}},
        {"write_timeout", {.write_timeout = 0s}},
        {"max_head_size", {.max_head_size = 255}},
        {"max_fields", {.max_fields = 0}},
        {"max_target_size", {.max_target_size = 0}},
    }));
    std::string said;
    try {
        (http(r.options) | respond(204)).prepare();
    } catch (startup_error const& error) {
        said = error.what();
    }
    CHECK(said.find(r.name) != said.npos);
}
