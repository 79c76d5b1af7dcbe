#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>

namespace relais::detail {

// Spreads every bit of a number over all bits: the finalizer of SplitMix64. Source: Steele, Lea and Flood, "Fast splittable
// pseudorandom number generators", 2014.
constexpr std::uint64_t spread_bits(std::uint64_t n) noexcept {
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
    return n ^ (n >> 31);
}

// SplitMix64: a nanosecond a number. Nothing that has to stay secret is made of it.
class fast_random {
public:
    explicit constexpr fast_random(std::uint64_t seed) noexcept : state_(seed) {}

    constexpr std::uint64_t operator()() noexcept {
        return spread_bits(state_ += 0x9e3779b97f4a7c15u);
    }

    // One of 0 to n - 1; n is less than 2^32, which makes the bias nothing to speak of.
    constexpr std::size_t below(std::size_t n) noexcept {
        return static_cast<std::size_t>(((*this)() >> 32) * n >> 32);
    }

    // A seed that differs from call to call, from thread to thread and from start to start.
    static std::uint64_t seed() noexcept {
        static thread_local fast_random seeds(seed_of_thread());
        return seeds();
    }

private:
    static std::uint64_t seed_of_thread() noexcept {
        static thread_local char const place = 0; // has another address on each thread
        auto const now = std::chrono::steady_clock::now().time_since_epoch().count();
        auto made = spread_bits(static_cast<std::uint64_t>(now)) ^
                    spread_bits(reinterpret_cast<std::uintptr_t>(&place));
        try {
            std::random_device system;
            made ^= std::uint64_t{system()} << 32 | system();
        } catch (...) { // no randomness: the clock and the address have to do
        }
        return spread_bits(made);
    }

    std::uint64_t state_;
};

} // namespace relais::detail
