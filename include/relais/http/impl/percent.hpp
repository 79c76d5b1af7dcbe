#pragma once

#include <string>

namespace relais::detail {

// Source: RFC 3986, section 2.3.
constexpr bool is_unreserved(unsigned c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

constexpr int hex_value(char c) noexcept {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

inline void append_escape(std::string& to, unsigned char c) {
    constexpr char digits[] = "0123456789ABCDEF";
    char const escape[3] = {'%', digits[c >> 4], digits[c & 15]};
    to.append(escape, 3);
}

// Whether an escape stays one in the matched form.
constexpr bool stays_encoded(unsigned char c) noexcept {
    return c == '/' || c < 0x20 || c == 0x7f;
}

} // namespace relais::detail
