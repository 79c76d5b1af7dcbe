#include "catch.hpp"

#include <relais/core/report.hpp>
#include <relais/http/http.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/testing/oneshot.hpp>
#include <relais/testing/session.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;
using namespace std::string_literals;
using testing::oneshot;
using testing::session;

namespace {

std::string const get = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

// Takes the reports away from standard error, and counts them.
struct quiet {
    quiet() {
        count = 0;
        set_report_function([](std::string_view) { ++count; });
    }
    ~quiet() { set_report_function(nullptr); }
    static inline int count = 0;
};

awaitable<> wait_for_ever() {
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
    timer.expires_at(boost::asio::steady_timer::time_point::max());
    co_await timer.async_wait(boost::asio::use_awaitable);
}

} // namespace

TEST_CASE("exchange: what a stage sees of a request") {
    auto stage = [](exchange& x) -> awaitable<> {
        auto& q = x.request;
        CHECK(q.method() == verb::get);
        CHECK(q.method_text() == "GET");
        CHECK(q.version() == 11);
        CHECK(q.target() == "/a/../b%20c//d?e=f");
        CHECK(q.path() == "/b c/d");
        CHECK(q.canonical_path() == "/b%20c/d");
        CHECK(q.raw_path() == "/a/../b%20c//d");
        CHECK(q.query() == "e=f");
        CHECK(q.authority() == "A.Example:8080");
        CHECK(q.host() == "a.example");
        CHECK(q.scheme() == "http");
        CHECK(q["x-one"] == "1");
        CHECK(q[field::user_agent] == "u");
        CHECK(q["missing"].empty());
        CHECK(q["Connection"].empty()); // taken off
        CHECK(q["X-Hop"].empty());
        CHECK(q.received().find("X-Hop: 1\r\n") != std::string_view::npos);
        CHECK(q.cookie("a") == "1");
        CHECK(q.cookie("b") == "two");
        CHECK(q.cookie("c").empty());
        CHECK(q.cookie("d") == "4");
        CHECK(x.client_address() == "192.0.2.1");
        CHECK_FALSE(x.head_sent());
        x.respond(204);
        co_return;
    };
    auto answer = oneshot(stage, {.target = "/a/../b%20c//d?e=f",
                                  .fields = "Host: A.Example:8080\r\nX-One: 1\r\nUser-Agent: u\r\n"
                                            "Connection: x-hop\r\nX-Hop: 1\r\n"
                                            "Cookie: a=1; b=\"two\"; ab=3\r\nCookie: d=4\r\n"});
    CHECK(answer.status == 204);
}

TEST_CASE("exchange: stages run from the outside in, and edit the response on the way out") {
    std::vector<std::string> order;
    auto named = [&order](std::string name) {
        return [&order, name](exchange& x, exchange::next next) -> awaitable<> {
            order.push_back("+" + name);
            co_await next(x);
            order.push_back("-" + name);
            x.response.add("X-By", name);
        };
    };
    auto last = [&order](exchange& x) -> awaitable<> {
        order.push_back("last");
        x.respond(200, "hello");
        co_return;
    };
    auto answer = oneshot(stage(named("a")) | named("b") | last);
    CHECK(order == std::vector<std::string>{"+a", "+b", "last", "-b", "-a"});
    CHECK(answer.raw.find("X-By: b\r\nX-By: a\r\n") != std::string::npos);
    CHECK(answer.body == "hello");
}

TEST_CASE("exchange: a response is replaced as a whole") {
    auto inner = [](exchange& x) -> awaitable<> {
        x.respond(200, "inner");
        x.response.set("X-Inner", "1");
        co_return;
    };
    auto outer = [](exchange& x, exchange::next next) -> awaitable<> {
        co_await next(x);
        x.respond(503, "outer", "text/html");
    };
    auto answer = oneshot(stage(outer) | inner);
    CHECK(answer.status == 503);
    CHECK(answer.body == "outer");
    CHECK(answer["Content-Type"] == "text/html");
    CHECK(answer["X-Inner"].empty());
}

TEST_CASE("exchange: values that would break a head are refused at the call") {
    auto const value = GENERATE(values<std::string>({"a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"s}));
    auto stage = [&](exchange& x) -> awaitable<> {
        x.respond(200);
        CHECK_THROWS_AS(x.response.set("X-A", value), std::invalid_argument);
        CHECK_THROWS_AS(x.response.add("X-A", value), std::invalid_argument);
        CHECK_THROWS_AS(x.request.set("X-A", value), std::invalid_argument);
        CHECK_THROWS_AS(x.response.set(value, "x"), std::invalid_argument);
        CHECK_THROWS_AS(x.response.set_status(99), std::invalid_argument);
        CHECK_THROWS_AS(x.response.set_status(1000), std::invalid_argument);
        co_return;
    };
    CHECK(oneshot(stage).status == 200);
}

TEST_CASE("exchange: an exception is 500, and no other request notices") {
    quiet q;
    struct odd {};
    int which = GENERATE(0, 1, 2);
    auto stage = [which](exchange& x, exchange::next next) -> awaitable<> {
        if (x.request.path() == "/throws") {
            x.respond(200, "not this");
            if (which == 0)
                throw std::runtime_error("oops");
            if (which == 1)
                throw odd{};
            co_await next(x);
            throw std::runtime_error("behind next");
        }
        co_await next(x);
    };
    std::vector<end_reason> reasons;
    auto note = [&](exchange& x, exchange::next next) -> awaitable<> {
        x.on_complete([&](exchange& over) { reasons.push_back(over.reason()); });
        return next(x);
    };
    session s(http() | note | stage | respond(200, "fine"));
    s.send("GET /throws HTTP/1.1\r\nHost: a\r\n\r\n");
    auto got = s.take_received();
    CHECK(got.starts_with("HTTP/1.1 500 "));
    CHECK(got.find("oops") == got.npos); // nothing of the inside
    CHECK(got.find("not this") == got.npos);
    s.send(get);
    CHECK(s.take_received().ends_with("fine"));
    REQUIRE(reasons.size() == 2);
    CHECK(reasons[0] == (which == 2 ? end_reason::stage_misused : end_reason::stage_threw));
    CHECK(reasons[1] == end_reason::completed);
    CHECK(quiet::count == 1);
}

TEST_CASE("exchange: mistakes are 500") {
    quiet q;
    auto twice_at_once = GENERATE(0, 1, 2, 3);
    auto stage = [twice_at_once](exchange& x, exchange::next next) -> awaitable<> {
        switch (twice_at_once) {
        case 0: // neither answered nor handed on
            break;
        case 1: // both
            x.respond(200, "one");
            co_await next(x);
            break;
        case 2: // no final status
            x.response.set_status(102);
            break;
        default: // a 101 that nothing follows
            x.response.set_status(101);
        }
    };
    std::optional<end_reason> reason;
    auto note = [&](exchange& x, exchange::next next) -> awaitable<> {
        x.on_complete([&](exchange& over) { reason = over.reason(); });
        return next(x);
    };
    auto answer = oneshot(relais::stage(note) | stage | respond(200, "two"));
    CHECK(answer.status == 500);
    CHECK(reason == end_reason::stage_misused);
    CHECK(quiet::count == 1);
}

TEST_CASE("exchange: each next is told from every other") {
    char chains[200];
    char const entry = 0;
    exchange x;
    x.note_next(&chains[0], &entry);
    x.respond(200);
    for (auto& other : chains) {
        if (&other != &chains[0])
            CHECK_THROWS_AS(x.note_next(&other, &entry), stage_misuse);
    }
    CHECK_THROWS_AS(x.note_next(&chains[0], &entry + 1), stage_misuse);
    CHECK_NOTHROW(x.note_next(&chains[0], &entry));
    CHECK(x.response.status() == 0); // another try begins with nothing
}

TEST_CASE("exchange: next again is another try") {
    int tries = 0;
    auto last = [&](exchange& x) -> awaitable<> {
        exchange::answering guard(x);
        ++tries;
        if (tries < 3) {
            x.refuse(end_reason::connect_refused);
            x.response.set("X-Try", std::to_string(tries));
        } else {
            x.respond(200, "at last");
        }
        co_return;
    };
    auto retry = [](exchange& x, exchange::next next) -> awaitable<> {
        for (int i = 0; i < 3; ++i) {
            co_await next(x);
            if (x.response.status() != 502)
                co_return;
        }
    };
    std::optional<end_reason> reason;
    auto note = [&](exchange& x, exchange::next next) -> awaitable<> {
        x.on_complete([&](exchange& over) { reason = over.reason(); });
        return next(x);
    };
    auto answer = oneshot(stage(note) | retry | last);
    CHECK(tries == 3);
    CHECK(answer.status == 200);
    CHECK(answer.body == "at last");
    CHECK(answer["X-Try"].empty());
    CHECK(reason == end_reason::completed); // the tries before do not count
}

TEST_CASE("exchange: on_complete is called once, the last first, after the last byte") {
    quiet q;
    std::vector<std::string> order;
    auto stage = [&](exchange& x, exchange::next next) -> awaitable<> {
        x.on_complete([&](exchange& over) {
            order.push_back("first " + std::to_string(over.body_bytes_sent()) +
                            (over.head_sent() ? " sent" : ""));
        });
        x.on_complete([&](exchange&) { throw std::runtime_error("dropped"); });
        x.on_complete([&](exchange& over) {
            order.push_back("last " + std::to_string(over.response.status()));
        });
        co_await next(x);
        order.push_back("unwound");
    };
    session s(http() | stage | respond(200, std::string(100'000, 'x')), {.capacity = 5000});
    s.set_reading(false);
    s.send(get);
    CHECK(order == std::vector<std::string>{"unwound"});
    s.set_reading(true);
    s.run();
    CHECK(order == std::vector<std::string>{"unwound", "last 200", "first 100000 sent"});
    s.send(get);
    CHECK(order.size() == 6);
    s.shutdown_send();
    CHECK(order.size() == 6);
}

TEST_CASE("exchange: on_complete happens however it ends") {
    int how = GENERATE(0, 1, 2, 3);
    std::vector<end_reason> ended;
    {
        auto stage = [&, how](exchange& x, exchange::next next) -> awaitable<> {
            x.on_complete([&](exchange& over) { ended.push_back(over.reason()); });
            if (how == 3)
                co_await wait_for_ever();
            co_await next(x);
        };
        session s(http({.write_timeout = 5s}) | stage | respond(200, std::string(100'000, 'x')),
                  {.capacity = 5000});
        s.set_reading(false);
        s.send(get);
        CHECK(ended.empty());
        if (how == 0)
            s.reset();
        if (how == 1)
            s.shutdown_send();
        if (how == 2)
            s.advance(6s);
        if (how != 3) {
            CHECK(ended == std::vector<end_reason>{how == 2 ? end_reason::client_write_timeout
                                                            : end_reason::client_left});
            CHECK(s.ended());
        }
    } // the worker ends with the exchange under way
    CHECK(ended.size() == 1);
}

TEST_CASE("exchange: what is held lives until the last byte") {
    auto token = std::make_shared<int>(1);
    std::weak_ptr<int> const watch = token;
    auto stage = [&](exchange& x, exchange::next next) -> awaitable<> {
        auto& held = x.hold(std::make_unique<std::shared_ptr<int>>(std::exchange(token, nullptr)));
        CHECK(**held == 1);
        co_await next(x);
    };
    session s(http() | stage | respond(200, std::string(100'000, 'x')), {.capacity = 5000});
    s.set_reading(false);
    s.send(get);
    CHECK_FALSE(watch.expired());
    s.set_reading(true);
    s.run();
    CHECK(watch.expired());
    CHECK_FALSE(s.ended());
}

TEST_CASE("exchange: state belongs to one request") {
    struct seen {
        int times = 0;
    };
    auto stage = [](exchange& x, exchange::next next) -> awaitable<> {
        CHECK(x.state.find<seen>() == nullptr);
        x.state.emplace<seen>().times = 7;
        auto* of_connection = x.connection().state.find<seen>();
        if (!of_connection)
            of_connection = &x.connection().state.emplace<seen>();
        ++of_connection->times;
        co_await next(x);
        x.response.set("X-Times",
                       std::to_string(of_connection->times * 10 + x.state.find<seen>()->times));
    };
    session s(http() | stage | respond(204));
    s.send(get);
    CHECK(s.take_received().find("X-Times: 17\r\n") != std::string::npos);
    s.send(get);
    CHECK(s.take_received().find("X-Times: 27\r\n") != std::string::npos);
}

TEST_CASE("exchange: a client that leaves ends what a stage waits for, at once") {
    bool reset = GENERATE(false, true);
    bool catches = GENERATE(false, true);
    quiet q;
    bool ended_by_abort = false, behind = false;
    std::optional<end_reason> during, reason;
    auto stage = [&](exchange& x) -> awaitable<> {
        x.on_complete([&](exchange& over) { reason = over.reason(); });
        if (!catches)
            co_await wait_for_ever();
        try {
            co_await wait_for_ever();
        } catch (boost::system::system_error const& error) {
            ended_by_abort = error.code() == boost::asio::error::operation_aborted;
            during = x.reason(); // it was set first
        }
        behind = true;
        x.respond(200, "to nobody");
    };
    session s(http() | stage);
    s.send(get);
    CHECK_FALSE(reason);
    reset ? s.reset() : s.shutdown_send();
    CHECK(reason == end_reason::client_left); // not a 500
    CHECK(s.ended());
    CHECK(s.received().empty());
    CHECK(behind == catches);
    CHECK(ended_by_abort == catches);
    CHECK(quiet::count == 0); // nobody's mistake
    if (catches)
        CHECK(during == end_reason::client_left);
}

TEST_CASE("exchange: an interim response is nothing else") {
    auto stage = [](exchange& x) -> awaitable<> {
        fields none;
        for (unsigned status : {0u, 99u, 101u, 200u, 1000u})
            CHECK_THROWS_AS(x.send_interim(status, none), std::invalid_argument);
        fields odd;
        odd.add("Content-Length", "3");
        odd.add("X-A", "1");
        odd.add("Connection", "close");
        odd.add("Transfer-Encoding", "chunked");
        co_await x.send_interim(102, odd);
        x.respond(204);
    };
    session s(http() | stage);
    s.send(get);
    CHECK(s.received().starts_with(
        "HTTP/1.1 102 Processing\r\nX-A: 1\r\n\r\nHTTP/1.1 204 No Content\r\n"));
    CHECK_FALSE(s.ended());
}

TEST_CASE("exchange: interim responses of a stage") {
    auto stage = [](exchange& x) -> awaitable<> {
        fields hints;
        hints.add("Link", "</style.css>; rel=preload");
        co_await x.send_interim(103, hints);
        fields none;
        co_await x.send_interim(102, none);
        x.respond(204);
    };
    session with(http({.early_hints = true}) | stage);
    with.send(get);
    CHECK(with.received().starts_with(
        "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 No Content\r\n"));
    session without(http() | stage);
    without.send(get);
    CHECK(without.received().starts_with("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 "));
    session old(http({.early_hints = true}) | stage);
    old.send("GET / HTTP/1.0\r\n\r\n");
    CHECK(old.received().starts_with("HTTP/1.0 204 "));
}

TEST_CASE("exchange: set_path changes what is matched and forwarded") {
    auto stage = [](exchange& x) -> awaitable<> {
        x.request.set_path("/new/../path%20x");
        CHECK(x.request.path() == "/path x");
        CHECK(x.request.canonical_path() == "/path%20x");
        CHECK_THROWS_AS(x.request.set_path("/../.."), std::invalid_argument);
        CHECK_THROWS_AS(x.request.set_path("none"), std::invalid_argument);
        CHECK(x.request.path() == "/path x");
        x.respond(204);
        co_return;
    };
    CHECK(oneshot(stage).status == 204);
}

TEST_CASE("exchange: a connection that the server closes ends what a stage waits for") {
    quiet q;
    std::optional<end_reason> reason;
    auto stage = [&](exchange& x) -> awaitable<> {
        x.on_complete([&](exchange& over) { reason = over.reason(); });
        co_await wait_for_ever();
    };
    session s(http() | stage);
    s.send(get);
    s.worker().post([&] { s.connection().close(); });
    s.run();
    CHECK(s.ended());
    CHECK(reason == end_reason::shutting_down); // not a 500
    CHECK(quiet::count == 0);
}

TEST_CASE("exchange: another try does not bring back a client that has left") {
    int tries = 0;
    auto last = [&](exchange& x) -> awaitable<> {
        exchange::answering guard(x);
        if (++tries == 1)
            co_await wait_for_ever();
        x.respond(200, "to nobody");
    };
    auto retry = [](exchange& x, exchange::next next) -> awaitable<> {
        co_await boost::asio::this_coro::throw_if_cancelled(false);
        try {
            co_await next(x);
        } catch (boost::system::system_error const&) {
            x.response.reset();
        }
        co_await next(x);
    };
    std::optional<end_reason> reason;
    auto note = [&](exchange& x, exchange::next next) -> awaitable<> {
        x.on_complete([&](exchange& over) { reason = over.reason(); });
        return next(x);
    };
    session s(http() | note | retry | last);
    s.send(get);
    s.shutdown_send();
    CHECK(tries == 2);
    CHECK(reason == end_reason::client_left);
    CHECK(s.received().empty());
}

TEST_CASE("exchange: what on_complete throws is reported, and no more") {
    quiet q;
    auto stage = [](exchange& x, exchange::next next) -> awaitable<> {
        x.on_complete([](exchange&) { throw std::runtime_error("too late"); });
        return next(x);
    };
    session s(http() | stage | respond(204));
    s.send(get);
    CHECK(quiet::count == 1);
    s.send(get);
    CHECK(quiet::count == 2);
    CHECK_FALSE(s.ended());
}

TEST_CASE("exchange: nothing is completed once what its worker had is gone") {
    struct pool { // as stages have them on each worker
        explicit pool(bool& g) : gone(g) {}
        ~pool() { gone = true; }
        bool& gone;
    };
    static char const key = 0;
    bool gone = false, too_late = false;
    auto stage = [&](exchange& x) -> awaitable<> {
        worker::current().local<pool>(&key, [&] { return std::make_shared<pool>(gone); });
        x.on_complete([&](exchange&) { too_late = gone; });
        co_await wait_for_ever(); // goes with the event loop, last of all
    };
    auto const chain = http() | stage;
    chain.prepare();
    auto [near, far] = testing::memory_stream::make();
    {
        worker w;
        worker::scoped_current on(w);
        auto* c = new connection(std::move(near), {}, {}); // the worker's list owns it
        boost::asio::co_spawn(w.context(), chain(*c), boost::asio::detached);
        far->try_write(get);
        w.poll();
        CHECK_FALSE(gone);
        far.reset(); // the worker hears no more of it
    }
    CHECK(gone);
    CHECK_FALSE(too_late);
}

TEST_CASE("exchange: is completed also where its session ends with an exception") {
    quiet q;
    struct exhausted final : stream { // cannot write for want of memory
        explicit exhausted(std::unique_ptr<stream> b) : stream(&b->ready()), below(std::move(b)) {}
        io_result try_read(std::span<std::byte> to) override { return below->try_read(to); }
        io_result try_write(std::span<boost::asio::const_buffer const>) override {
            throw std::bad_alloc();
        }
        void shutdown_send() override { below->shutdown_send(); }
        void close() noexcept override { below->close(); }
        void abort() noexcept override { below->abort(); }
        std::unique_ptr<stream> below;
    };
    auto without_memory = [](connection& c, connection::next next) -> awaitable<> {
        c.put_over([](std::unique_ptr<stream> below) {
            return std::make_unique<exhausted>(std::move(below));
        });
        return next(c);
    };
    std::vector<end_reason> ended;
    auto note = [&](exchange& x, exchange::next next) -> awaitable<> {
        x.on_complete([&](exchange& over) { ended.push_back(over.reason()); });
        return next(x);
    };
    session s(relais::stage(without_memory) | http() | note | respond(200, "hello"));
    s.send(get);
    CHECK(s.ended());
    CHECK(ended == std::vector<end_reason>{end_reason::shutting_down});
    CHECK(quiet::count == 1);
}

TEST_CASE("exchange: a response that replaces another one tells HEAD its own length") {
    auto inner = [](exchange& x) -> awaitable<> {
        x.response.set_status(200);
        x.response.tell_no_length();
        co_return;
    };
    auto outer = [](exchange& x, exchange::next next) -> awaitable<> {
        co_await next(x);
        x.respond(503, "outer");
    };
    auto answer = oneshot(stage(outer) | inner, {.method = "HEAD"});
    CHECK(answer.status == 503);
    CHECK(answer["Content-Length"] == "5");
}

TEST_CASE("exchange: a response whose body throws is never a clean end") {
    quiet q;
    struct throwing final : body {
        io_result try_read(std::span<std::byte> to) override {
            if (std::exchange(second, true))
                throw std::runtime_error("no more");
            to[0] = std::byte{'a'};
            return {1, io_state::ok};
        }
        bool second = false;
    };
    std::optional<end_reason> reason;
    auto stage = [&](exchange& x) -> awaitable<> {
        x.on_complete([&](exchange& over) { reason = over.reason(); });
        x.respond(200);
        x.response.body.set(std::make_unique<throwing>());
        co_return;
    };
    session s(http() | stage);
    s.send(get);
    CHECK(reason == end_reason::stage_threw);
    CHECK(quiet::count == 1);
    CHECK(s.ended());
    CHECK(s.saw_reset());
    CHECK_FALSE(s.saw_end());
    CHECK_FALSE(s.received().ends_with("\r\n0\r\n\r\n"));
}

TEST_CASE("exchange: a stage that reads a response hears that the client has left") {
    auto [silent, far] = testing::memory_stream::make();
    struct waiting final : body {
        explicit waiting(stream& s) : on(s) {}
        io_result try_read(std::span<std::byte>) override { return {0, io_state::would_block}; }
        stream* waits_on() noexcept override { return &on; }
        stream& on;
    };
    std::optional<end_reason> during, reason;
    auto inner = [&](exchange& x) -> awaitable<> {
        x.respond(200);
        x.response.body.set(std::make_unique<waiting>(*silent));
        co_return;
    };
    auto outer = [&](exchange& x, exchange::next next) -> awaitable<> {
        x.on_complete([&](exchange& over) { reason = over.reason(); });
        co_await next(x);
        try {
            co_await x.response.body.read_all(100);
        } catch (exchange_error const& error) {
            during = error.reason();
            throw;
        }
    };
    session s(http() | outer | inner);
    s.send(get);
    CHECK_FALSE(reason);
    s.shutdown_send();
    CHECK(during == end_reason::client_left);
    CHECK(reason == end_reason::client_left);
    CHECK(s.ended());
}
