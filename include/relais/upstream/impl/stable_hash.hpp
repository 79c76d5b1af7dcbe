#pragma once

#include <relais/upstream/impl/fast_random.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace relais::detail {

// The halves of the 128-bit product, folded: each bit of both factors has a say in each bit of what comes out.
constexpr std::uint64_t fold_product(std::uint64_t a, std::uint64_t b) noexcept {
#if defined(__SIZEOF_INT128__)
    __extension__ using wide = unsigned __int128;
    auto const product = static_cast<wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
#else
    std::uint64_t const low = (a & 0xffffffff) * (b & 0xffffffff);
    std::uint64_t const one = (a >> 32) * (b & 0xffffffff);
    std::uint64_t const other = (a & 0xffffffff) * (b >> 32);
    std::uint64_t const middle = (low >> 32) + (one & 0xffffffff) + (other & 0xffffffff);
    std::uint64_t const high = (a >> 32) * (b >> 32) + (one >> 32) + (other >> 32) + (middle >> 32);
    return (middle << 32 | (low & 0xffffffff)) ^ high;
#endif
}

// The same on every machine and in every release, so that instances agree about who serves a key. Not for what an
// attacker must not steer: keys that meet on purpose are what a bounded load is for.
inline std::uint64_t stable_hash(std::string_view text) noexcept {
    std::uint64_t hash = 0x9ae16a3b2f90404fu ^ text.size();
    while (!text.empty()) {
        auto const count = std::min<std::size_t>(text.size(), 8);
        std::uint64_t piece = 0; // the bytes in little-endian order
        if (count == 8 && std::endian::native == std::endian::little)
            std::memcpy(&piece, text.data(), 8);
        else
            for (std::size_t i = 0; i < count; ++i)
                piece |= std::uint64_t{static_cast<unsigned char>(text[i])} << 8 * i;
        hash = fold_product(hash ^ piece, 0xc3a5c85c97cb3127u) + 0xb492b66fbe98f273u;
        text.remove_prefix(count);
    }
    return spread_bits(hash);
}

} // namespace relais::detail
