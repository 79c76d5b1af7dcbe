#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace relais::detail {

// What an octet may be, as bits of one table, so that a scan asks one question of each octet.
enum octet : std::uint8_t {
    octet_token = 1, // tchar: RFC 9110, 5.6.2
    octet_value = 2, // within a field value: HTAB, SP, VCHAR, obs-text: RFC 9110, 5.5
    octet_target =
        4, // within a request target: VCHAR and obs-text; what they mean is looked at later
    octet_digit = 8,
    octet_host = 16, // reg-name without percent signs: unreserved and sub-delims: RFC 3986, 3.2.2
};

constexpr std::array<std::uint8_t, 256> make_octets() noexcept {
    std::array<std::uint8_t, 256> table{};
    for (unsigned c = 0; c < 256; ++c) {
        bool const alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool const digit = c >= '0' && c <= '9';
        auto const among = [c](std::string_view set) {
            return set.find(static_cast<char>(c)) != set.npos;
        };
        unsigned bits = 0;
        if (alpha || digit || (c != 0 && among("!#$%&'*+-.^_`|~")))
            bits |= octet_token;
        if (c == '\t' || (c >= 0x20 && c != 0x7f))
            bits |= octet_value;
        if (c > 0x20 && c != 0x7f)
            bits |= octet_target;
        if (digit)
            bits |= octet_digit;
        if (alpha || digit || (c != 0 && among("-._~!$&'()*+,;=")))
            bits |= octet_host;
        table[c] = static_cast<std::uint8_t>(bits);
    }
    return table;
}

inline constexpr std::array<std::uint8_t, 256> octets = make_octets();

constexpr bool is(octet what, char c) noexcept {
    return (octets[static_cast<unsigned char>(c)] & what) != 0;
}

constexpr bool all_are(octet what, std::string_view s) noexcept {
    for (char const c : s)
        if (!is(what, c))
            return false;
    return true;
}

constexpr bool is_blank(char c) noexcept {
    return c == ' ' || c == '\t';
}

constexpr char to_lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// Without optional white space at both ends.
constexpr std::string_view trim(std::string_view s) noexcept {
    while (!s.empty() && is_blank(s.front()))
        s.remove_prefix(1);
    while (!s.empty() && is_blank(s.back()))
        s.remove_suffix(1);
    return s;
}

} // namespace relais::detail
