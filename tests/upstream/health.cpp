#include "catch.hpp"
#include "upstream/at_once.hpp"

#include <relais/upstream/health.hpp>

#include <atomic>
#include <cmath>
#include <string>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;

namespace {

// A server whose time is moved by hand, and what is noticed of its changes.
struct judged {
    explicit judged(server_health_options options = {}) : health(options, changes) {}

    // Something has changed since the last call.
    bool changed() { return changes.exchange(0) != 0; }

    void fail(int times = 1, failure_kind kind = failure_kind::exchange) {
        for (; times > 0; --times)
            health.failed(health.enter(now), kind, now);
    }
    void succeed() { health.succeeded(health.enter(now), now); }
    void check(bool good, int times = 1) {
        for (; times > 0; --times)
            health.checked(good, now);
    }
    bool available() const { return health.available(now); }

    // How long it is not available from now on, in seconds; nothing moves.
    double waits() const {
        if (available())
            return 0;
        auto const next = health.next_change(now);
        return next == next.max() ? HUGE_VAL : std::chrono::duration<double>(next - now).count();
    }

    std::atomic<std::uint64_t> changes{0};
    server_health health;
    server_health::time_point now{100'000s};
};

} // namespace

TEST_CASE("health: a server is well at first") {
    judged s;
    CHECK(s.health.state() == health_state::healthy);
    CHECK(s.available());
    CHECK(s.health.share(s.now) == 1);
    CHECK(s.health.next_change(s.now) == s.now.max());
    auto const in = s.health.enter(s.now);
    CHECK(in);
    CHECK_FALSE(in.on_trial());
    CHECK_FALSE(s.changed());
}

TEST_CASE("health: failures in a row eject a server") {
    judged s({.passive = {.failures = 3}});
    s.fail(2);
    s.succeed();
    s.fail(2);
    CHECK(s.available());
    CHECK(s.health.counts().failures_in_a_row == 2);
    CHECK_FALSE(s.changed());
    s.fail();
    CHECK_FALSE(s.available());
    CHECK(s.changed());
    CHECK(s.health.state() == health_state::ejected);
    CHECK_FALSE(s.health.enter(s.now));
    CHECK(s.waits() == 10);
    CHECK(s.health.counts().ejections == 1);
    CHECK(s.health.counts().failed_exchanges == 5);
}

TEST_CASE("health: failures that are far apart are no row") {
    judged s({.passive = {.failures = 3, .window = 10s}});
    for (int i = 0; i < 10; ++i) {
        s.fail(2);
        s.now += 10s + 1ms;
    }
    CHECK(s.available());
    // each within the window of the one before
    s.fail();
    s.now += 10s;
    s.fail();
    s.now += 10s;
    s.fail();
    CHECK_FALSE(s.available());
}

TEST_CASE("health: without a number of failures none ejects") {
    judged s({.passive = {.failures = 0}});
    s.fail(1000);
    CHECK(s.available());
    CHECK(s.health.counts().failed_exchanges == 1000);
}

TEST_CASE("health: which exchanges count as failures") {
    struct row {
        end_reason why;
        unsigned status;
        char const* what;
    };
    auto const r = GENERATE(values<row>({
        {end_reason::completed, 200, "success"},
        {end_reason::completed, 404, "success"},
        {end_reason::completed, 503, "failure"},
        {end_reason::completed, 500, "success"},
        {end_reason::completed, 0, "nothing"},
        {end_reason::connect_refused, 0, "failure"},
        {end_reason::first_byte_timeout, 0, "failure"},
        {end_reason::response_incomplete, 200, "failure"},
        {end_reason::client_left, 0, "nothing"},
        {end_reason::client_left, 200, "success"},
        {end_reason::client_left, 503, "failure"},
        {end_reason::body_timeout, 0, "nothing"},
        {end_reason::tunnel_idle, 101, "success"},
        {end_reason::shutting_down, 0, "nothing"},
    }));
    CAPTURE(word_of(r.why), r.status);
    judged s({.passive = {.failures = 3, .failure_statuses = {502, 503}}});
    s.fail(2);
    s.health.ended(s.health.enter(s.now), r.why, r.status, s.now);
    std::string const what = r.what;
    CHECK(s.available() == (what != "failure"));
    s.fail();
    CHECK(s.available() == (what == "success"));
    bool const by_status = what == "failure" && r.status == 503;
    CHECK(s.health.counts().failed_statuses == by_status);

    // and each of them gives its place back
    judged tried({.passive = {.failures = 1, .failure_statuses = {502, 503}}});
    tried.fail();
    tried.now += 10s;
    auto const in = tried.health.enter(tried.now);
    REQUIRE(in.on_trial());
    tried.health.ended(in, r.why, r.status, tried.now);
    CHECK(tried.health.state() == (what == "success"   ? health_state::healthy
                                   : what == "failure" ? health_state::ejected
                                                       : health_state::half_open));
    CHECK(tried.available() == (what != "failure"));
}

TEST_CASE("health: after an ejection one exchange tries the server") {
    judged s({.passive = {.failures = 1}});
    s.fail();
    s.now += 9'999ms;
    CHECK_FALSE(s.health.enter(s.now));
    s.now += 1ms;
    CHECK(s.available());
    CHECK(s.changed());
    auto const probe = s.health.enter(s.now);
    CHECK(probe.on_trial());
    CHECK(s.health.state() == health_state::half_open);
    CHECK(s.changed()); // no more are wanted
    CHECK_FALSE(s.available());
    CHECK_FALSE(s.health.enter(s.now));
    CHECK(s.health.next_change(s.now) == s.now.max());

    SECTION("that says nothing") {
        s.health.abandon(probe);
        CHECK(s.changed());
        CHECK(s.available());
        auto const next = s.health.enter(s.now);
        CHECK(next.on_trial());
        CHECK_FALSE(s.health.enter(s.now));
    }
    SECTION("that succeeds") {
        s.health.succeeded(probe, s.now);
        CHECK(s.changed());
        CHECK(s.health.state() == health_state::healthy);
        CHECK_FALSE(s.health.enter(s.now).on_trial());
        CHECK(s.health.share(s.now) == 1);
    }
    SECTION("that fails, though it takes more to eject one that is well") {
        judged t({.passive = {.failures = 3, .ejection = 20s}});
        t.fail(3);
        t.now += 20s;
        t.fail();
        CHECK(t.health.state() == health_state::ejected);
        CHECK(t.waits() == 40);
    }
    SECTION("that fails") {
        s.health.failed(probe, failure_kind::exchange, s.now);
        CHECK(s.changed());
        CHECK(s.health.state() == health_state::ejected);
        CHECK(s.waits() == 20);
        CHECK(s.health.counts().ejections == 2);
    }
}

TEST_CASE("health: as many try it as there are probes") {
    judged s({.passive = {.failures = 1, .probes = 3}});
    s.fail();
    s.now += 10s;
    CHECK(s.changed());
    auto const one = s.health.enter(s.now), two = s.health.enter(s.now);
    CHECK_FALSE(s.changed());
    CHECK(s.available());
    auto const three = s.health.enter(s.now);
    CHECK(s.changed());
    CHECK_FALSE(s.health.enter(s.now));
    s.health.abandon(two);
    CHECK(s.changed());
    s.health.abandon(three);
    CHECK_FALSE(s.changed()); // there was a place before
    auto const four = s.health.enter(s.now);
    CHECK(four.on_trial());
    s.health.failed(one, failure_kind::exchange, s.now);
    CHECK(s.waits() == 20);
    // the others come too late to say anything, now and when it is tried again
    s.health.succeeded(four, s.now);
    CHECK(s.health.state() == health_state::ejected);
    s.now += 20s;
    auto const five = s.health.enter(s.now);
    CHECK(five.on_trial());
    s.health.abandon(four);
    s.health.failed(four, failure_kind::exchange, s.now);
    s.health.succeeded(four, s.now);
    CHECK(s.health.state() == health_state::half_open);
    CHECK(s.health.enter(s.now));
    CHECK(s.health.enter(s.now));
    CHECK_FALSE(s.health.enter(s.now));
}

TEST_CASE("health: who began before an ejection has no say after it") {
    judged s({.passive = {.failures = 2}});
    std::vector<admission> before;
    for (int i = 0; i < 10; ++i)
        before.push_back(s.health.enter(s.now));
    s.health.failed(before[0], failure_kind::exchange, s.now);
    s.health.failed(before[1], failure_kind::exchange, s.now);
    CHECK(s.waits() == 10);
    s.health.failed(before[2], failure_kind::exchange, s.now);
    s.health.failed(before[3], failure_kind::exchange, s.now);
    CHECK(s.health.counts().ejections == 1);
    s.health.succeeded(before[4], s.now);
    CHECK(s.waits() == 10);
    s.now += 10s;
    auto const probe = s.health.enter(s.now);
    s.health.abandon(before[5]);
    CHECK_FALSE(s.health.enter(s.now));
    s.health.failed(before[6], failure_kind::exchange, s.now);
    CHECK(s.health.state() == health_state::half_open);
    s.health.succeeded(probe, s.now);
    s.fail();
    s.health.failed(before[7], failure_kind::exchange, s.now);
    CHECK(s.available());
    s.health.succeeded(before[8], s.now);
    s.fail();
    CHECK_FALSE(s.available());

    // nor are its failures counted with those of the present
    judged t({.passive = {.failures = 3}});
    auto const early = t.health.enter(t.now);
    t.fail(3);
    t.now += 10s;
    t.succeed();
    CHECK(t.health.counts().failures_in_a_row == 0);
    t.fail();
    t.health.failed(early, failure_kind::exchange, t.now);
    t.fail();
    CHECK(t.available());
    t.fail();
    CHECK_FALSE(t.available());

    // those that were not let in say nothing either
    s.health.failed(admission(), failure_kind::exchange, s.now);
    s.health.succeeded(admission(), s.now);
    s.health.abandon(admission());
    CHECK(s.health.counts().ejections == 2);
    CHECK(s.health.state() == health_state::ejected);
}

TEST_CASE("health: ejections in a row last longer and longer") {
    judged s({.passive = {.failures = 1, .ejection = 10s, .max_ejection = 60s}});
    for (double const lasts : {10, 20, 40, 60, 60}) {
        s.fail();
        CHECK(s.waits() == lasts);
        s.now = s.health.next_change(s.now);
    }
    // that it comes back for a moment is no end of the row
    s.succeed();
    s.now += 59s;
    s.fail();
    CHECK(s.waits() == 60);
    s.now += 60s;
    s.succeed();
    s.now += 60s;
    s.fail();
    CHECK(s.waits() == 10);
    for (int i = 0; i < 100; ++i) {
        s.now = s.health.next_change(s.now);
        s.fail();
    }
    CHECK(s.waits() == 60);

    judged forever({.passive = {.failures = 1,
                                .ejection = std::chrono::milliseconds::max(),
                                .max_ejection = std::chrono::milliseconds::max()}});
    forever.fail();
    CHECK(forever.waits() > 1e8);
}

TEST_CASE("health: a server that came back starts slowly") {
    judged s({.passive = {.failures = 1}, .slow_start = 90s});
    CHECK(s.health.share(s.now) == 1);
    s.fail();
    s.now += 10s;
    CHECK(s.health.share(s.now) == 1); // few are let through anyway
    s.succeed();
    s.changed();
    auto const back = s.now;
    for (int step = 1; step <= 9; ++step) {
        CAPTURE(step);
        CHECK(s.health.share(s.now) == Approx(step / 10.0));
        CHECK(s.health.share(s.now + 9'999ms) == Approx(step / 10.0));
        CHECK(s.health.next_change(s.now) == back + step * 10s);
        s.now = s.health.next_change(s.now);
    }
    CHECK(s.health.share(s.now) == 1);
    CHECK(s.health.next_change(s.now) == s.now.max());
    CHECK_FALSE(s.changed());

    // by steps that are no whole numbers, each is reached when it is said to be
    judged odd({.passive = {.failures = 1}, .slow_start = 1ms});
    odd.fail();
    odd.now += 10s;
    odd.succeed();
    for (int step = 1; step <= 9; ++step) {
        CHECK(odd.health.share(odd.now) == Approx(step / 10.0));
        odd.now = odd.health.next_change(odd.now);
    }
    CHECK(odd.health.share(odd.now) == 1);
}

TEST_CASE("health: checks take a server down and up") {
    judged s({.passive = {.failures = 1}, .rise = 2, .fall = 3, .slow_start = 9s});
    s.check(true, 5);
    CHECK_FALSE(s.changed());
    CHECK(s.health.share(s.now) == 1);
    s.check(false, 2);
    s.check(true);
    s.check(false, 2);
    CHECK(s.available());
    auto const in = s.health.enter(s.now);
    s.check(false);
    CHECK(s.changed());
    CHECK(s.health.state() == health_state::down);
    CHECK_FALSE(s.available());
    CHECK_FALSE(s.health.enter(s.now));
    CHECK(s.waits() == HUGE_VAL);
    CHECK(s.health.counts().downs == 1);
    CHECK(s.health.counts().failed_checks == 5);
    s.check(false, 5);
    s.health.failed(in, failure_kind::exchange, s.now);
    s.health.succeeded(in, s.now);
    CHECK_FALSE(s.changed());
    CHECK(s.health.counts().ejections == 0);

    s.check(true);
    s.check(false);
    s.check(true);
    CHECK_FALSE(s.available());
    s.now += 100s;
    s.check(true);
    CHECK(s.changed());
    CHECK(s.health.state() == health_state::healthy);
    CHECK(s.health.share(s.now) == Approx(0.1));
    s.check(true, 5);
    CHECK_FALSE(s.changed());
}

TEST_CASE("health: checks and exchanges both have to be content") {
    judged s({.passive = {.failures = 1}, .rise = 1, .fall = 1});
    s.fail();
    s.check(true, 10);
    CHECK(s.waits() == 10);
    // who is down is not tried
    s.check(false);
    s.now += 10s;
    CHECK_FALSE(s.health.enter(s.now));
    CHECK(s.waits() == HUGE_VAL);
    // and comes back without the ejection of before
    s.check(true);
    CHECK(s.available());
    CHECK_FALSE(s.health.enter(s.now).on_trial());

    // down while it is tried
    s.fail();
    CHECK(s.waits() == 10);
    s.now += 10s;
    auto const probe = s.health.enter(s.now);
    s.check(false);
    s.health.succeeded(probe, s.now);
    CHECK(s.health.state() == health_state::down);
    s.check(true);
    s.health.failed(probe, failure_kind::exchange, s.now);
    CHECK(s.health.state() == health_state::healthy);
}

TEST_CASE("health: time that goes back does no harm") {
    judged s({.passive = {.failures = 2}, .slow_start = 10s});
    s.fail();
    s.now -= 5s;
    s.fail();
    CHECK_FALSE(s.available());
    s.now += 100s;
    s.succeed();
    s.now -= 50s;
    CHECK(s.health.share(s.now) == Approx(0.1));
    CHECK(s.health.next_change(s.now) > s.now);
    s.now = {};
    CHECK(s.available());

    judged t({.passive = {.failures = 3, .window = 10s}});
    t.fail();
    t.now -= 5s;
    t.fail();
    t.now += 15s;
    t.fail(); // 10 s after the latest one
    CHECK_FALSE(t.available());
}

TEST_CASE("health: options that cannot be kept to are found at start") {
    auto const refused = [](server_health_options const& options, std::string const& why) {
        try {
            server_health::check(options);
        } catch (startup_error const& e) {
            return std::string(e.what()).find(why) != std::string::npos;
        }
        return false;
    };
    CHECK_NOTHROW(server_health::check({}));
    CHECK(refused({.passive = {.failures = 1u << 24}}, ".failures"));
    CHECK(refused({.passive = {.window = 0s}}, ".window"));
    CHECK(refused({.passive = {.ejection = 0s}}, ".ejection"));
    CHECK(refused({.passive = {.ejection = 10s, .max_ejection = 9s}}, "10000 ms"));
    CHECK(refused({.passive = {.probes = 0}}, "0 probes"));
    CHECK(refused({.passive = {.probes = 256}}, "256 probes"));
    CHECK(refused({.passive = {.failure_statuses = {500, 50}}}, "50 in failure_statuses"));
    CHECK(refused({.rise = 0}, "rise"));
    CHECK(refused({.fall = 0}, "fall"));
    CHECK(refused({.slow_start = -1s}, "slow_start"));
}

TEST_CASE("health: too few healthy servers are no reason to refuse requests") {
    CHECK(ignores_health(0, 1, 0));
    CHECK(ignores_health(0, 1, 0.5));
    CHECK_FALSE(ignores_health(0, 4, 0));
    CHECK(ignores_health(0, 4, 0.5));
    CHECK(ignores_health(1, 4, 0.5));
    CHECK_FALSE(ignores_health(2, 4, 0.5));
    CHECK_FALSE(ignores_health(4, 4, 1));
    CHECK(ignores_health(3, 4, 1));
    CHECK_FALSE(ignores_health(0, 0, 0.5));
}

TEST_CASE("health: several threads eject a server once") {
    for (int round = 0; round < 200; ++round) {
        judged s({.passive = {.failures = 5}});
        at_once(4, [&](unsigned) {
            for (int i = 0; i < 5; ++i)
                s.health.failed(s.health.enter(s.now), failure_kind::exchange, s.now);
        });
        REQUIRE(s.health.counts().ejections == 1);
        REQUIRE(s.changes == 1);
        REQUIRE(s.waits() == 10);
        REQUIRE(s.health.counts().failed_exchanges == 20);
    }
}

TEST_CASE("health: several threads take no more than the places there are, and lose none") {
    for (unsigned const probes : {1u, 3u}) {
        judged s({.passive = {.failures = 1, .probes = probes}});
        s.fail();
        s.now += 10s;
        std::atomic<unsigned> inside{0}, most{0}, entered{0};
        at_once(4, [&](unsigned) {
            for (int i = 0; i < 5000; ++i) {
                auto const in = s.health.enter(s.now);
                if (!in)
                    continue;
                auto const present = ++inside;
                for (auto m = most.load(); m < present && !most.compare_exchange_weak(m, present);)
                    ;
                ++entered;
                --inside;
                s.health.abandon(in);
            }
        });
        CHECK(most <= probes);
        CHECK(entered > 0);
        for (unsigned i = 0; i < probes; ++i)
            CHECK(s.health.enter(s.now).on_trial());
        CHECK_FALSE(s.health.enter(s.now));
    }
}

TEST_CASE("health: several threads with all there is end in a state that is in order") {
    judged s({.passive = {.failures = 2, .ejection = 1ms, .max_ejection = 4ms, .probes = 2},
              .rise = 1,
              .fall = 1,
              .slow_start = 1ms});
    std::atomic<std::int64_t> time{0};
    at_once(4, [&](unsigned thread) {
        for (int i = 0; i < 20'000; ++i) {
            auto const now = s.now + std::chrono::microseconds(time += 10);
            if (i % 100 == 0 && thread == 0)
                s.health.checked(i % 200 == 0, now);
            auto const in = s.health.enter(now);
            if (!in) {
                (void)s.health.next_change(now);
                continue;
            }
            switch ((i + static_cast<int>(thread)) % 5) {
            case 0: s.health.succeeded(in, now); break;
            case 1: s.health.abandon(in); break;
            default: s.health.failed(in, failure_kind::exchange, now); break;
            }
        }
    });
    CHECK(s.health.counts().ejections > 10);
    CHECK(s.health.counts().downs == 100);
    s.now += 1h;
    s.check(false);
    s.check(true);
    CHECK(s.available());
    // every place is there
    s.fail(2);
    s.now += 1s;
    CHECK(s.health.enter(s.now).on_trial());
    CHECK(s.health.enter(s.now).on_trial());
    CHECK_FALSE(s.health.enter(s.now));
}
