#include "catch.hpp"
#include "upstream/at_once.hpp"

#include <relais/upstream/circuit_breaker.hpp>

#include <string>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;

namespace {

struct guarded {
    explicit guarded(circuit_breaker_options options) : breaker(options) {}

    // '.' is an exchange that succeeds, 'x' one that fails, '-' one that is abandoned; says what became of the last one.
    bool play(std::string const& what) {
        bool let_in = true;
        for (char const c : what) {
            auto const in = breaker.enter(now);
            let_in = static_cast<bool>(in);
            if (c == '.')
                breaker.succeeded(in, now);
            else if (c == 'x')
                breaker.failed(in, now);
            else
                breaker.abandon(in);
        }
        return let_in;
    }

    circuit_breaker breaker;
    circuit_breaker::time_point now{1000s};
};

} // namespace

TEST_CASE("circuit_breaker: off, everything passes") {
    guarded g({});
    CHECK(g.play(std::string(1000, 'x')));
    CHECK(g.breaker.state() == circuit_state::closed);
    CHECK(g.breaker.openings() == 0);
}

TEST_CASE("circuit_breaker: failures among the last exchanges open it") {
    struct row {
        char const* what;
        bool open;
    };
    auto const r = GENERATE(values<row>({
        {"xx", false},
        {"xxx", true},
        {"x.x.x", true},
        {"x..x.x", false}, // the first one is six back
        {"xx...xx", false},
        {"xx..x", true},
        {"x--x--x", true}, // what says nothing is not counted
        {".....xx", false},
        {".....xxx", true},
        {"xx...x.x", false},
        {"xx...x.xx", true},
    }));
    CAPTURE(r.what);
    guarded g({.failures = 3, .of = 5});
    CHECK(g.play(r.what));
    CHECK((g.breaker.state() == circuit_state::open) == r.open);
    CHECK(static_cast<bool>(g.breaker.enter(g.now)) == !r.open);
}

TEST_CASE("circuit_breaker: old failures do not count") {
    guarded g({.failures = 3, .of = 100, .window = 10s});
    g.play("xx");
    g.now += 10s + 1ms;
    g.play("x");
    CHECK(g.breaker.state() == circuit_state::closed);
    g.now += 5s;
    g.play("x");
    CHECK(g.breaker.state() == circuit_state::closed);
    g.now += 5s;
    g.play("x");
    CHECK(g.breaker.state() == circuit_state::open);
}

TEST_CASE("circuit_breaker: how exchanges end") {
    auto const opens = [&](end_reason why, unsigned status) {
        guarded one({.failures = 1, .of = 1, .failure_statuses = {503}});
        one.breaker.ended(one.breaker.enter(one.now), why, status, one.now);
        return one.breaker.state() == circuit_state::open;
    };
    CHECK_FALSE(opens(end_reason::completed, 200));
    CHECK_FALSE(opens(end_reason::completed, 500));
    CHECK(opens(end_reason::completed, 503));
    CHECK(opens(end_reason::connect_refused, 0));
    CHECK_FALSE(opens(end_reason::client_left, 0));
    CHECK_FALSE(opens(end_reason::no_upstream, 0));

    guarded tried({.failures = 1, .of = 1, .successes = 1});
    tried.play("x");
    tried.now += 5s;
    auto in = tried.breaker.enter(tried.now);
    tried.breaker.ended(in, end_reason::client_left, 0, tried.now);
    CHECK(tried.breaker.state() == circuit_state::half_open);
    in = tried.breaker.enter(tried.now);
    CHECK(in.on_trial());
    tried.breaker.ended(in, end_reason::completed, 200, tried.now);
    CHECK(tried.breaker.state() == circuit_state::closed);
}

TEST_CASE("circuit_breaker: open, it says when to come again") {
    guarded g({.failures = 1, .of = 1, .open_for = 4500ms});
    g.play("x");
    CHECK(g.breaker.retry_after(g.now) == 5s);
    CHECK(g.breaker.retry_after(g.now + 1s) == 4s);
    CHECK(g.breaker.retry_after(g.now + 4499ms) == 1s);
    CHECK(g.breaker.retry_after(g.now + 1h) == 1s);
    g.now += 4499ms;
    CHECK_FALSE(g.breaker.enter(g.now));
    g.now += 1ms;
    CHECK(g.breaker.enter(g.now).on_trial());
    CHECK(g.breaker.retry_after(g.now) == 1s);
}

TEST_CASE("circuit_breaker: a few successes close it") {
    guarded g({.failures = 2, .of = 10, .successes = 3});
    g.play("xx");
    g.now += 5s;
    CHECK(g.play("."));
    CHECK(g.breaker.state() == circuit_state::half_open);
    auto const one = g.breaker.enter(g.now);
    CHECK(one.on_trial());
    CHECK_FALSE(g.breaker.enter(g.now));
    g.breaker.abandon(one);
    CHECK(g.play("."));
    CHECK(g.breaker.state() == circuit_state::half_open);
    CHECK(g.play("."));
    CHECK(g.breaker.state() == circuit_state::closed);
    // and nothing of before is counted
    g.play("x");
    CHECK(g.breaker.state() == circuit_state::closed);
    g.play("x");
    CHECK(g.breaker.state() == circuit_state::open);
    CHECK(g.breaker.openings() == 2);
}

TEST_CASE("circuit_breaker: one failure opens it again") {
    guarded g({.failures = 2, .of = 10, .probes = 2, .successes = 3});
    g.play("xx");
    auto const late = g.breaker.enter(g.now);
    CHECK_FALSE(late);
    g.now += 5s;
    g.play("..");
    auto const one = g.breaker.enter(g.now), two = g.breaker.enter(g.now);
    CHECK_FALSE(g.breaker.enter(g.now));
    g.breaker.failed(one, g.now);
    CHECK(g.breaker.state() == circuit_state::open);
    g.breaker.succeeded(two, g.now);
    g.breaker.failed(two, g.now);
    CHECK(g.breaker.openings() == 2);
    CHECK(g.breaker.retry_after(g.now) == 5s);
    g.now += 5s;
    // the successes of before do not count
    g.play("..");
    CHECK(g.breaker.state() == circuit_state::half_open);
    g.play(".");
    CHECK(g.breaker.state() == circuit_state::closed);
}

TEST_CASE("circuit_breaker: who began before it opened has no say after that") {
    guarded g({.failures = 2, .of = 10, .successes = 1});
    std::vector<admission> before;
    for (int i = 0; i < 8; ++i)
        before.push_back(g.breaker.enter(g.now));
    g.play("xx");
    g.breaker.failed(before[0], g.now);
    g.breaker.succeeded(before[1], g.now);
    CHECK(g.breaker.openings() == 1);
    g.now += 5s;
    auto const probe = g.breaker.enter(g.now);
    g.breaker.failed(before[2], g.now);
    g.breaker.succeeded(before[3], g.now);
    g.breaker.abandon(before[4]);
    CHECK(g.breaker.state() == circuit_state::half_open);
    CHECK_FALSE(g.breaker.enter(g.now));
    g.breaker.succeeded(probe, g.now);
    for (auto const i : {5u, 6u, 7u})
        g.breaker.failed(before[i], g.now);
    CHECK(g.breaker.state() == circuit_state::closed);

    guarded h({.failures = 2, .of = 2, .successes = 1});
    auto const early = h.breaker.enter(h.now);
    h.play("xx");
    h.now += 5s;
    h.play(".x");
    h.breaker.succeeded(early, h.now);
    h.play("x");
    CHECK(h.breaker.state() == circuit_state::open);
}

TEST_CASE("circuit_breaker: options that cannot be kept to are found at start") {
    auto const refused = [](circuit_breaker_options const& options, std::string const& why) {
        try {
            circuit_breaker::check(options);
        } catch (startup_error const& e) {
            return std::string(e.what()).find(why) != std::string::npos;
        }
        return false;
    };
    CHECK_NOTHROW(circuit_breaker::check({}));
    CHECK_NOTHROW(circuit_breaker::check({.failures = 100}));
    CHECK(refused({.failures = 101}, ".of"));
    CHECK(refused({.failures = 1, .of = 10'001}, ".of"));
    CHECK_NOTHROW(circuit_breaker({.failures = 1, .of = ~0u})); // it may be made before
    CHECK(refused({.failures = 1, .window = 0s}, ".window"));
    CHECK(refused({.failures = 1, .open_for = 0s}, ".open_for"));
    CHECK(refused({.failures = 1, .probes = 0}, "0 probes"));
    CHECK(refused({.failures = 1, .probes = 256}, "256 probes"));
    CHECK(refused({.failures = 1, .successes = 0}, "0 successes"));
    CHECK(refused({.failures = 1, .successes = 32}, "32 successes"));
    CHECK(refused({.failures = 1, .failure_statuses = {5000}}, "5000"));
}

TEST_CASE("circuit_breaker: several threads open it once, and count right") {
    for (int round = 0; round < 200; ++round) {
        guarded g({.failures = 20, .of = 1000});
        at_once(4, [&](unsigned) {
            for (int i = 0; i < 5; ++i)
                g.breaker.failed(g.breaker.enter(g.now), g.now);
        });
        REQUIRE(g.breaker.openings() == 1); // the last one of them
    }
    for (int round = 0; round < 200; ++round) {
        guarded g({.failures = 20, .of = 1000});
        at_once(4, [&](unsigned i) { g.play(i == 0 ? "xxxx" : "x.x.x.x.x."); });
        REQUIRE(g.breaker.openings() == 0);
        g.play("x");
        REQUIRE(g.breaker.openings() == 1);
    }
}

TEST_CASE("circuit_breaker: several threads leave every place behind") {
    guarded g({.failures = 2, .of = 4, .open_for = 1ms, .probes = 3, .successes = 2});
    std::atomic<std::int64_t> time{0};
    at_once(4, [&](unsigned thread) {
        for (int i = 0; i < 20'000; ++i) {
            auto const now = g.now + std::chrono::microseconds(time += 10);
            auto const in = g.breaker.enter(now);
            switch ((i + static_cast<int>(thread)) % 4) {
            case 0: g.breaker.succeeded(in, now); break;
            case 1: g.breaker.abandon(in); break;
            default: g.breaker.failed(in, now); break;
            }
        }
    });
    CHECK(g.breaker.openings() > 10);
    g.now += 1h;
    g.play("xx.");
    g.now += 1h;
    g.play("xx.");
    REQUIRE(g.breaker.state() == circuit_state::open);
    g.now += 1s;
    for (int i = 0; i < 3; ++i)
        CHECK(g.breaker.enter(g.now).on_trial());
    CHECK_FALSE(g.breaker.enter(g.now));
}
