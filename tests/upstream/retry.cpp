#include "catch.hpp"
#include "upstream/at_once.hpp"

#include <relais/upstream/retry.hpp>

#include <cmath>
#include <string>

using namespace relais;
using namespace std::chrono_literals;

namespace {

finished_try failed(end_reason why) {
    return {.why = why, .idempotent = true, .replayable = true};
}

finished_try answered(unsigned status) {
    return {.status = status, .idempotent = true, .replayable = true};
}

int withdraw_all(retry_budget& budget, retry_budget::time_point now) {
    int count = 0;
    while (budget.withdraw(now))
        ++count;
    return count;
}

} // namespace

TEST_CASE("retry: which methods are idempotent") {
    for (auto const method :
         {verb::get, verb::head, verb::options, verb::trace, verb::put, verb::delete_})
        CHECK(is_idempotent(method));
    for (auto const method : {verb::post, verb::patch, verb::connect, verb::unknown, verb::lock})
        CHECK_FALSE(is_idempotent(method));
}

TEST_CASE("retry: a failure goes by its reason") {
    for (auto const& row : end_reasons()) {
        CAPTURE(row.word);
        if (row.reason == end_reason::completed)
            continue;
        auto last = failed(row.reason);
        CHECK((decide(last, {}) == retry_verdict::again) == (row.retry != retry_rule::never));
        last.idempotent = false;
        CHECK((decide(last, {}) == retry_verdict::again) == (row.retry == retry_rule::always));
        CHECK((decide(last, {.non_idempotent = true}) == retry_verdict::again) ==
              (row.retry != retry_rule::never));
    }
    CHECK(decide(failed(end_reason::client_left), {}) == retry_verdict::not_the_kind);
}

TEST_CASE("retry: an answer goes by its status") {
    retry_options const some{.statuses = {502, 503}};
    CHECK(decide(answered(503), {}) == retry_verdict::answered);
    CHECK(decide(answered(503), some) == retry_verdict::again);
    CHECK(decide(answered(500), some) == retry_verdict::answered);
    CHECK(decide(answered(200), some) == retry_verdict::answered);
    auto post = answered(503);
    post.idempotent = false;
    CHECK(decide(post, some) == retry_verdict::not_the_kind);
    CHECK(decide(post, {.statuses = {502, 503}, .non_idempotent = true}) == retry_verdict::again);
}

TEST_CASE("retry: tries, time and the request's body are bounds") {
    auto last = failed(end_reason::connect_refused);
    last.tries = 2;
    CHECK(decide(last, {}) == retry_verdict::again);
    last.tries = 3;
    CHECK(decide(last, {}) == retry_verdict::tried_enough);
    CHECK(decide(last, {.tries = 4}) == retry_verdict::again);
    last.tries = 1;
    CHECK(decide(last, {.tries = 1}) == retry_verdict::tried_enough);

    last.passed = 9'999ms;
    CHECK(decide(last, {}) == retry_verdict::again);
    last.passed = 10s;
    CHECK(decide(last, {}) == retry_verdict::took_too_long);
    CHECK(decide(last, {.total = 11s}) == retry_verdict::again);

    last.replayable = false;
    CHECK(decide(last, {.total = 11s}) == retry_verdict::body_gone);
    auto status = answered(503);
    status.replayable = false;
    CHECK(decide(status, {.statuses = {503}}) == retry_verdict::body_gone);
    CHECK(decide(status, {}) == retry_verdict::answered);
}

TEST_CASE("retry: the budget saves ten seconds of its minimum and fills with time") {
    retry_budget budget({});
    retry_budget::time_point now{1000s};
    CHECK(budget.left(now) == 100);
    CHECK(withdraw_all(budget, now) == 100);
    CHECK(budget.left(now) == 0);
    now += 99ms;
    CHECK(withdraw_all(budget, now) == 0);
    now += 1ms;
    CHECK(withdraw_all(budget, now) == 1);
    now += 1s;
    CHECK(budget.left(now) == 10);
    CHECK(withdraw_all(budget, now) == 10);
    now += 1h;
    CHECK(withdraw_all(budget, now) == 100);
    // time that goes back brings nothing, twice neither
    now -= 1min;
    CHECK(withdraw_all(budget, now) == 0);
    now += 1min;
    CHECK(withdraw_all(budget, now) == 0);
}

TEST_CASE("retry: each request fills the budget by its share") {
    retry_budget budget({.budget = 0.2, .budget_minimum = 0});
    retry_budget::time_point const now{1000s};
    CHECK(withdraw_all(budget, now) == 10); // of the beginning
    CHECK(withdraw_all(budget, now + 1h) == 0);
    for (int i = 0; i < 4; ++i)
        budget.deposit(now);
    CHECK_FALSE(budget.withdraw(now));
    budget.deposit(now);
    CHECK(budget.withdraw(now));
    CHECK_FALSE(budget.withdraw(now));
    for (int i = 0; i < 1000; ++i)
        budget.deposit(now);
    CHECK(withdraw_all(budget, now) == 10);

    // what a share goes over the brim is lost
    retry_budget odd({.budget = 0.7, .budget_minimum = 0});
    odd.withdraw(now);
    for (int i = 0; i < 1000; ++i)
        odd.deposit(now);
    CHECK(withdraw_all(odd, now) == 10);

    // while everything fails: a fifth, whatever the rate is
    int retries = 0;
    for (int i = 0; i < 10'000; ++i) {
        budget.deposit(now);
        while (budget.withdraw(now))
            ++retries;
    }
    CHECK(retries == 2000);

    retry_budget none({.budget = 0, .budget_minimum = 0});
    none.deposit(now);
    CHECK_FALSE(none.withdraw(now));
}

TEST_CASE("retry: a budget holds what its options allow at most") {
    retry_options const options{.budget = 100, .budget_minimum = 1000};
    CHECK_NOTHROW(retry_budget::check(options));
    retry_budget budget(options);
    retry_budget::time_point now{1000s};
    CHECK(withdraw_all(budget, now) == 10'000);
    budget.deposit(now);
    CHECK(withdraw_all(budget, now) == 100);
    for (int i = 0; i < 1000; ++i)
        budget.deposit(now);
    CHECK(withdraw_all(budget, now + 1h) == 10'000);
}

TEST_CASE("retry: a budget may be made before its options are checked") {
    retry_budget::time_point const now{1000s};
    for (double const share : {-1.0, std::nan("")}) {
        retry_budget budget({.budget = share, .budget_minimum = 0});
        CHECK_FALSE(budget.withdraw(now));
    }
    retry_budget budget({.budget = 1e300, .budget_minimum = ~0u});
    CHECK(withdraw_all(budget, now) == 10'000);
}

TEST_CASE("retry: options that cannot be kept to are found at start") {
    auto const refused = [](retry_options const& options, std::string const& why) {
        try {
            retry_budget::check(options);
        } catch (startup_error const& e) {
            return std::string(e.what()).find(why) != std::string::npos;
        }
        return false;
    };
    CHECK_NOTHROW(retry_budget::check({}));
    CHECK(refused({.tries = 0}, ".tries = 1"));
    CHECK(refused({.total = 0s}, ".total"));
    CHECK(refused({.budget = -0.1}, "budget"));
    CHECK(refused({.budget = 101}, "budget"));
    CHECK(refused({.budget_minimum = 1001}, "budget_minimum"));
    CHECK(refused({.statuses = {503, 5}}, "5 in statuses"));
}

TEST_CASE("retry: several threads share a budget exactly") {
    retry_budget budget({.budget = 0.5, .budget_minimum = 10});
    retry_budget::time_point const now{1000s};
    REQUIRE(withdraw_all(budget, now) == 100);
    std::atomic<int> retries{0};
    at_once(4, [&](unsigned) {
        for (int i = 0; i < 200'000; ++i) {
            budget.deposit(now);
            if (budget.withdraw(now))
                ++retries;
        }
    });
    CHECK(retries + withdraw_all(budget, now) == 400'000);
}
