#include "catch.hpp"

#include <relais/core/scope.hpp>
#include <relais/core/worker.hpp>
#include <relais/net/connection.hpp>
#include <relais/net/socket.hpp>
#include <relais/testing/manual_clock.hpp>
#include <relais/testing/memory_stream.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;
namespace net = boost::asio;

namespace {

waiter_kind both() {
    return GENERATE(waiter_kind::native, waiter_kind::portable);
}

struct counted {
    explicit counted(int& n) : live(n) { ++live; }
    counted(counted const&) = delete;
    ~counted() { --live; }
    int& live;
};

awaitable<> wait_for_bytes(std::unique_ptr<stream> s, int& live) {
    counted guard(live);
    co_await s->readable(60s);
}

awaitable<> wait_at_anothers(stream& s, int& live) {
    counted guard(live);
    co_await s.readable(60s);
}

awaitable<> wait_for_time(int& live) {
    counted guard(live);
    free_slot pause;
    co_await wait_at(pause, 60s);
}

awaitable<> join_one(int& live) {
    counted guard(live);
    scope s;
    s.spawn(wait_for_time(live));
    co_await s.join();
}

bool is_open(int descriptor) {
    return ::fcntl(descriptor, F_GETFD) >= 0;
}

struct sockets {
    sockets() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0); }
    ~sockets() { ::close(ends[1]); }
    int ends[2];
};

} // namespace

TEST_CASE("worker: one that ends destroys what still waits") {
    auto kind = both();
    int live = 0;
    sockets one;
    {
        testing::manual_clock clock;
        worker w({.waiter = kind, .time = &clock});
        worker::scoped_current on(w);
        auto [near, far] = testing::memory_stream::make();
        net::co_spawn(w.context(), wait_for_bytes(socket::adopt(one.ends[0], true), live),
                      net::detached);
        net::co_spawn(w.context(), wait_at_anothers(*near, live), net::detached);
        net::co_spawn(w.context(), wait_for_time(live), net::detached);
        net::co_spawn(w.context(), join_one(live), net::detached);
        w.poll();
        REQUIRE(live == 5);
        net::co_spawn(w.context(), wait_for_time(live), net::detached); // never gets its first turn
        far->close();                                                   // wakes nobody any more
    }
    CHECK(live == 0);
    CHECK_FALSE(is_open(one.ends[0]));
}

TEST_CASE("worker: a connection that outlives its event loop closes its own descriptor") {
    auto kind = both();
    sockets one;
    int other = -1;
    {
        worker w({.waiter = kind});
        worker::scoped_current on(w);
        auto* c = new connection(socket::adopt(one.ends[0], true), {}, {}); // the list owns it
        // Gone last of all: by then nobody may have closed the descriptor, or it closes another one of that number.
        struct taker {
            int& to;
            int from;
            ~taker() {
                if (!is_open(from))
                    to = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
            }
        };
        static char const key = 0;
        w.lasting<taker>(&key, [&] {
            return std::shared_ptr<taker>(new taker{other, one.ends[0]});
        });
        REQUIRE(connection_list::current().size() == 1);
        (void)c;
    }
    CHECK(other == -1);
    CHECK_FALSE(is_open(one.ends[0]));
    if (other >= 0)
        ::close(other);
}

TEST_CASE("worker: waits end by virtual time, also after a pause without deadlines") {
    testing::manual_clock clock;
    worker w({.time = &clock});
    worker::scoped_current on(w);
    auto pause = GENERATE(0s, 1s, 1h);
    clock.advance(w, std::chrono::duration_cast<std::chrono::milliseconds>(pause));
    free_slot place;
    std::optional<wait_result> got;
    wait_at(place, 300ms, [&](wait_result r) { got = r; });
    clock.advance(w, 250ms);
    CHECK_FALSE(got);
    clock.advance(w, 150ms);
    CHECK(got == wait_result::timed_out);
    CHECK(w.deadlines().empty());
}

TEST_CASE("worker: a gate that was given back comes out clean, and only after the batch") {
    testing::manual_clock clock;
    worker w({.waiter = both(), .time = &clock});
    worker::scoped_current on(w);
    sockets one, two;
    int error = 0;
    auto* g = w.watch(one.ends[0], error);
    g->notify(true, true, true, true);
    g->holds_input = g->read_needs_write = true;
    w.unwatch(one.ends[0], g);
    auto* meanwhile = w.watch(two.ends[0], error);
    CHECK(meanwhile != g);
    w.unwatch(two.ends[0], meanwhile);
    w.catch_up(); // a batch of its own
    auto* first = w.watch(one.ends[0], error);
    auto* second = w.watch(two.ends[0], error);
    CHECK((first == g || second == g));
    for (auto* again : {first, second}) {
        CHECK_FALSE((again->readable || again->writable || again->hung_up || again->broken));
        CHECK_FALSE((again->closed || again->holds_input || again->read_needs_write));
        CHECK(again->on_hang_up == nullptr);
    }
    w.unwatch(one.ends[0], first);
    w.unwatch(two.ends[0], second);
    ::close(one.ends[0]);
    ::close(two.ends[0]);
}

TEST_CASE("worker: says that a descriptor cannot be watched") {
    worker w({.waiter = both()});
    int error = 0;
    CHECK(w.watch(-1, error) == nullptr);
    CHECK(error == EBADF);
}

TEST_CASE("worker: objects of its own are made once and go last one first") {
    std::vector<int> gone;
    struct one {
        std::vector<int>& gone;
        int number;
        ~one() { gone.push_back(number); }
    };
    {
        worker w;
        char keys[2]{};
        int made = 0;
        auto make = [&] { return std::shared_ptr<one>(new one{gone, ++made}); };
        CHECK(w.local<one>(&keys[0], make).number == 1);
        CHECK(w.local<one>(&keys[1], make).number == 2);
        CHECK(w.local<one>(&keys[0], make).number == 1);
    }
    CHECK(gone == std::vector<int>{2, 1});
}

TEST_CASE("worker: || with readable() ends the other wait") {
    using namespace net::experimental::awaitable_operators;
    testing::manual_clock clock;
    worker w({.waiter = both(), .time = &clock});
    worker::scoped_current on(w);
    sockets one;
    auto s = socket::adopt(one.ends[0], true);
    auto [near, far] = testing::memory_stream::make();
    std::optional<std::size_t> first;
    auto race = [](stream& a, stream& b, std::optional<std::size_t>& out) -> awaitable<> {
        auto won =
            co_await (a.readable(1s, net::use_awaitable) || b.readable(2s, net::use_awaitable));
        out = won.index();
    };
    net::co_spawn(w.context(), race(*s, *near, first), net::detached);
    w.poll();
    REQUIRE(s->ready().reader.occupied());
    REQUIRE(near->ready().reader.occupied());
    SECTION("the left one") {
        REQUIRE(::write(one.ends[1], "a", 1) == 1);
        w.poll();
        w.poll();
        CHECK(first == 0u);
    }
    SECTION("the right one") {
        far->try_write("a");
        w.poll();
        CHECK(first == 1u);
    }
    SECTION("the limit of one of them") {
        clock.advance(w, 1200ms);
        CHECK(first == 0u);
    }
    CHECK_FALSE(s->ready().reader.occupied());
    CHECK_FALSE(near->ready().reader.occupied());
}
