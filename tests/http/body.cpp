#include "catch.hpp"

#include <relais/core/report.hpp>
#include <relais/http/http.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/testing/memory_stream.hpp>
#include <relais/testing/session.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;
using namespace std::string_literals;
using testing::memory_options;
using testing::session;

namespace {

std::string const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
std::string const post = "POST / HTTP/1.1\r\nHost: a\r\n";
std::string const in_chunks = "Transfer-Encoding: chunked\r\n";
std::string const expecting = "Expect: 100-continue\r\n";
std::string const go_on = "HTTP/1.1 100 Continue\r\n\r\n";

std::string of_length(std::size_t length) {
    return "Content-Length: " + std::to_string(length) + "\r\n";
}

/// A body in the framing of its request: the line of the head, and what follows the head.
struct framed {
    std::string line;
    std::string bytes;
};

framed with_length(std::string const& content) {
    return {of_length(content.size()), content};
}

/// In chunks of three bytes.
framed with_chunks(std::string_view content) {
    framed made{in_chunks, {}};
    for (; !content.empty(); content.remove_prefix(std::min<std::size_t>(content.size(), 3))) {
        auto piece = content.substr(0, 3);
        made.bytes += std::to_string(piece.size()) + "\r\n" + std::string(piece) + "\r\n";
    }
    made.bytes += "0\r\n\r\n";
    return made;
}

// Whole, and byte by byte.
std::vector<memory_options> const ways = {{}, {.read_at_most = 1, .write_at_most = 1}};

/// The status of each response, in order.
std::string statuses(std::string_view bytes) {
    std::string all;
    for (auto at = bytes.find("HTTP/1.1 "); at != bytes.npos; at = bytes.find("HTTP/1.1 ", at + 1))
        all.append(bytes.substr(at + 9, 3)).append(" ");
    return all;
}

std::string_view content_of(std::string_view answer) {
    auto end = answer.rfind("\r\n\r\n");
    return end == answer.npos ? std::string_view() : answer.substr(end + 4);
}

// Takes the reports away from standard error.
struct quiet {
    quiet() {
        set_report_function([](std::string_view) {});
    }
    ~quiet() { set_report_function(nullptr); }
};

/// Takes the body as a terminal does that sends it on: in pieces, from the beginning where that is still to be had.
awaitable<std::string> taken(request_body& from, std::size_t piece = 1000) {
    if (!from.rewind())
        throw stage_misuse("the body is gone");
    std::string all(from.take_ready());
    std::string room(piece, '\0');
    while (!from.complete()) {
        auto got = from.try_read(std::as_writable_bytes(std::span(room)));
        if (got.state == io_state::end)
            break;
        if (got.state == io_state::error)
            throw exchange_error(from.failure());
        all.append(room.data(), got.count);
        if (got.state == io_state::would_block)
            co_await from.waits_on()->readable(from.wait_limit());
    }
    co_return all;
}

/// Says what the body was.
awaitable<> tell(exchange& x) {
    auto content = co_await taken(x.request.body);
    x.respond(200, content);
}

/// Lets a stage stand still until the test lets it go on.
struct standstill {
    boost::asio::steady_timer* timer = nullptr; ///< in the stage's frame, and gone with it

    awaitable<> here() {
        auto at = co_await boost::asio::this_coro::executor;
        boost::asio::steady_timer never(at, boost::asio::steady_timer::time_point::max());
        timer = &never;
        boost::system::error_code ended;
        co_await never.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ended));
        timer = nullptr;
    }
    void over(session& s) {
        worker::scoped_current on(s.worker());
        REQUIRE(timer);
        timer->cancel();
        s.run();
    }
};

/// Puts the content into capitals.
class capitals final : public body {
public:
    explicit capitals(std::unique_ptr<body> from) : from_(std::move(from)) {}
    io_result try_read(std::span<std::byte> to) override {
        auto got = from_->try_read(to);
        for (auto& b : to.first(got.count))
            if (auto c = static_cast<char>(b); c >= 'a' && c <= 'z')
                b = static_cast<std::byte>(c - 'a' + 'A');
        return got;
    }
    stream* waits_on() noexcept override { return from_->waits_on(); }
    std::chrono::milliseconds wait_limit() const noexcept override { return from_->wait_limit(); }
    end_reason failure() const noexcept override { return from_->failure(); }

private:
    std::unique_ptr<body> from_;
};

awaitable<> capitalise(exchange& x, exchange::next next) {
    x.request.body.wrap(
        [](std::unique_ptr<body> from) { return std::make_unique<capitals>(std::move(from)); });
    return next(x);
}

} // namespace

TEST_CASE("body: read_all up to its limit") {
    struct row {
        std::size_t size, limit;
        char const* answers; // to the request and to the one behind it
    };
    auto const r = GENERATE(values<row>({
        {5, 4, "413 "},
        {5, 5, "200 200 "},
        {5, 6, "200 200 "},
        {0, 0, "200 200 "},
        {1, 0, "413 "},
        {10'000, 9'999, "413 "},
        {10'000, 10'000, "200 200 "},
    }));
    bool chunked = GENERATE(false, true);
    std::string const content(r.size, 'x');
    auto const sent = chunked ? with_chunks(content) : with_length(content);
    for (auto way : ways) {
        CAPTURE(r.size, r.limit, chunked, way.read_at_most);
        std::vector<end_reason> reasons;
        auto stage = [&](exchange& x) -> awaitable<> {
            x.on_complete([&](exchange& over) { reasons.push_back(over.reason()); });
            auto all = co_await x.request.body.read_all(r.limit);
            CHECK((all == content || x.request.method() == verb::get));
            x.respond(200);
        };
        session s(http() | stage, way);
        s.send(post + sent.line + "\r\n" + sent.bytes + get);
        s.advance(1100ms);
        CHECK(statuses(s.received()) == r.answers);
        CHECK_FALSE(s.saw_reset());
        bool fits = r.size <= r.limit;
        CHECK(s.ended() == !fits);
        CHECK(reasons.front() == (fits ? end_reason::completed : end_reason::body_too_large));
    }
}

TEST_CASE("body: a request that a stage cannot read goes on as it came") {
    std::string const content = "hello, and the rest";
    bool const chunked = GENERATE(false, true);
    bool const kept = GENERATE(false, true);
    auto const sent = chunked ? with_chunks(content) : with_length(content);
    for (auto way : ways) {
        CAPTURE(chunked, kept, way.read_at_most);
        auto outer = [&](exchange& x, exchange::next next) -> awaitable<> {
            if (kept)
                x.request.body.keep(100);
            end_reason caught = end_reason::completed;
            try {
                co_await x.request.body.read_all(4);
            } catch (exchange_error const& error) {
                caught = error.reason();
            }
            CHECK(caught == end_reason::body_too_large);
            co_await next(x);
        };
        auto inner = [&](exchange& x) -> awaitable<> {
            CHECK(x.request.body.size().value_or(content.size()) == content.size());
            auto const all = co_await x.request.body.read_all(100);
            CHECK(all == content);
            x.respond(200);
        };
        session s(http() | outer | inner, way);
        s.send(post + sent.line + "\r\n" + sent.bytes);
        CHECK(statuses(s.received()) == "200 ");
        CHECK_FALSE(s.ended());
    }
}

TEST_CASE("body: a stage answers itself what is too large") {
    auto stage = [](exchange& x) -> awaitable<> {
        try {
            co_await x.request.body.read_all(4);
        } catch (exchange_error const& error) {
            CHECK(error.reason() == end_reason::body_too_large);
            x.respond(422);
        }
    };
    auto const sent = GENERATE(with_length("12345"), with_chunks("12345"));
    session s(http() | stage);
    s.send(post + sent.line + "\r\n" + sent.bytes); // short enough to be passed over
    s.send(post + sent.line + "\r\n" + sent.bytes);
    CHECK(statuses(s.received()) == "422 422 ");
    CHECK_FALSE(s.ended());
}

TEST_CASE("body: what was read whole is there for every stage behind") {
    auto const sent = GENERATE(with_length("hello"), with_chunks("hello"));
    auto first = [](exchange& x, exchange::next next) -> awaitable<> {
        auto one = co_await x.request.body.read_all(5);
        auto two = co_await x.request.body.read_all(5);
        CHECK(one == "hello");
        CHECK(one.data() == two.data());
        x.request.body.keep(1); // is kept already
        CHECK(x.request.body.size() == 5u);
        for (int tries = 0; tries < 2; ++tries)
            co_await next(x);
        CHECK(one == "hello");
    };
    for (auto way : ways) {
        session s(http() | first | tell, way);
        s.send(post + sent.line + "\r\n" + sent.bytes);
        CHECK(content_of(s.received()) == "hello");
    }
}

TEST_CASE("body: a request without one") {
    auto stage = [](exchange& x) -> awaitable<> {
        auto all = co_await x.request.body.read_all(0);
        CHECK(all.empty());
        CHECK(x.request.body.empty());
        CHECK(x.request.body.size() == 0u);
        CHECK(x.request.body.trailers() == nullptr);
        x.respond(204);
    };
    session s(http() | stage);
    s.send(get + get);
    CHECK(statuses(s.received()) == "204 204 ");
}

TEST_CASE("body: another try sends it again where it was kept") {
    enum class comes { with_head, later };
    constexpr std::size_t not_at_all = 0;
    struct row {
        framed sent;
        comes when;
        std::size_t keep;
        bool again;
    };
    auto const hello = with_length("hello");
    auto const chunks = with_chunks("hello");
    std::vector<row> const rows = {
        {hello, comes::with_head, not_at_all, true}, // it still stands behind the head
        {hello, comes::later, not_at_all, false},
        {hello, comes::later, 4, false},
        {hello, comes::later, 5, true},
        {hello, comes::with_head, 5, true},
        {hello, comes::with_head, 4, false},
        {chunks, comes::with_head, not_at_all, false},
        {chunks, comes::with_head, 4, false},
        {chunks, comes::with_head, 5, true},
        {chunks, comes::later, 4, false},
        {chunks, comes::later, 5, true},
    };
    quiet q;
    for (auto const& r : rows)
        for (std::size_t piece : {1u, 1000u}) {
            CAPTURE(r.sent.line, r.when == comes::later, r.keep, piece);
            std::vector<std::string> tries;
            auto retry = [&](exchange& x, exchange::next next) -> awaitable<> {
                if (r.keep)
                    x.request.body.keep(r.keep);
                for (int i = 0; i < 3; ++i)
                    co_await next(x);
            };
            auto terminal = [&](exchange& x) -> awaitable<> {
                auto content = co_await taken(x.request.body, piece);
                tries.push_back(content);
                x.respond(200);
            };
            session s(http() | retry | terminal);
            auto const head = post + r.sent.line + "\r\n";
            if (r.when == comes::later) {
                s.send(head);
                s.send(r.sent.bytes);
            } else {
                s.send(head + r.sent.bytes);
            }
            // The first try gets all of it, even if that is too much to be kept.
            CHECK(tries == std::vector<std::string>(r.again ? 3 : 1, "hello"));
            CHECK(statuses(s.take_received()) == (r.again ? "200 " : "500 "));
            s.send(get); // of the connection nothing is lost
            CHECK(statuses(s.received()) == "200 ");
        }
}

TEST_CASE("body: piece by piece, no faster than the stage takes it") {
    bool chunked = GENERATE(false, true);
    std::string content;
    while (content.size() < 300'000)
        content += std::to_string(content.size()) + ",";
    auto const sent = chunked ? with_chunks(content) : with_length(content);
    std::string got;
    std::size_t largest = 0;
    standstill wait;
    auto stage = [&](exchange& x) -> awaitable<> {
        auto& from = x.request.body;
        std::string room(100, '\0');
        bool waited = false;
        for (;;) {
            auto piece = from.try_read(std::as_writable_bytes(std::span(room)));
            if (piece.state == io_state::would_block) {
                co_await from.waits_on()->readable(from.wait_limit());
                continue;
            }
            if (piece.state != io_state::ok)
                break;
            largest = std::max(largest, piece.count);
            got.append(room.data(), piece.count);
            if (!std::exchange(waited, true))
                co_await wait.here();
        }
        x.respond(200);
    };
    session s(http() | stage);
    s.send(post + sent.line + "\r\n");
    auto took = s.send(sent.bytes);
    CHECK(took < 64 * 1024 + 200); // what the way holds, and what was read
    CHECK(got.size() <= 100);
    wait.over(s);
    s.send(std::string_view(sent.bytes).substr(took));
    CHECK((got == content)); // not printed
    CHECK(largest <= 100);
    CHECK(statuses(s.received()) == "200 ");
}

TEST_CASE("body: trailers stand apart, once everything was read") {
    std::vector<std::string> seen;
    auto stage = [&](exchange& x) -> awaitable<> {
        CHECK(x.request.body.trailers() == nullptr);
        co_await x.request.body.read_all(100);
        auto const* those = x.request.body.trailers();
        seen.push_back(those ? std::string((*those)["X-Sum"]) : "none");
        CHECK(x.request["X-Sum"] == "");
        x.respond(204);
    };
    for (auto way : ways) {
        seen.clear();
        session s(http() | stage, way);
        auto const head = post + in_chunks + "\r\n1\r\na\r\n0\r\n";
        s.send(head + "X-Sum: 7\r\n\r\n" + head + "\r\n" + head + "x-sum: 8\r\nX-Sum: 9\r\n\r\n");
        s.send(post + of_length(1) + "\r\na");
        CHECK(seen == std::vector<std::string>{"7", "none", "8", "none"});
    }
}

TEST_CASE("body: taken in two ways at once is a mistake") {
    int how = GENERATE(0, 1, 2);
    quiet q;
    std::vector<end_reason> reasons;
    auto stage = [&, how](exchange& x) -> awaitable<> {
        x.on_complete([&](exchange& over) { reasons.push_back(over.reason()); });
        if (x.request.body.empty()) {
            x.respond(204);
            co_return;
        }
        std::byte one;
        CHECK(x.request.body.try_read({&one, 1}).state == io_state::ok);
        if (how == 0)
            co_await x.request.body.read_all(100);
        else if (how == 1)
            x.request.body.keep(100);
        else
            co_await taken(x.request.body);
        x.respond(200);
    };
    session s(http() | stage);
    s.send(post + in_chunks + "\r\n5\r\nhello\r\n0\r\n\r\n" + get);
    CHECK(statuses(s.received()) == "500 204 "); // what was left of it is no request
    CHECK(reasons == std::vector{end_reason::stage_misused, end_reason::completed});
}

TEST_CASE("body: what a stage leaves is passed over in bounds") {
    struct row {
        char const* what;
        framed sent;
        std::size_t stage_takes;
        bool goes_on;
    };
    std::string const half(65'536, 'x');
    std::vector<row> const rows = {
        {"short", with_length("hello"), 0, true},
        {"short, in chunks", with_chunks("hello, world"), 0, true},
        {"trailers", {in_chunks, "1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n"}, 0, true},
        {"begun", with_length("hello"), 2, true},
        {"begun, in chunks", with_chunks("hello, world"), 2, true},
        {"as long as may be", with_length(half), 0, true},
        {"too long", with_length(half + std::string(5'000, 'x')), 0, false},
        {"too long, in chunks", {in_chunks, "20000\r\n" + half + half + "\r\n0\r\n\r\n"}, 0, false},
        {"malformed", {in_chunks, "1\r\nabc\r\n0\r\n\r\n"}, 0, false},
        {"a trailer that is forbidden", {in_chunks, "0\r\nHost: b\r\n\r\n"}, 0, false},
    };
    for (auto const& r : rows) {
        CAPTURE(r.what);
        auto stage = [&](exchange& x) -> awaitable<> {
            std::string room(r.stage_takes, '\0');
            if (r.stage_takes) {
                auto& from = x.request.body;
                if (!from.empty())
                    co_await from.waits_on()->readable(1s);
                from.try_read(std::as_writable_bytes(std::span(room)));
            }
            x.respond(204);
        };
        session s(http() | stage);
        s.send(post + r.sent.line + "\r\n");
        s.send(r.sent.bytes);
        s.send(get);
        CHECK(statuses(s.received()) == (r.goes_on ? "204 204 " : "204 "));
        s.advance(1100ms);
        CHECK(s.ended() == !r.goes_on);
        CHECK_FALSE(s.saw_reset());
    }
}

TEST_CASE("body: one that breaks off or makes no sense") {
    enum class then { nothing, ends, resets };
    struct row {
        framed sent;
        then what;
        end_reason why;
        char const* answers;
    };
    std::vector<row> const rows = {
        {{of_length(5), "abc"}, then::ends, end_reason::client_left, ""},
        {{of_length(5), "abc"}, then::resets, end_reason::client_left, ""},
        {{of_length(5), "abc"}, then::nothing, end_reason::body_timeout, "408 "},
        {{of_length(5), ""}, then::nothing, end_reason::body_timeout, "408 "},
        {{in_chunks, "3\r\nabc\r\n"}, then::ends, end_reason::client_left, ""},
        {{in_chunks, "3\r\nabc\r\n"}, then::resets, end_reason::client_left, ""},
        {{in_chunks, "3\r\nabc\r\n0\r\n"}, then::ends, end_reason::client_left, ""},
        {{in_chunks, "3\r\nabc\r\n0\r\n"}, then::nothing, end_reason::body_timeout, "408 "},
        {{in_chunks, "3\r\nabcd\r\n"}, then::nothing, end_reason::bad_body, "400 "},
        {{in_chunks, "3\r\nabc\r\n-1\r\n"}, then::nothing, end_reason::bad_body, "400 "},
    };
    bool stage_catches = GENERATE(false, true);
    for (auto const& r : rows)
        for (auto way : ways) {
            CAPTURE(r.sent.line, r.sent.bytes, r.why, stage_catches, way.read_at_most);
            std::vector<end_reason> thrown, ended;
            auto stage = [&](exchange& x) -> awaitable<> {
                x.on_complete([&](exchange& over) { ended.push_back(over.reason()); });
                try {
                    co_await x.request.body.read_all(100);
                } catch (exchange_error const& error) {
                    thrown.push_back(error.reason());
                    if (!stage_catches)
                        throw;
                    x.refuse(error.reason());
                }
            };
            session s(http({.body_timeout = 5s}) | stage, way);
            s.send(post + r.sent.line + "\r\n");
            s.send(r.sent.bytes);
            if (r.what == then::ends)
                s.shutdown_send();
            else if (r.what == then::resets)
                s.reset();
            else
                s.advance(5100ms);
            CHECK(thrown == std::vector{r.why});
            CHECK(statuses(s.received()) == r.answers);
            s.send(get); // is no request, whatever it is
            s.advance(2100ms);
            CHECK(statuses(s.received()) == r.answers);
            CHECK(ended == std::vector{r.why});
            CHECK(s.ended());
        }
}

TEST_CASE(
    "body: a stage that has an answer of its own to one that breaks does not save the connection") {
    auto const bytes = GENERATE("3\r\nabcd\r\n", "3\r\nab");
    auto stage = [](exchange& x) -> awaitable<> {
        try {
            co_await x.request.body.read_all(100);
        } catch (exchange_error const&) {
        }
        x.respond(202);
    };
    session s(http({.body_timeout = 5s}) | stage);
    s.send(post + in_chunks + "\r\n" + bytes);
    s.advance(5100ms);
    bool malformed = bytes == "3\r\nabcd\r\n"s; // the other one may still come, for a second
    CHECK((s.received().find("\r\nConnection: close\r\n") != std::string::npos) == malformed);
    s.advance(1100ms);
    s.send("c\r\n0\r\n\r\n" + get);
    s.advance(1100ms);
    CHECK(statuses(s.received()) == "202 ");
    CHECK(s.ended());
}

TEST_CASE("body: Expect, when it is answered with 100") {
    std::string field = "none";
    std::string content;
    auto read = [&](exchange& x) -> awaitable<> {
        field = x.request["Expect"];
        co_await x.request.body.read_all(5);
        CHECK(x.request["Expect"] == ""); // nobody behind has to ask for it again
        content = co_await x.request.body.read_all(5);
        x.respond(200);
    };
    auto sized = GENERATE(false, true);
    auto const sent = sized ? with_length("hello") : with_chunks("hello");
    SECTION("once, when it is first read") {
        session s(http() | read);
        s.send(post + expecting + sent.line + "\r\n");
        CHECK(field == "100-continue");
        CHECK(s.take_received() == go_on);
        s.send(sent.bytes + get);
        CHECK(content == "");
        CHECK(statuses(s.received()) == "200 200 ");
    }
    SECTION("not before") {
        standstill wait;
        auto stage = [&](exchange& x, exchange::next next) -> awaitable<> {
            CHECK(x.request.body.awaits_continue());
            co_await wait.here();
            co_await next(x);
        };
        session s(http() | stage | read);
        s.send(post + expecting + sent.line + "\r\n");
        CHECK(s.received().empty());
        wait.over(s);
        CHECK(s.received() == go_on);
    }
    SECTION("not for a body that is too large already") {
        session s(http() | read);
        s.send(post + expecting + of_length(6) + "\r\n");
        CHECK(statuses(s.received()) == "413 ");
        CHECK(s.saw_end());
    }
    SECTION("not where the stage puts another content in its place") {
        auto stage = [](exchange& x, exchange::next next) -> awaitable<> {
            x.request.body.set("other");
            return next(x);
        };
        session s(http() | stage | tell);
        s.send(post + expecting + sent.line + "\r\n");
        CHECK(statuses(s.received()) == "200 ");
        CHECK(content_of(s.received()) == "other");
        CHECK(s.saw_end()); // whether the body comes nobody can tell
    }
    SECTION("not where a wrapper has all the bytes itself") {
        auto stage = [](exchange& x, exchange::next next) -> awaitable<> {
            x.request.body.wrap(
                [](std::unique_ptr<body>) { return std::make_unique<text_body>("other"); });
            return next(x);
        };
        session s(http() | stage | tell);
        s.send(post + expecting + sent.line + "\r\n");
        CHECK(statuses(s.received()) == "200 ");
        CHECK(content_of(s.received()) == "other");
        CHECK(s.saw_end());
    }
    SECTION("once, if a stage said it") {
        auto stage = [](exchange& x, exchange::next next) -> awaitable<> {
            fields none;
            co_await x.send_interim(100, none);
            CHECK_FALSE(x.request.body.awaits_continue());
            co_await next(x);
        };
        session s(http() | stage | read);
        s.send(post + expecting + sent.line + "\r\n");
        CHECK(s.take_received() == go_on);
        s.send(sent.bytes);
        CHECK(statuses(s.received()) == "200 ");
        CHECK_FALSE(s.ended());
    }
    SECTION("the client that does not wait needs none") {
        session s(http() | tell);
        s.send(post + expecting + sent.line + "\r\n");
        CHECK(s.received().empty());
        s.send(sent.bytes + get);
        CHECK(statuses(s.take_received()) == "200 200 ");
        s.send(post + expecting + sent.line + "\r\n" + sent.bytes + get);
        CHECK(statuses(s.received()) == "200 200 ");
    }
    SECTION("but then nothing comes") {
        session s(http({.body_timeout = 5s}) | read);
        s.send(post + expecting + sent.line + "\r\n");
        s.advance(5100ms);
        CHECK(statuses(s.received()) == "100 408 ");
        CHECK(s.saw_end());
    }
}

TEST_CASE("body: one that is wrapped") {
    auto const sent = GENERATE(with_length("hello"), with_chunks("hello"));
    auto whole = [](exchange& x, exchange::next next) -> awaitable<> {
        CHECK_FALSE(x.request.body.size().has_value());
        auto all = co_await x.request.body.read_all(5);
        CHECK(all == "HELLO");
        CHECK(x.request.body.size() == 5u);
        co_await next(x);
    };
    auto twice = [](exchange& x, exchange::next next) -> awaitable<> {
        x.request.body.keep(5);
        co_await next(x);
        co_await next(x);
    };
    for (auto way : ways) {
        for (int kind = 0; kind < 3; ++kind) {
            CAPTURE(kind, way.read_at_most);
            any_chain<connection> chain(http() | capitalise | tell);
            if (kind == 1)
                chain = any_chain<connection>(http() | capitalise | whole | tell);
            if (kind == 2)
                chain = any_chain<connection>(http() | capitalise | twice | tell);
            session s(std::move(chain), way);
            s.send(post + sent.line + "\r\n" + sent.bytes);
            CHECK(content_of(s.received()) == "HELLO");
            CHECK_FALSE(s.ended());
        }
    }
}

TEST_CASE("body: a wrapper transforms what is in memory, too") {
    auto whole = [](exchange& x, exchange::next next) -> awaitable<> {
        CHECK(co_await x.request.body.read_all(5) == "hello");
        co_await next(x);
    };
    auto replaced = [](exchange& x, exchange::next next) -> awaitable<> {
        x.request.body.set("hello");
        return next(x);
    };
    auto kept = [](exchange& x, exchange::next next) -> awaitable<> {
        x.request.body.keep(5);
        co_await next(x);
        co_await next(x);
    };
    using any = any_chain<connection>;
    any chains[] = {
        any(http() | whole | capitalise | tell), any(http() | replaced | capitalise | tell),
        any(http() | replaced | kept | capitalise | tell), any(http() | kept | capitalise | tell)};
    auto const sent = GENERATE(with_length("hello"), with_chunks("hello"));
    for (auto& chain : chains) {
        CAPTURE(&chain - chains);
        session s(std::move(chain));
        s.send(post + sent.line + "\r\n" + sent.bytes);
        CHECK(content_of(s.received()) == "HELLO");
    }
}

TEST_CASE("body: another try finds it as it was kept, not as the try before left it") {
    auto const sent = GENERATE(with_length("hello"), with_chunks("hello"));
    auto const reads = GENERATE(false, true); // whoever keeps it, before it does
    auto const limit = GENERATE(5u, 100u);
    std::string tries;
    auto retry = [&](exchange& x, exchange::next next) -> awaitable<> {
        if (reads)
            co_await x.request.body.read_all(5);
        x.request.body.keep(limit);
        for (int i = 0; i < 3; ++i) {
            co_await next(x);
            auto answer = co_await x.response.body.read_all(100);
            tries.append(answer).append(" ");
        }
    };
    auto exclaim = [](exchange& x, exchange::next next) -> awaitable<> {
        auto all = co_await x.request.body.read_all(100);
        x.request.body.set(std::string(all) + "!");
        co_await next(x);
    };
    session s(http() | retry | exclaim | capitalise | tell);
    s.send(post + sent.line + "\r\n" + sent.bytes);
    CHECK(tries == "HELLO! HELLO! HELLO! ");
}

TEST_CASE("body: what was read stays readable when it is replaced") {
    std::string_view first, second;
    auto replace = [&](exchange& x, exchange::next next) -> awaitable<> {
        first = co_await x.request.body.read_all(5);
        x.request.body.set("other");
        second = co_await x.request.body.read_all(5);
        x.request.body.set(std::string(5000, 'x'));
        co_await next(x);
    };
    auto compare = [&](exchange& x) -> awaitable<> {
        CHECK(first == "hello");
        CHECK(second == "other");
        x.respond(200);
        co_return;
    };
    session s(http() | replace | compare);
    s.send(post + of_length(5) + "\r\nhello");
    CHECK(statuses(s.received()) == "200 ");
}

TEST_CASE("body: a request without one has nothing to wrap") {
    session s(http() | capitalise | tell);
    s.send(get);
    CHECK(statuses(s.take_received()) == "200 ");
    bool asked = false;
    auto wrap = [&](exchange& x) -> awaitable<> {
        x.request.body.wrap([&](std::unique_ptr<body> from) {
            asked = true;
            return from;
        });
        x.respond(x.request.body.empty() && x.request.body.size() == 0u ? 200 : 500);
        co_return;
    };
    session plain(http() | wrap);
    plain.send(get);
    CHECK(statuses(plain.received()) == "200 ");
    CHECK_FALSE(asked);
}

TEST_CASE("body: a wrapper's own length and failures count") {
    auto whole = [](exchange& x) -> awaitable<> {
        co_await x.request.body.read_all(4);
        x.respond(200);
    };
    session s(http() | capitalise | whole);
    s.send(post + of_length(5) + "\r\nhello");
    CHECK(statuses(s.received()) == "413 ");
    session broken(http() | capitalise | whole);
    broken.send(post + in_chunks + "\r\nzz\r\n");
    CHECK(statuses(broken.received()) == "400 ");
}

TEST_CASE("body: how fast it comes is what the client sends, not what a wrapper makes of it") {
    class swallow final : public body { // says one byte at its end
    public:
        explicit swallow(std::unique_ptr<body> from) : from_(std::move(from)) {}
        io_result try_read(std::span<std::byte> to) override {
            for (;;) {
                auto got = from_->try_read(to);
                if (got.state == io_state::end && !std::exchange(said_, true)) {
                    to[0] = std::byte('1');
                    return {1, io_state::ok};
                }
                if (got.state != io_state::ok)
                    return got;
            }
        }
        stream* waits_on() noexcept override { return from_->waits_on(); }

    private:
        std::unique_ptr<body> from_;
        bool said_ = false;
    };
    auto whole = [](exchange& x) -> awaitable<> {
        x.request.body.wrap(
            [](std::unique_ptr<body> from) { return std::make_unique<swallow>(std::move(from)); });
        co_await x.request.body.read_all(10);
        x.respond(200);
    };
    session s(http() | whole);
    s.send(post + of_length(30'000) + "\r\n");
    for (int i = 0; i < 30; ++i) {
        s.advance(1s);
        s.send(std::string(1000, 'x'));
    }
    CHECK(statuses(s.received()) == "200 ");
}

// Bodies of responses

namespace {

/// Pieces, then an end, an error or nothing any more.
class scripted_body final : public body {
public:
    enum class at_end { ends, fails, stalls };
    scripted_body(std::vector<std::string> pieces, at_end last, int* finished, stream* silent)
        : pieces_(std::move(pieces)), last_(last), finished_(finished), silent_(silent) {}
    io_result try_read(std::span<std::byte> to) override {
        if (at_ < pieces_.size()) {
            auto const& text = pieces_[at_++];
            std::memcpy(to.data(), text.data(), text.size());
            return {text.size(), io_state::ok};
        }
        return {0, last_ == at_end::ends    ? io_state::end
                   : last_ == at_end::fails ? io_state::error
                                            : io_state::would_block};
    }
    stream* waits_on() noexcept override { return silent_; }
    std::chrono::milliseconds wait_limit() const noexcept override { return 3s; }
    void finished() override { ++*finished_; }

private:
    std::vector<std::string> pieces_;
    at_end last_;
    int* finished_;
    stream* silent_;
    std::size_t at_ = 0;
};

} // namespace

TEST_CASE("body: a stage reads the response's") {
    using at_end = scripted_body::at_end;
    struct row {
        std::vector<std::string> pieces;
        at_end last;
        std::size_t limit;
        end_reason why;
        char const* status;
    };
    std::vector<row> const rows = {
        {{"hel", "lo"}, at_end::ends, 5, end_reason::completed, "200 "},
        {{"hel", "lo"}, at_end::ends, 6, end_reason::completed, "200 "},
        {{"hel", "lo"}, at_end::ends, 4, end_reason::response_too_large, "500 "},
        {{"hello"}, at_end::stalls, 4, end_reason::response_too_large, "500 "},
        {{"hel", "lo"}, at_end::fails, 5, end_reason::response_incomplete, "502 "},
        {{"hel", "lo"}, at_end::stalls, 5, end_reason::response_timeout, "504 "},
    };
    for (auto const& r : rows) {
        CAPTURE(r.last, r.limit);
        int finished = 0;
        end_reason why = end_reason::worker_error;
        auto silent = testing::memory_stream::make();
        auto inner = [&](exchange& x) -> awaitable<> {
            x.respond(200);
            x.response.body.set(
                std::make_unique<scripted_body>(r.pieces, r.last, &finished, silent.first.get()));
            co_return;
        };
        auto outer = [&](exchange& x, exchange::next next) -> awaitable<> {
            x.on_complete([&](exchange& over) { why = over.reason(); });
            co_await next(x);
            CHECK_FALSE(x.response.body.size().has_value());
            auto all = co_await x.response.body.read_all(r.limit);
            CHECK(all == "hello");
            auto again = co_await x.response.body.read_all(r.limit);
            CHECK(again == "hello");
            CHECK(x.response.body.size() == 5u);
        };
        session s(http() | outer | inner);
        s.send(get);
        if (r.why == end_reason::response_timeout) {
            s.advance(2900ms);
            CHECK(s.received().empty());
            s.advance(300ms);
        }
        CHECK(statuses(s.received()) == r.status);
        CHECK(why == r.why);
        CHECK(finished == (r.why == end_reason::completed));
        if (r.why == end_reason::completed) {
            CHECK(s.received().find("\r\nContent-Length: 5\r\n") != std::string::npos);
            CHECK(content_of(s.received()) == "hello");
        }
        CHECK_FALSE(s.ended());
    }
}

TEST_CASE("body: a response that a stage cannot read goes out as it came") {
    using at_end = scripted_body::at_end;
    std::optional<end_reason> caught, why;
    int finished = 0;
    bool told = false;
    auto const outer = [&](exchange& x, exchange::next next) -> awaitable<> {
        x.on_complete([&](exchange& over) { why = over.reason(); });
        co_await next(x);
        try {
            co_await x.response.body.read_all(4);
        } catch (exchange_error const& error) {
            caught = error.reason();
        }
    };
    auto last = at_end::ends;
    auto const inner = [&](exchange& x) -> awaitable<> {
        x.respond(200, "hello");
        if (!told)
            x.response.body.set(std::make_unique<scripted_body>(
                std::vector<std::string>{"hel", "lo", " and the rest"}, last, &finished, nullptr));
        co_return;
    };
    SECTION("of a length that is known: without a look at it") {
        told = true;
    }
    SECTION("after some of it was read") {}
    SECTION("one that breaks off does not end as if it were whole") {
        last = at_end::fails;
    }
    session s(http() | outer | inner);
    s.send(get);
    CHECK(caught == end_reason::response_too_large);
    if (last == at_end::fails) {
        CHECK_FALSE(s.received().ends_with("0\r\n\r\n"));
        CHECK(s.ended());
        CHECK(why == end_reason::response_incomplete);
    } else if (told) {
        CHECK(content_of(s.received()) == "hello");
        CHECK(s.received().find("\r\nContent-Length: 5\r\n") != std::string::npos);
        CHECK(why == end_reason::completed);
    } else {
        CHECK(s.received().find(" and the rest") != std::string::npos);
        CHECK(s.received().ends_with("\r\n0\r\n\r\n"));
        CHECK(finished == 1);
        CHECK(why == end_reason::completed);
    }
}
