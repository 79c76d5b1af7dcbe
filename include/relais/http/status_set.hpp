#pragma once

#include <relais/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace relais {

/// Statuses of responses: `{502, 503, 504}`. Looking one up is a matter of one bit.
class status_set {
public:
    constexpr status_set() noexcept = default;

    /// \param statuses 100 to 999 each; `wrong()` tells of one that is not.
    constexpr status_set(std::initializer_list<unsigned> statuses) noexcept {
        for (auto const one : statuses) {
            if (one < 100 || one > 999)
                wrong_ = one;
            else
                bits_[one / 64] |= std::uint64_t{1} << one % 64;
        }
    }

    constexpr bool contains(unsigned status) const noexcept {
        return status < 64 * bits_.size() && (bits_[status / 64] >> status % 64 & 1) != 0;
    }

    constexpr bool empty() const noexcept { return bits_ == decltype(bits_){}; }

    /// What was put in and is no status; `fine` without. For those who check options at start.
    constexpr unsigned wrong() const noexcept { return wrong_; }
    static constexpr unsigned fine = ~0u;

    friend constexpr bool operator==(status_set const&, status_set const&) noexcept = default;

private:
    std::array<std::uint64_t, 16> bits_{};
    unsigned wrong_ = fine;
};

} // namespace relais
