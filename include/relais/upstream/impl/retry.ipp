#pragma once

#include <relais/upstream/impl/gate.hpp>
#include <relais/upstream/retry.hpp>

#include <algorithm>
#include <cmath>
#include <string>

namespace relais {

struct retry_budget::content {
    static constexpr std::uint64_t whole = 1000; ///< parts of a token
    static constexpr unsigned seconds = 10;      ///< of the minimum are saved
    static constexpr unsigned most_minimum = 1000;

    explicit content(std::uint64_t word) noexcept
        : tokens(word & ((1u << 24) - 1)), counted(word >> 24) {}
    std::uint64_t word() const noexcept { return tokens | counted << 24; }

    std::uint64_t tokens;
    std::uint64_t counted; ///< milliseconds
};

RELAIS_DECL void retry_budget::check(retry_options const& options) {
    auto const fail = [](std::string const& why) { throw startup_error("retry: " + why); };
    if (options.tries < 1)
        fail("a request is tried once at least: write .tries = 1 for no retry");
    if (options.total.count() <= 0)
        fail("within no time nothing is tried again: write a .total of more than 0, or .tries = 1 "
             "for no retry");
    if (!(options.budget >= 0 && options.budget <= 100))
        fail("a budget of " + std::to_string(options.budget) +
             " retries for each request makes no sense: write 0 to 1, such as 0.2");
    if (options.budget_minimum > content::most_minimum)
        fail("a budget_minimum of more than " + std::to_string(content::most_minimum) +
             " retries a second bounds nothing: write a smaller one, and a larger .budget");
    if (auto const wrong = options.statuses.wrong(); wrong != status_set::fine)
        fail(std::to_string(wrong) + " in statuses is no status: write 100 to 999");
}

// Options that `check` has not seen yet, or refuses, are cut to what fits.
RELAIS_DECL retry_budget::retry_budget(retry_options const& options) noexcept
    : share_(options.budget > 0 ? static_cast<std::uint64_t>(std::llround(
                                      std::min(options.budget, 100.0) * content::whole))
                                : 0),
      refill_(std::min(options.budget_minimum, content::most_minimum)),
      most_(std::max<std::uint64_t>(refill_, share_ != 0) * content::seconds * content::whole),
      content_(most_) {}

RELAIS_DECL retry_budget::content retry_budget::at(std::uint64_t word,
                                                   std::uint64_t now) const noexcept {
    static_assert(content::whole == 1000);
    static_assert(content::most_minimum * content::seconds * content::whole < 1u << 24);
    content c(word);
    if (now > c.counted) {
        auto const passed = std::min<std::uint64_t>(now - c.counted, content::seconds * 1000);
        c.tokens = std::min(c.tokens + passed * refill_, most_);
        c.counted = now;
    }
    return c;
}

RELAIS_DECL void retry_budget::deposit(time_point now) noexcept {
    auto word = content_.load(std::memory_order_relaxed);
    auto const present = detail::milliseconds_of(now);
    for (;;) {
        if (content(word).tokens == most_)
            return;
        auto c = at(word, present);
        c.tokens = std::min(c.tokens + share_, most_);
        if (content_.compare_exchange_weak(word, c.word(), std::memory_order_relaxed))
            return;
    }
}

RELAIS_DECL bool retry_budget::withdraw(time_point now) noexcept {
    auto word = content_.load(std::memory_order_relaxed);
    auto const present = detail::milliseconds_of(now);
    for (;;) {
        auto c = at(word, present);
        if (c.tokens < content::whole)
            return false;
        c.tokens -= content::whole;
        if (content_.compare_exchange_weak(word, c.word(), std::memory_order_relaxed))
            return true;
    }
}

RELAIS_DECL unsigned retry_budget::left(time_point now) const noexcept {
    auto const c = at(content_.load(std::memory_order_relaxed), detail::milliseconds_of(now));
    return static_cast<unsigned>(c.tokens / content::whole);
}

} // namespace relais
