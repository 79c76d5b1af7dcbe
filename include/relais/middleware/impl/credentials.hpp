#pragma once

#include <relais/core/error.hpp>
#include <relais/http/fields.hpp>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace relais::detail {

// Secrets of any length, compared by their digests: neither the time nor the number of comparisons depends on them.
class secret_set {
public:
    void add(std::string_view secret) { digests_.push_back(digest_of(secret)); }
    bool empty() const noexcept { return digests_.empty(); }

    bool contains(std::string_view secret) const {
        auto const asked = digest_of(secret);
        int found = 0;
        for (auto const& one : digests_)
            found |= CRYPTO_memcmp(one.data(), asked.data(), asked.size()) == 0;
        return found != 0;
    }

private:
    using digest = std::array<unsigned char, 32>;

    static digest digest_of(std::string_view secret) {
        digest made;
        unsigned size = 0;
        if (EVP_Digest(secret.data(), secret.size(), made.data(), &size, EVP_sha256(), nullptr) !=
            1)
            throw std::bad_alloc();
        return made;
    }

    std::vector<digest> digests_;
};

// What follows the scheme in the one Authorization field; nothing where it is not there, repeated or of another scheme.
// Source: RFC 9110, 11.4 and 11.6.2.
inline std::optional<std::string_view> credentials_of(fields const& head,
                                                      std::string_view scheme) noexcept {
    auto const* field = head.find(known_field::authorization);
    if (field == nullptr || head.count(known_field::authorization) != 1)
        return {};
    auto const value = field->value;
    if (value.size() <= scheme.size() || value[scheme.size()] != ' ' ||
        !equal_ignoring_case(value.substr(0, scheme.size()), scheme))
        return {};
    return trim(value.substr(scheme.size() + 1));
}

// Source: RFC 4648, section 4; padding is needed, bits that stand for nothing have to be zero.
inline std::optional<std::string> decode_base64(std::string_view text) {
    auto const value_of = [](char c) -> int {
        return c >= 'A' && c <= 'Z'   ? c - 'A'
               : c >= 'a' && c <= 'z' ? c - 'a' + 26
               : c >= '0' && c <= '9' ? c - '0' + 52
               : c == '+'             ? 62
               : c == '/'             ? 63
                                      : -1;
    };
    if (text.size() % 4 != 0)
        return {};
    std::size_t padding = 0;
    while (padding < 2 && text.ends_with('=')) {
        text.remove_suffix(1);
        ++padding;
    }
    std::string decoded;
    unsigned bits = 0;
    int held = 0;
    for (char const c : text) {
        int const value = value_of(c);
        if (value < 0)
            return {};
        bits = bits << 6 | static_cast<unsigned>(value);
        held += 6;
        if (held >= 8) {
            held -= 8;
            decoded += static_cast<char>(bits >> held & 0xff);
            bits &= (1u << held) - 1;
        }
    }
    if (bits != 0)
        return {};
    return decoded;
}

inline bool has_control(std::string_view text) noexcept {
    for (char const c : text)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            return true;
    return false;
}

// A quoted string. Source: RFC 9110, 5.6.4.
inline std::string quote(std::string_view text) {
    std::string quoted = "\"";
    for (char const c : text) {
        if (c == '"' || c == '\\')
            quoted += '\\';
        quoted += c;
    }
    return quoted += '"';
}

} // namespace relais::detail
