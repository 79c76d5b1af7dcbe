#include "catch.hpp"

#include <relais/core/deadline.hpp>

#include <chrono>
#include <memory>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;

namespace {

// Writes down when it expired, and does what it is told to.
struct note : deadline {
    explicit note(deadline_wheel& w) : deadline(&note::expire), wheel(w) {}
    static void expire(deadline& d) {
        auto& self = static_cast<note&>(d);
        self.at.push_back(self.wheel.now());
        if (self.again) {
            self.wheel.arm(self, self.again);
            self.again = 0;
        }
        self.victim.reset(); // last: it may be this very node
    }

    deadline_wheel& wheel;
    std::vector<ticks> at;
    ticks again = 0;
    std::unique_ptr<note> victim;
};

constexpr ticks turn = 2048; // buckets of a wheel

} // namespace

TEST_CASE("deadline: a limit is rounded up, and zero is none") {
    CHECK(deadline_wheel::ticks_of(0ms) == 0);
    CHECK(deadline_wheel::ticks_of(-1ms) == 0);
    // The tick that runs has begun already, so one more than the quotient rounded up.
    CHECK(deadline_wheel::ticks_of(1ms) == 2);
    CHECK(deadline_wheel::ticks_of(49ms) == 2);
    CHECK(deadline_wheel::ticks_of(50ms) == 3);
    CHECK(deadline_wheel::ticks_of(1s) == 22);
    CHECK(deadline_wheel::ticks_of(std::chrono::hours(1000000)) == 0x7fffffff);
}

TEST_CASE("deadline: expires once, at its tick, whatever the distance") {
    auto after = GENERATE(ticks(1), ticks(2), ticks(100), turn - 1, turn, turn + 1, 5 * turn + 7);
    deadline_wheel wheel(nullptr, nullptr);
    note n(wheel);
    auto begin = wheel.now();
    wheel.arm(n, after);
    CHECK(n.is_armed());
    for (ticks i = 1; i < after; ++i)
        wheel.advance_to(begin + i);
    CHECK(n.at.empty());
    CHECK(n.is_armed());
    wheel.advance_to(begin + after);
    CHECK(n.at == std::vector<ticks>{begin + after});
    CHECK_FALSE(n.is_armed());
    CHECK(wheel.empty());
    wheel.advance_to(begin + after + 3 * turn);
    CHECK(n.at.size() == 1);
}

TEST_CASE("deadline: nothing left to wait for expires at the next tick") {
    deadline_wheel wheel(nullptr, nullptr);
    note n(wheel);
    wheel.arm(n, 0);
    wheel.advance_to(wheel.now() + 1);
    CHECK(n.at.size() == 1);
}

TEST_CASE("deadline: armed again for later it stays where it is and moves when its bucket comes") {
    deadline_wheel wheel(nullptr, nullptr);
    note n(wheel);
    wheel.arm(n, 10); // at 11
    wheel.advance_to(6);
    wheel.arm(n, 10); // at 16
    wheel.advance_to(15);
    CHECK(n.at.empty());
    wheel.advance_to(20);
    CHECK(n.at == std::vector<ticks>{16});
}

TEST_CASE("deadline: armed again for earlier it moves at once") {
    deadline_wheel wheel(nullptr, nullptr);
    note n(wheel);
    wheel.arm(n, 1000);
    wheel.arm(n, 3); // at 4
    wheel.advance_to(1100);
    CHECK(n.at == std::vector<ticks>{4});
}

TEST_CASE("deadline: disarmed it is silent, and can be armed anew before and after its bucket") {
    deadline_wheel wheel(nullptr, nullptr);
    note n(wheel);
    wheel.arm(n, 10); // at 11
    n.disarm();
    CHECK_FALSE(n.is_armed());
    CHECK_FALSE(wheel.empty()); // disarming does not unlink
    wheel.advance_to(5);
    SECTION("before") {
        wheel.arm(n, 20); // at 25
        wheel.advance_to(30);
        CHECK(n.at == std::vector<ticks>{25});
    }
    SECTION("before, and earlier than the bucket in which it lies") {
        wheel.arm(n, 2); // at 7
        wheel.advance_to(30);
        CHECK(n.at == std::vector<ticks>{7});
    }
    SECTION("after") {
        wheel.advance_to(30);
        CHECK(n.at.empty());
        CHECK(wheel.empty());
        wheel.arm(n, 2);
        wheel.advance_to(40);
        CHECK(n.at == std::vector<ticks>{32});
    }
}

TEST_CASE("deadline: a node arms itself again while it expires") {
    deadline_wheel wheel(nullptr, nullptr);
    note n(wheel);
    n.again = GENERATE(ticks(1), ticks(5), turn, turn + 3);
    auto again = n.again;
    wheel.arm(n, 4); // at 5
    while (wheel.now() < 5 + again + turn)
        wheel.advance_to(wheel.now() + 1);
    CHECK(n.at == std::vector<ticks>{5, 5 + again});
}

TEST_CASE("deadline: a node is destroyed by another one during a sweep") {
    deadline_wheel wheel(nullptr, nullptr);
    note first(wheel);
    note last(wheel);
    first.victim = std::make_unique<note>(wheel);
    auto& victim = *first.victim;
    SECTION("next in the same bucket") {
        wheel.arm(first, 3);
        wheel.arm(victim, 3);
        wheel.arm(last, 3);
    }
    SECTION("the rest of the bucket comes sooner than it") {
        wheel.arm(first, 3);
        wheel.arm(last, 3);
        wheel.arm(victim, 3);
    }
    SECTION("in a later bucket") {
        wheel.arm(first, 3);
        wheel.arm(victim, 4);
        wheel.arm(last, 3);
    }
    wheel.advance_to(10);
    CHECK(first.at == std::vector<ticks>{4});
    CHECK(last.at == std::vector<ticks>{4});
    CHECK(wheel.empty());
}

TEST_CASE("deadline: a node destroys itself while it expires") {
    deadline_wheel wheel(nullptr, nullptr);
    auto owned = std::make_unique<note>(wheel);
    note last(wheel);
    auto& n = *owned;
    n.victim = std::move(owned);
    wheel.arm(n, 3);
    wheel.arm(last, 3);
    wheel.advance_to(10);
    CHECK(last.at == std::vector<ticks>{4});
    CHECK(wheel.empty());
}

TEST_CASE(
    "deadline: a jump over more than a full turn leaves nothing behind and calls nothing early") {
    deadline_wheel wheel(nullptr, nullptr);
    note soon(wheel), edge(wheel), far(wheel), beyond(wheel);
    auto target = wheel.now() + GENERATE(ticks(turn), turn + 1, 2 * turn, 3 * turn + 5);
    wheel.arm(soon, 7);
    wheel.arm(edge, turn - 1);
    wheel.arm(far, target - wheel.now());
    wheel.arm(beyond, target - wheel.now() + 1);
    wheel.advance_to(target);
    CHECK(soon.at.size() == 1);
    CHECK(edge.at.size() == 1);
    CHECK(far.at == std::vector<ticks>{target});
    CHECK(beyond.at.empty());
    wheel.advance_to(target + 1);
    CHECK(beyond.at == std::vector<ticks>{target + 1});
}

TEST_CASE(
    "deadline: who moves the time is called for the first node, and the wait counts from there") {
    struct starter {
        deadline_wheel wheel{[](void* self) {
                                 auto& s = *static_cast<starter*>(self);
                                 ++s.starts;
                                 s.wheel.reset_to(100);
                             },
                             this};
        int starts = 0;
    } s;
    note one(s.wheel), two(s.wheel);
    s.wheel.arm(one, 5); // the pause before does not count
    s.wheel.arm(two, 6);
    CHECK(s.starts == 1);
    s.wheel.advance_to(104);
    CHECK(one.at.empty());
    s.wheel.advance_to(106);
    CHECK(one.at == std::vector<ticks>{105});
    CHECK(two.at == std::vector<ticks>{106});
    s.wheel.arm(one, 1);
    CHECK(s.starts == 2);
}

TEST_CASE("deadline: a wheel that goes before its nodes lets them go") {
    auto wheel = std::make_unique<deadline_wheel>(nullptr, nullptr);
    auto n = std::make_unique<note>(*wheel);
    wheel->arm(*n, 5);
    CHECK_FALSE(wheel->empty());
    wheel.reset();
    n.reset();
}

TEST_CASE("deadline: the only node, armed again while it expires, moves no time") {
    struct starter {
        deadline_wheel wheel{[](void* self) {
                                 auto& s = *static_cast<starter*>(self);
                                 s.wheel.reset_to(s.clock);
                             },
                             this};
        ticks clock = 100;
    } s;
    note n(s.wheel);
    s.wheel.arm(n, 5);
    n.again = 3;
    s.clock = 200; // the clock is ahead of the sweep that goes on
    s.wheel.advance_to(110);
    CHECK(n.at == std::vector<ticks>{105, 108});
    CHECK(s.wheel.now() == 110);
}
