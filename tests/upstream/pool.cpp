#include "catch.hpp"
#include "proxied.hpp"

#include <relais/testing/manual_clock.hpp>
#include <relais/testing/memory_stream.hpp>
#include <relais/upstream/pool.hpp>

#include <vector>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;

namespace {

// A pool on a worker whose time stands still, and the servers' ends of what it holds.
struct pooled {
    explicit pooled(std::size_t size = 8, std::chrono::milliseconds timeout = 10s)
        : pool({.size = size, .timeout = timeout}) {}
    explicit pooled(pool_options const& options) : pool(options) {}

    // Gives the pool a new connection. \return the server's end.
    memory_stream& give() {
        auto ends = memory_stream::make();
        servers.push_back(std::move(ends.second));
        names.push_back(ends.first.get());
        pool.give(std::move(ends.first), {w.deadlines().now(), 1});
        return *servers.back();
    }
    // The number of the connection that the pool hands out, from 0 in the order of `give`; -1 for none.
    int take() {
        auto taken = pool.take();
        for (std::size_t i = 0; taken.connection && i < names.size(); ++i)
            if (names[i] == taken.connection.get()) {
                out.push_back(std::move(taken));
                return static_cast<int>(i);
            }
        return -1;
    }
    // Gives back what was taken last.
    void give_back() {
        auto& last = out.back();
        ++last.past.requests;
        pool.give(std::move(last.connection), last.past);
        out.pop_back();
    }
    bool closed(std::size_t number) {
        std::byte one;
        return servers[number]->try_read({&one, 1}).state == io_state::end;
    }
    void advance(std::chrono::milliseconds by) { clock.advance(w, by); }

    manual_clock clock;
    worker w{{.time = &clock}};
    worker::scoped_current on{w};
    std::vector<std::unique_ptr<memory_stream>> servers;
    std::vector<stream*> names;
    std::vector<connection_pool::idle> out;
    connection_pool pool;
};

} // namespace

TEST_CASE("pool: what was given last is taken first") {
    pooled p;
    CHECK(p.take() == -1);
    for (int i = 0; i < 3; ++i)
        p.give();
    CHECK(p.pool.size() == 3);
    CHECK(p.take() == 2);
    CHECK(p.take() == 1);
    p.give_back();
    CHECK(p.take() == 1);
    CHECK(p.take() == 0);
    CHECK(p.take() == -1);
    CHECK(p.pool.size() == 0);
    for (std::size_t i = 0; i < 3; ++i)
        CHECK_FALSE(p.closed(i));
}

TEST_CASE("pool: has room for so many, and closes what is more") {
    auto const size = GENERATE(std::size_t(0), std::size_t(2));
    pooled p(size);
    for (std::size_t i = 0; i < size + 2; ++i) {
        p.give();
        CHECK(p.closed(i) == (i >= size));
    }
    CHECK(p.pool.size() == size);
    CHECK(p.take() == static_cast<int>(size) - 1);
    p.give(); // there is room again
    CHECK(p.pool.size() == size);
    CHECK(p.closed(size + 2) == (size == 0));
}

TEST_CASE("pool: one that was idle for too long is not handed out") {
    pooled p(8, 10s);
    p.give();
    p.advance(9800ms);
    CHECK(p.take() == 0);
    p.give_back(); // its time begins anew
    p.advance(9800ms);
    CHECK(p.take() == 0);
    p.give_back();
    p.advance(10200ms);
    CHECK(p.take() == -1);
    CHECK(p.closed(0));
}

TEST_CASE("pool: one that is too old is not handed out, used or not") {
    pooled p({.size = 8, .timeout = 10s, .max_age = 25s});
    p.give();
    for (int i = 0; i < 3; ++i) {
        p.advance(8s);
        CHECK(p.take() == 0);
        p.give_back();
    }
    p.advance(800ms);
    CHECK_FALSE(p.closed(0));
    p.advance(1400ms); // found when the pool looks by itself
    CHECK(p.closed(0));
    CHECK(p.take() == -1);
}

TEST_CASE("pool: one that has carried as many requests as it may is closed") {
    pooled p({.size = 8, .max_requests = 3});
    p.give();
    CHECK(p.take() == 0);
    p.give_back();
    CHECK(p.take() == 0);
    CHECK_FALSE(p.closed(0));
    p.give_back(); // the third
    CHECK(p.closed(0));
    CHECK(p.take() == -1);
}

TEST_CASE("pool: a time shorter than the pool looks by itself counts exactly") {
    pooled p(8, 300ms);
    p.give();
    p.advance(400ms);
    CHECK_FALSE(p.closed(0));
    CHECK(p.take() == -1);
    CHECK(p.closed(0));
}

TEST_CASE("pool: closes what is idle for too long though nobody asks for it") {
    pooled p(8, 10s);
    p.give();
    p.advance(5s);
    p.give();
    p.advance(4800ms);
    CHECK_FALSE(p.closed(0));
    p.advance(1200ms);
    CHECK(p.closed(0));
    CHECK_FALSE(p.closed(1));
    CHECK(p.pool.size() == 1);
    p.advance(5s);
    CHECK(p.closed(1));
    CHECK(p.pool.size() == 0);
    p.advance(1min); // and looks again once there is something
    p.give();
    p.advance(11200ms);
    CHECK(p.closed(2));
}

TEST_CASE("pool: what is no longer quiet is not handed out") {
    bool const sweeps = GENERATE(false, true);
    pooled p;
    p.give();
    p.give();
    auto& server = p.give();
    SECTION("the server said something") {
        server.try_write("HTTP/1.1 408 Request Timeout\r\n\r\n");
    }
    SECTION("the server sent one byte") {
        server.try_write("\n");
    }
    SECTION("the server ended") {
        server.shutdown_send();
    }
    SECTION("the server closed") {
        server.close();
    }
    SECTION("the server reset") {
        server.abort();
    }
    if (sweeps) { // what ended does not wait for the next request
        p.advance(1200ms);
        CHECK(p.pool.size() == 2);
    } else {
        p.w.poll();
    }
    CHECK(p.take() == 1); // those below are as good as before
    CHECK(p.take() == 0);
    CHECK(p.take() == -1);
}

TEST_CASE("pool: one in the middle goes, its neighbours stay") {
    pooled p;
    p.give();
    p.give().close();
    p.give();
    p.advance(1200ms);
    CHECK(p.pool.size() == 2);
    CHECK(p.take() == 2);
    CHECK(p.take() == 0);
}

TEST_CASE("pool: what is not quiet when it comes is not kept") {
    pooled p;
    auto ends = memory_stream::make();
    ends.second->try_write("more than was asked for");
    p.pool.give(std::move(ends.first), {p.w.deadlines().now(), 1});
    CHECK(p.pool.size() == 0);
}

TEST_CASE("pool: a readable flag that is up for nothing costs no connection") {
    pooled p;
    p.give();
    p.names[0]->ready().readable = true; // after a read of exactly what there was
    CHECK(p.take() == 0);
    p.names[0]->ready().readable = true;
    p.give_back();
    CHECK(p.pool.size() == 1);
}

TEST_CASE("pool: clear closes all, and an end with connections leaves nothing to come") {
    pooled p;
    p.give();
    p.give();
    p.pool.clear();
    CHECK(p.closed(0));
    CHECK(p.closed(1));
    CHECK(p.take() == -1);
    {
        connection_pool other({.size = 8});
        auto ends = memory_stream::make();
        other.give(std::move(ends.first), {});
    }
    p.advance(5s); // its look at what is idle does not come any more
}
