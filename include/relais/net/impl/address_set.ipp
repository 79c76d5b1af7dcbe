#pragma once

#include <relais/core/error.hpp>
#include <relais/net/address_set.hpp>

#include <boost/asio/ip/address_v4.hpp>
#include <boost/asio/ip/address_v6.hpp>

#include <algorithm>
#include <charconv>

namespace relais {

namespace detail {

/// All addresses as IPv6, so that there is one kind of range.
RELAIS_DECL std::array<std::uint8_t, 16>
mapped_bytes(boost::asio::ip::address const& address) noexcept {
    if (address.is_v6())
        return address.to_v6().to_bytes();
    std::array<std::uint8_t, 16> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    auto const four = address.to_v4().to_bytes();
    std::copy(four.begin(), four.end(), mapped.begin() + 12);
    return mapped;
}

/// Whether the first `bits` of both are the same.
RELAIS_DECL bool same_prefix(std::array<std::uint8_t, 16> const& a,
                             std::array<std::uint8_t, 16> const& b, unsigned bits) noexcept {
    for (unsigned i = 0; i < 16 && bits > 8 * i; ++i) {
        unsigned const here = std::min(bits - 8 * i, 8u);
        if (((a[i] ^ b[i]) & (0xff00u >> here) & 0xffu) != 0)
            return false;
    }
    return true;
}

} // namespace detail

RELAIS_DECL address_set::address_set(std::vector<std::string> const& ranges,
                                     std::string_view of_whom) {
    for (std::string_view const text : ranges) {
        auto const fail = [&](std::string_view why) {
            throw startup_error(std::string(of_whom) + ": \"" + std::string(text) + "\" " +
                                std::string(why) +
                                "; ranges are written as 10.0.0.0/8, 192.0.2.7, 2001:db8::/32, "
                                "unix: or all");
        };
        if (text == "all") {
            all_ = true;
            continue;
        }
        if (text == "unix:") {
            unix_ = true;
            continue;
        }
        auto const slash = text.find('/');
        boost::system::error_code error;
        auto const address =
            boost::asio::ip::make_address(std::string(text.substr(0, slash)), error);
        if (error || (address.is_v6() && address.to_v6().scope_id() != 0))
            fail("is no address");
        unsigned const most = address.is_v4() ? 32 : 128;
        unsigned bits = most;
        if (slash != text.npos) {
            auto const* end = text.data() + text.size();
            auto const [stopped, wrong] = std::from_chars(text.data() + slash + 1, end, bits);
            if (wrong != std::errc() || stopped != end || bits > most)
                fail("has no prefix length of 0 to " + std::to_string(most));
        }
        range r{detail::mapped_bytes(address), bits + (address.is_v4() ? 96u : 0u)};
        auto cleared = r.base;
        for (unsigned i = 0; i < 16; ++i)
            if (8 * (i + 1) > r.bits)
                cleared[i] &=
                    static_cast<std::uint8_t>(r.bits > 8 * i ? 0xff00u >> (r.bits - 8 * i) : 0u);
        if (cleared != r.base)
            fail("has bits behind its prefix: is the address or the length the mistake?");
        ranges_.push_back(r);
    }
}

RELAIS_DECL bool address_set::contains(boost::asio::ip::address const& address) const noexcept {
    if (all_)
        return true;
    auto const bytes = detail::mapped_bytes(address);
    bool const is_v4 = address.is_v4() || address.to_v6().is_v4_mapped();
    for (auto const& r : ranges_)
        if ((!is_v4 || r.bits >= 96) && detail::same_prefix(bytes, r.base, r.bits)) // ::/0 is IPv6
            return true;
    return false;
}

RELAIS_DECL bool address_set::contains(std::string_view address) const noexcept {
    if (all_ || (unix_ && address == "unix:"))
        return true;
    std::array<char, 64> text{};
    if (ranges_.empty() || address.empty() || address.size() >= text.size())
        return false;
    std::copy(address.begin(), address.end(), text.begin());
    boost::system::error_code error;
    auto const parsed = boost::asio::ip::make_address(text.data(), error);
    return !error && contains(parsed);
}

} // namespace relais
