#include "catch.hpp"
#include "proxied.hpp"

#include <relais/testing/memory_stream.hpp>
#include <relais/upstream/client.hpp>

#include <functional>
#include <vector>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

constexpr call_limits limits{20s, 30s, 40s};

struct keeper final : connection_keeper {
    void give(std::unique_ptr<stream> idle, connection_past) override {
        if (idle->quiet()) // as a pool does
            given.push_back(std::move(idle));
    }
    std::vector<std::unique_ptr<stream>> given;
};

// Runs `play` in the place of a terminal, for one request.
void in_an_exchange(std::string_view request, std::function<void(exchange&)> play) {
    bool played = false;
    session client(http() | [&](exchange& x) -> awaitable<> {
        play(x);
        x.respond(204);
        played = true;
        co_return;
    });
    client.send(request);
    REQUIRE(played);
}

std::string asking(std::string const& method) {
    return method + " / HTTP/1.1\r\nHost: a\r\n\r\n";
}

} // namespace

TEST_CASE("client: whether a request may go out again on a fresh connection") {
    struct row {
        char const* method;
        bool reused;
        char const* what;
        bool again;
    };
    auto const r = GENERATE(values<row>({
        {"GET", true, "closes", true},
        {"PUT", true, "closes", true},
        {"GET", false, "closes", false}, // a fresh one has not gone stale
        {"POST", true, "closes", false}, // it may have acted on it
        {"POST", true, "takes nothing", true},
        {"BREW", true, "takes nothing", true},
        {"POST", false, "takes nothing", false},
        {"POST", true, "takes a part", false},
        {"GET", true, "takes a part", true},
        {"POST", true, "takes it late", false},
        {"GET", true, "says a byte", false},
        {"GET", true, "says 100", false},
        {"GET", true, "says nonsense", false},
    }));
    CAPTURE(r.method, r.reused, r.what);
    in_an_exchange(asking(r.method), [&](exchange& x) {
        auto [near, far] = memory_stream::make();
        auto& connection = *near;
        auto const what = std::string(r.what);
        if (what == "takes nothing")
            connection.fail_after(0);
        else if (what == "takes a part")
            connection.set_capacity(5);
        else if (what == "takes it late")
            connection.set_capacity(0);
        upstream_call call(x, limits);
        call.use(std::move(near), {}, r.reused);
        call.begin(asking(r.method), false, false);
        if (what == "takes it late")
            connection.set_capacity(1000);
        auto step = call.advance();
        if (what == "says a byte")
            far->try_write("H");
        else if (what == "says 100")
            far->try_write("HTTP/1.1 100 Continue\r\n\r\n");
        else if (what == "says nonsense")
            far->try_write("SSH-2.0\r\n\r\n");
        far->close();
        if (step != upstream_call::step::failed)
            step = call.advance();
        if (step == upstream_call::step::interim) {
            call.interim_passed_on();
            step = call.advance();
        }
        CHECK(step == upstream_call::step::failed);
        CHECK(call.stale() == r.again);
    });
}

TEST_CASE("client: a second connection begins with nothing of the first one") {
    in_an_exchange(asking("GET"), [](exchange& x) {
        auto first = memory_stream::make(), second = memory_stream::make();
        upstream_call call(x, limits);
        call.use(std::move(first.first), {}, true);
        call.begin(asking("GET"), false, false);
        first.second->close();
        CHECK(call.advance() == upstream_call::step::failed);
        REQUIRE(call.stale());
        call.use(std::move(second.first), {}, false);
        CHECK_FALSE(call.stale());
        CHECK(call.why() == end_reason::completed);
        call.begin(asking("GET"), false, false);
        second.second->try_write(ok("x"));
        CHECK(call.advance() == upstream_call::step::answered);
    });
}

TEST_CASE("client: a connection is given back when its response was read, and only then") {
    struct row {
        std::string said;
        bool at_once; // with the head
        std::string rest;
        bool at_the_end;
    };
    auto const head = "HTTP/1.1 200 OK\r\n"s;
    auto const r = GENERATE_COPY(values<row>({
        {head + "Content-Length: 2\r\n\r\nok", true, "", true},
        {head + "Content-Length: 2\r\n\r\no", false, "k", true},
        {head + "Content-Length: 2\r\n\r\no", false, "", false},
        {head + "Content-Length: 2\r\n\r\nok.", false, "", false},
        {head + "Content-Length: 2\r\n\r\no", false, "k.", false},
        {head + "Content-Length: 2\r\nConnection: close\r\n\r\no", false, "k", false},
        {head + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", false, "0\r\n\r\n", true},
        {head + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", false, "0\r\n", false},
        {head + "\r\nok", false, "", false},
        {"HTTP/1.1 204 No Content\r\n\r\n", true, "", true},
    }));
    CAPTURE(r.said, r.rest);
    auto [near, far] = memory_stream::make();
    keeper pool;
    session client(http() | [&](exchange& x) -> awaitable<> {
        upstream_call call(x, limits);
        call.use(std::move(near), {}, false);
        call.begin(asking("GET"), false, false);
        far->try_write(r.said);
        CHECK(call.advance() == upstream_call::step::answered);
        call.hand_over(pool);
        co_return;
    });
    client.send(get);
    CHECK(pool.given.size() == (r.at_once ? 1 : 0));
    {
        worker::scoped_current on(client.worker());
        far->try_write(r.rest);
    }
    client.run();
    CHECK(pool.given.size() == (r.at_the_end ? 1 : 0));
    CHECK(client.received().starts_with("HTTP/1.1 20"));
    worker::scoped_current on(client.worker());
    pool.given.clear();
}

TEST_CASE("client: a response that a stage replaced or nobody reads costs its connection") {
    bool const replaced = GENERATE(true, false);
    auto [near, far] = memory_stream::make();
    keeper pool;
    session client(http() | [&](exchange& x) -> awaitable<> {
        upstream_call call(x, limits);
        call.use(std::move(near), {}, false);
        call.begin(asking("GET"), false, false);
        far->try_write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthei");
        CHECK(call.advance() == upstream_call::step::answered);
        call.hand_over(pool);
        if (replaced)
            x.respond(200, "mine\n");
        co_return;
    });
    client.send(get);
    if (replaced) {
        CHECK(content_of(client.received()) == "mine\n");
    } else {
        client.reset();
        CHECK(client.ended());
    }
    CHECK(pool.given.empty());
    std::byte piece[1000];
    CHECK(far->try_read(piece).state == io_state::ok); // the request
    auto const behind = far->try_read(piece).state;
    CHECK((behind == io_state::end || behind == io_state::error));
}
