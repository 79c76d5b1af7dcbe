#include "catch.hpp"

#include <relais/core/worker.hpp>
#include <relais/testing/manual_clock.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <memory>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

using namespace relais;
using namespace std::chrono_literals;
namespace net = boost::asio;

namespace {

// One watched end of a connected pair; the other end is the test's.
struct pair_of_sockets {
    explicit pair_of_sockets(waiter_kind kind) : w({.waiter = kind, .time = &clock}) {
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
        worker::scoped_current on(w);
        int error = 0;
        g = w.watch(ends[0], error);
        REQUIRE(error == 0);
        settle(); // what there is at first: it can be written to
    }
    ~pair_of_sockets() {
        worker::scoped_current on(w);
        if (g)
            w.unwatch(ends[0], g);
        ::close(ends[0]);
        if (ends[1] >= 0)
            ::close(ends[1]);
    }
    void settle() {
        while (w.poll() != 0)
            ;
    }
    void send(char const* text) { REQUIRE(::write(ends[1], text, 1) == 1); }

    testing::manual_clock clock;
    worker w;
    int ends[2];
    detail::readiness_gate* g = nullptr;
};

waiter_kind both() {
    return GENERATE(waiter_kind::native, waiter_kind::portable);
}

} // namespace

TEST_CASE("waiter: tells what became possible, and only that") {
    pair_of_sockets p(both());
    CHECK(p.g->writable);
    CHECK_FALSE(p.g->readable);
    CHECK_FALSE(p.g->hung_up);
    p.send("a");
    p.settle();
    CHECK(p.g->readable);
    CHECK_FALSE(p.g->hung_up);
}

TEST_CASE("waiter: a wait ends when bytes come, when its time is over, or when it is cancelled") {
    pair_of_sockets p(both());
    worker::scoped_current on(p.w);
    std::optional<wait_result> got;
    net::cancellation_signal signal;
    if (p.g->again)
        p.g->again->want_read();
    wait_at(p.g->reader, 1s,
            net::bind_cancellation_slot(signal.slot(), [&](wait_result r) { got = r; }));
    p.settle();
    CHECK(p.g->reader.occupied());
    REQUIRE_FALSE(got);
    SECTION("bytes") {
        p.send("a");
        p.settle();
        CHECK(got == wait_result::ready);
        CHECK(p.g->readable);
    }
    SECTION("time") {
        p.clock.advance(p.w, 950ms);
        CHECK_FALSE(got);
        p.clock.advance(p.w, 150ms);
        CHECK(got == wait_result::timed_out);
    }
    SECTION("cancellation, of each type, from the event loop") {
        auto type = GENERATE(net::cancellation_type::terminal, net::cancellation_type::partial,
                             net::cancellation_type::total);
        signal.emit(type);
        CHECK_FALSE(got);
        p.settle();
        CHECK(got == wait_result::cancelled);
    }
    SECTION("the peer's end") {
        ::shutdown(p.ends[1], SHUT_WR);
        p.settle();
        CHECK(got == wait_result::ready);
        CHECK(p.g->hung_up);
    }
    SECTION("the close on this side") {
        p.g->close();
        CHECK_FALSE(got);
        p.settle();
        CHECK(got == wait_result::cancelled);
    }
    CHECK_FALSE(p.g->reader.occupied());
    got.reset();
    p.clock.advance(p.w, 2s);
    CHECK_FALSE(got); // nothing is left of the wait
}

TEST_CASE("waiter: writing becomes possible once the peer has read") {
    pair_of_sockets p(both());
    worker::scoped_current on(p.w);
    std::string const much(64 * 1024, 'x');
    while (::write(p.ends[0], much.data(), much.size()) > 0)
        ;
    p.g->writable = false;
    bool ready = false;
    if (p.g->again)
        p.g->again->want_write();
    wait_at(p.g->writer, 0s, [&](wait_result r) { ready = r == wait_result::ready; });
    p.settle();
    CHECK_FALSE(ready);
    std::string into(much.size(), '\0');
    while (::read(p.ends[1], into.data(), into.size()) > 0)
        ;
    p.settle();
    CHECK(ready);
    CHECK(p.g->writable);
}

TEST_CASE("waiter: an observer is told once that the peer hung up, and after a close nothing") {
    pair_of_sockets p(both());
    int told = 0;
    p.g->observe_hang_up([](void* n) { ++*static_cast<int*>(n); }, &told);
    p.settle();
    CHECK(told == 0);
    bool closed = GENERATE(false, true);
    if (closed)
        p.g->close();
    ::close(std::exchange(p.ends[1], -1));
    p.settle();
    CHECK(told == (closed ? 0 : 1));
    CHECK(p.g->hung_up);
}

TEST_CASE("waiter: a cancellation that comes after the wait reaches nobody") {
    pair_of_sockets p(both());
    worker::scoped_current on(p.w);
    net::cancellation_signal signal;
    auto slot = std::make_unique<wait_slot>();
    std::optional<wait_result> first, second;
    wait_at(*slot, 0s,
            net::bind_cancellation_slot(signal.slot(), [&](wait_result r) { first = r; }));
    SECTION("not the next one at this place") {
        slot->wake(wait_result::ready);
        wait_at(*slot, 0s, [&](wait_result r) { second = r; });
        signal.emit(net::cancellation_type::terminal);
        p.settle();
        CHECK(first == wait_result::ready);
        CHECK_FALSE(second);
        slot->abandon();
    }
    SECTION("nor a place that is gone after the wait") {
        slot->wake(wait_result::ready);
        slot.reset();
        signal.emit(net::cancellation_type::terminal);
    }
    SECTION("nor a place that went after a first cancellation") {
        signal.emit(net::cancellation_type::terminal);
        slot.reset();
        signal.emit(net::cancellation_type::terminal);
        p.settle();
        CHECK(first == wait_result::cancelled);
    }
}

TEST_CASE("waiter: what wakes one of two joined places wakes who waits at the other, once") {
    wait_slot one, other;
    std::optional<wait_result> got;
    one.join(other);
    wait_at(one, 0s, [&](wait_result r) { got = r; });
    other.wake(wait_result::ready);
    CHECK(got == wait_result::ready);
    got.reset();
    wait_at(one, 0s, [&](wait_result r) { got = r; });
    other.wake(wait_result::ready);
    CHECK_FALSE(got); // joined for one wait
    one.wake(wait_result::ready);
    CHECK(got == wait_result::ready);
}

TEST_CASE("waiter: a wait at joined places can be ended at either of them") {
    pair_of_sockets p(waiter_kind::native);
    worker::scoped_current on(p.w);
    wait_slot one, other;
    std::optional<wait_result> got;
    one.join(other);
    wait_at(one, 0s, [&](wait_result r) { got = r; });
    (GENERATE(false, true) ? other : one).cancel();
    CHECK_FALSE(got); // from the event loop
    p.settle();
    CHECK(got == wait_result::cancelled);
}

TEST_CASE("waiter: descriptors that always have something leave the event loop its turn") {
    auto kind = both();
    worker w({.waiter = kind});
    worker::scoped_current on(w);
    struct busy { // reads a byte and sends itself the next one
        int ends[2];
        detail::readiness_gate* g = nullptr;
        int* told = nullptr;
        void go() {
            char one;
            while (::read(ends[0], &one, 1) == 1)
                ;
            REQUIRE(::write(ends[1], "x", 1) == 1);
            if (g->again)
                g->again->want_read();
            wait_at(g->reader, 0s, [this](wait_result r) {
                if (r != wait_result::ready)
                    return;
                ++*told;
                go();
            });
        }
    };
    int told = 0;
    busy both_ends[2];
    for (auto& b : both_ends) {
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b.ends) == 0);
        int error = 0;
        b.g = w.watch(b.ends[0], error);
        b.told = &told;
        b.go();
    }
    bool had_a_turn = false;
    for (int i = 0; i < 10; ++i) // each goes through the descriptors at most once
        w.context().poll_one();
    int const before = told;
    w.post([&] { had_a_turn = true; });
    for (int i = 0; i < 10 && !had_a_turn; ++i)
        w.context().poll_one();
    CHECK(had_a_turn);
    CHECK(before > 0);
    CHECK(told - before < 2000);
    for (auto& b : both_ends) {
        w.unwatch(b.ends[0], b.g);
        ::close(b.ends[0]);
        ::close(b.ends[1]);
    }
}
