#pragma once

#include <relais/core/error.hpp>
#include <relais/http/exchange.hpp>
#include <relais/upstream/balance.hpp>
#include <relais/upstream/impl/balance.ipp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace relais {
namespace detail {

class hash_chooser final : public chooser {
public:
    hash_chooser(std::shared_ptr<key_hash const> key, double bound, std::span<candidate const> list,
                 hash_chooser const* before, std::uint64_t seed)
        : key_(std::move(key)), bound_(bound),
          without_key_(list, before ? &before->without_key_ : nullptr, seed) {
        double all = 0;
        for (auto const& c : list)
            all += c.weight;
        for (auto const& c : list)
            places_.push_back({spread_bits(c.id), 1 / c.weight, bound * c.weight / all, c.active});
    }

    std::size_t choose(exchange& x) override {
        auto const key = (*key_)(x);
        if (!key)
            return without_key_.choose();
        auto const best = first(*key);
        if (bound_ == 0 || active_of(places_[best]) == 0)
            return best;
        std::uint64_t all = 1; // this one too
        for (auto const& p : places_)
            all += active_of(p);
        auto const has_room = [all = static_cast<double>(all)](place const& p) {
            return active_of(p) < all * p.bound;
        };
        return has_room(places_[best]) ? best : first_of(*key, best, has_room);
    }

private:
    struct place {
        std::uint64_t seed;
        double inverse_weight;
        double bound; ///< the largest share of all that is under way
        std::atomic<std::uint32_t> const* active;
    };

    static std::uint32_t active_of(place const& p) noexcept {
        return p.active->load(std::memory_order_relaxed);
    }

    // Weighted rendezvous: each place draws a time with its weight as the rate, out of the key and its id, and the earliest
    // one wins. With u drawn evenly from 0 to 1 that time is -log(1 - u) / weight.
    struct draw {
        double u;
        double
            at_least; ///< u / weight, which the time is never less than, and for small u hardly more
    };

    static draw drawn_by(place const& p, std::uint64_t key) noexcept {
        auto const bits = fold_product(key ^ p.seed, 0xe7037ed1a0b428dbu) >> 11;
        double const u = static_cast<double>(static_cast<std::int64_t>(bits)) * 0x1p-53;
        return {u, u * p.inverse_weight};
    }

    static double time_of(draw d, place const& p) noexcept {
        return -std::log1p(-d.u) * p.inverse_weight;
    }

    // Without a branch for each place: where the least bound is a time before the next bound, it has won.
    std::size_t first(std::uint64_t key) const noexcept {
        // The bits of doubles that are not negative compare as these do.
        std::uint64_t least = std::numeric_limits<std::uint64_t>::max(), next = least;
        std::size_t best = 0;
        for (std::size_t i = 0; i < places_.size(); ++i) {
            auto const one = std::bit_cast<std::uint64_t>(drawn_by(places_[i], key).at_least);
            next = std::min(next, std::max(one, least));
            best = one < least ? i : best;
            least = std::min(one, least);
        }
        auto const& p = places_[best];
        auto const time = time_of(drawn_by(p, key), p);
        return std::bit_cast<std::uint64_t>(time) <= next
                   ? best
                   : first_of(key, best, [](place const&) { return true; });
    }

    // Of those that fit; `otherwise` where none does.
    template <class Fits>
    std::size_t first_of(std::uint64_t key, std::size_t otherwise, Fits fits) const noexcept {
        double earliest = std::numeric_limits<double>::infinity();
        std::size_t best = otherwise;
        for (std::size_t i = 0; i < places_.size(); ++i) {
            auto const& p = places_[i];
            auto const d = drawn_by(p, key);
            if (d.at_least >= earliest || !fits(p))
                continue;
            if (auto const time = time_of(d, p); time < earliest) {
                earliest = time;
                best = i;
            }
        }
        return best;
    }

    std::shared_ptr<key_hash const> key_;
    double bound_;
    std::vector<place> places_;
    two_choices_chooser without_key_;
};

class hash_rule final : public balancing::rule {
public:
    hash_rule(key_hash key, hash_options options)
        : key_(std::make_shared<key_hash const>(std::move(key))), options_(options) {}

    std::unique_ptr<chooser> among(std::span<candidate const> list, chooser const* before,
                                   std::uint64_t seed) const override {
        return std::make_unique<hash_chooser>(key_, options_.bound, list,
                                              dynamic_cast<hash_chooser const*>(before), seed);
    }

    void prepare() const override {
        if (options_.bound != 0 && !(options_.bound > 1 && std::isfinite(options_.bound)))
            throw startup_error("hash_by(): no bound of " + std::to_string(options_.bound) +
                                " can be kept to: write one of more than 1, such as 1.25, or 0 for "
                                "none");
    }

private:
    std::shared_ptr<key_hash const> key_;
    hash_options options_;
};

RELAIS_DECL balancing balance_by_hash(key_hash key, hash_options options) {
    return balancing(std::make_shared<hash_rule>(std::move(key), options));
}

} // namespace detail

RELAIS_DECL balancing hash_client_address(hash_options options) {
    return hash_by([](exchange& x) { return x.client_address(); }, options);
}

} // namespace relais
