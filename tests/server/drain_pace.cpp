#include "catch.hpp"

#include <relais/server/drain_pace.hpp>

#include <vector>

using namespace relais;
using namespace std::chrono_literals;

namespace {

constexpr drain_pace::clock::time_point began{};

// How many go in each tenth of the time, asked every 50 ms.
std::vector<std::size_t> tenths(std::size_t all, std::chrono::milliseconds spread, double share) {
    drain_pace pace(began, spread, share);
    std::vector<std::size_t> counts(11);
    for (auto t = 0ms; t <= spread + 50ms; t += 50ms) {
        auto count = pace.due(began + t, all);
        REQUIRE(count <= all);
        all -= count;
        counts[static_cast<std::size_t>(std::min(t / (spread / 10), std::int64_t{10}))] += count;
    }
    CHECK(all == 0);
    return counts;
}

} // namespace

TEST_CASE("drain pace: many go evenly, and all have gone at the end") {
    auto const counts = tenths(1000, 20s, 0.5);
    for (std::size_t i = 0; i < 10; ++i) {
        CAPTURE(i, counts[i]);
        CHECK(counts[i] >= 90);
        CHECK(counts[i] <= 110);
    }
    CHECK(counts[10] <= 10);
}

TEST_CASE("drain pace: a few go at times that the share decides") {
    auto when = [](double share) {
        drain_pace pace(began, 20s, share);
        auto t = 0ms;
        while (pace.due(began + t, 1) == 0)
            t += 50ms;
        return t;
    };
    CHECK(when(0.999) < 1s);
    CHECK(when(0.5) > 5s);
    CHECK(when(0.5) < 15s);
    CHECK(when(0) > when(0.5));
    CHECK(when(0) <= 20s);
}

TEST_CASE("drain pace: without a time all are due at once, and whoever comes after it") {
    drain_pace at_once(began, 0s, 0);
    CHECK(at_once.due(began, 7) == 7);
    CHECK(at_once.due(began, 0) == 0);
    CHECK(at_once.due(began + 1s, 3) == 3);
    drain_pace pace(began, 1s, 0);
    CHECK(pace.due(began + 1s, 5) == 5);
    CHECK(pace.due(began + 1s, 2) == 2);
    CHECK(pace.due(began + 9s, 1) == 1);
}

TEST_CASE("drain pace: those that come meanwhile go with the others") {
    drain_pace pace(began, 10s, 0);
    std::size_t left = 100;
    left -= pace.due(began + 5s, left);
    CHECK(left == 50);
    left += 50;
    left -= pace.due(began + 7500ms, left);
    CHECK(left == 50);
    CHECK(pace.due(began + 10s, left) == 50);
}
