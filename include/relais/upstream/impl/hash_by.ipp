#pragma once

#include <relais/core/error.hpp>
#include <relais/http/exchange.hpp>
#include <relais/upstream/balance.hpp>
#include <relais/upstream/impl/balance.ipp>

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
        auto const best = first(*key, [](place const&) { return true; });
        if (bound_ == 0 || active_of(places_[best]) == 0)
            return best;
        double all = 1; // this one too
        for (auto const& p : places_)
            all += active_of(p);
        auto const has_room = [all](place const& p) { return active_of(p) < all * p.bound; };
        if (has_room(places_[best]))
            return best;
        auto const next = first(*key, has_room);
        return next == places_.size() ? best : next;
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
    // one wins. A logarithm is needed only where it may: -log(1 - u) is never less than u.
    template <class Fits>
    std::size_t first(std::uint64_t key, Fits fits) const noexcept {
        double earliest = std::numeric_limits<double>::infinity();
        std::size_t best = places_.size();
        for (std::size_t i = 0; i < places_.size(); ++i) {
            auto const& p = places_[i];
            auto const drawn = fold_product(key ^ p.seed, 0xe7037ed1a0b428dbu);
            double const u = static_cast<double>(drawn >> 11) * 0x1p-53;
            if (u * p.inverse_weight >= earliest || !fits(p))
                continue;
            if (double const time = -std::log1p(-u) * p.inverse_weight; time < earliest) {
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
