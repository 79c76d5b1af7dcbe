#pragma once

#include <relais/upstream/balance.hpp>
#include <relais/upstream/impl/fast_random.hpp>

#include <algorithm>
#include <limits>
#include <numeric>

namespace relais {

RELAIS_DECL std::unique_ptr<chooser> balancing::among(std::span<candidate const> list,
                                                      chooser const* before,
                                                      std::optional<std::uint64_t> seed) const {
    RELAIS_ASSERT(!list.empty());
    RELAIS_ASSERT(std::all_of(list.begin(), list.end(),
                              [](candidate const& c) { return c.weight > 0 && c.active; }));
    return rule_->among(list, before, seed ? *seed : detail::fast_random::seed());
}

namespace detail {

inline std::uint32_t active_of(candidate const& c) noexcept {
    return c.active->load(std::memory_order_relaxed);
}

// Calls take(i, j) for each candidate i that was the candidate j of the list before. Lists mostly change in one place, so
// that the next one is looked for from where the last one was found.
template <class Take>
void match_candidates(std::span<candidate const> list, std::span<candidate const> before,
                      Take take) {
    std::size_t expected = 0;
    for (std::size_t i = 0; i < list.size(); ++i)
        for (std::size_t tried = 0; tried < before.size(); ++tried) {
            auto const j = (expected + tried) % before.size();
            if (before[j].id == list[i].id) {
                take(i, j);
                expected = j + 1;
                break;
            }
        }
}

// Smooth weighted round robin: everybody's turn grows by its weight, the largest one is served and pays what all have got.
// What all turns have in common makes no difference.
class turns {
public:
    turns(std::span<candidate const> list, std::span<candidate const> before, turns const* old)
        : turns_(list.size()) {
        if (!old)
            return;
        match_candidates(list, before,
                         [&](std::size_t i, std::size_t j) { turns_[i] = old->turns_[j]; });
    }

    std::size_t next(std::span<candidate const> list) noexcept {
        std::size_t best = 0;
        double all = 0;
        for (std::size_t i = 0; i < list.size(); ++i) {
            all += list[i].weight;
            turns_[i] += list[i].weight;
            if (turns_[i] > turns_[best])
                best = i;
        }
        turns_[best] -= all;
        return best;
    }

    // Among some of the list only.
    std::size_t next(std::span<candidate const> list,
                     std::span<std::uint32_t const> some) noexcept {
        std::size_t best = some.front();
        double all = 0;
        for (auto const i : some) {
            all += list[i].weight;
            turns_[i] += list[i].weight;
            if (turns_[i] > turns_[best])
                best = i;
        }
        turns_[best] -= all;
        return best;
    }

private:
    std::vector<double> turns_;
};

class round_robin_chooser final : public chooser {
public:
    round_robin_chooser(std::span<candidate const> list, round_robin_chooser const* before)
        : list_(list.begin(), list.end()),
          turns_(list_, before ? std::span(before->list_) : std::span<candidate const>(),
                 before ? &before->turns_ : nullptr) {}

    std::size_t choose(exchange&) override { return turns_.next(list_); }

private:
    std::vector<candidate> list_;
    turns turns_;
};

class least_connections_chooser final : public chooser {
public:
    least_connections_chooser(std::span<candidate const> list,
                              least_connections_chooser const* before)
        : list_(list.begin(), list.end()),
          turns_(list_, before ? std::span(before->list_) : std::span<candidate const>(),
                 before ? &before->turns_ : nullptr),
          least_(list.size()) {}

    std::size_t choose(exchange&) override {
        // Loads are compared crosswise: equal ones with unequal weights are found equal.
        double active = active_of(list_[0]);
        double weight = list_[0].weight;
        std::size_t count = 1;
        least_[0] = 0;
        for (std::size_t i = 1; i < list_.size(); ++i) {
            double const asks = active_of(list_[i]);
            double const mine = asks * weight;
            double const theirs = active * list_[i].weight;
            if (mine > theirs)
                continue;
            if (mine < theirs) {
                active = asks;
                weight = list_[i].weight;
                count = 0;
            }
            least_[count++] = static_cast<std::uint32_t>(i);
        }
        return count == 1 ? least_[0] : turns_.next(list_, std::span(least_).first(count));
    }

private:
    std::vector<candidate> list_;
    turns turns_;
    std::vector<std::uint32_t> least_; ///< room for those that have as few
};

// Draws a candidate by weight in a time that does not depend on their number: an alias table. Each of its n columns is as
// high as the mean weight, and holds a part of one candidate and, above the threshold, of another one.
// Source: Vose, "A linear algorithm for generating random numbers with a given distribution", 1991.
class weighted_draw {
public:
    explicit weighted_draw(std::span<candidate const> list) : columns_(list.size()) {
        auto const all =
            std::accumulate(list.begin(), list.end(), 0.0,
                            [](double sum, candidate const& c) { return sum + c.weight; });
        std::vector<double> height(list.size());
        std::vector<std::uint32_t> low, high;
        for (std::uint32_t i = 0; i < list.size(); ++i) {
            height[i] = list[i].weight * static_cast<double>(list.size()) / all;
            (height[i] < 1 ? low : high).push_back(i);
            columns_[i] = {whole, i};
        }
        while (!low.empty() && !high.empty()) {
            auto const little = low.back(), much = high.back();
            low.pop_back();
            columns_[little] = {static_cast<std::uint32_t>(height[little] * whole), much};
            height[much] -= 1 - height[little];
            if (height[much] < 1) {
                high.pop_back();
                low.push_back(much);
            }
        }
    }

    std::size_t operator()(fast_random& random) const noexcept {
        auto const drawn = random();
        auto const i = static_cast<std::size_t>((drawn >> 32) * columns_.size() >> 32);
        auto const& column = columns_[i];
        return static_cast<std::uint32_t>(drawn) < column.threshold ? i : column.other;
    }

private:
    static constexpr std::uint32_t whole = std::numeric_limits<std::uint32_t>::max();

    struct column {
        std::uint32_t threshold;
        std::uint32_t other;
    };

    std::vector<column> columns_;
};

class two_choices_chooser final : public chooser {
public:
    two_choices_chooser(std::span<candidate const> list, two_choices_chooser const* before,
                        std::uint64_t seed)
        : list_(list.begin(), list.end()), draw_(list),
          random_(before ? before->random_ : fast_random(seed)) {}

    std::size_t choose(exchange&) override { return choose(); }

    std::size_t choose() noexcept {
        auto const one = draw_(random_);
        auto other = draw_(random_);
        // One of nearly all the weight is drawn again and again: then any other one.
        for (int again = 0; other == one && again < 4; ++again)
            other = draw_(random_);
        if (other == one) {
            if (list_.size() == 1)
                return one;
            other = random_.below(list_.size() - 1);
            other += other >= one;
        }
        auto const &a = list_[one], &b = list_[other];
        return active_of(a) * b.weight <= active_of(b) * a.weight ? one : other;
    }

private:
    std::vector<candidate> list_;
    weighted_draw draw_;
    fast_random random_;
};

template <class Chooser>
class rule_of final : public balancing::rule {
public:
    std::unique_ptr<chooser> among(std::span<candidate const> list, chooser const* before,
                                   std::uint64_t seed) const override {
        auto const* old = dynamic_cast<Chooser const*>(before);
        if constexpr (std::is_constructible_v<Chooser, std::span<candidate const>, Chooser const*,
                                              std::uint64_t>)
            return std::make_unique<Chooser>(list, old, seed);
        else
            return std::make_unique<Chooser>(list, old);
    }
};

} // namespace detail

RELAIS_DECL balancing round_robin() {
    return balancing(std::make_shared<detail::rule_of<detail::round_robin_chooser>>());
}

RELAIS_DECL balancing least_connections() {
    return balancing(std::make_shared<detail::rule_of<detail::least_connections_chooser>>());
}

RELAIS_DECL balancing two_choices() {
    return balancing(std::make_shared<detail::rule_of<detail::two_choices_chooser>>());
}

} // namespace relais
