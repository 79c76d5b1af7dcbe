#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

namespace relais {
namespace detail {

// In the order of known_field.
inline constexpr std::string_view known_field_names[] = {
    "",
    "Accept-Encoding",
    "Age",
    "Allow",
    "Authorization",
    "Cache-Control",
    "Client-Cert",
    "Client-Cert-Chain",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Location",
    "Content-Range",
    "Content-Type",
    "Cookie",
    "Date",
    "ETag",
    "Expect",
    "Forwarded",
    "Host",
    "HTTP2-Settings",
    "If-None-Match",
    "If-Modified-Since",
    "Keep-Alive",
    "Last-Modified",
    "Location",
    "Max-Forwards",
    "Origin",
    "Proxy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Range",
    "Referer",
    "Refresh",
    "Retry-After",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version",
    "Server",
    "Set-Cookie",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "User-Agent",
    "Vary",
    "Via",
    "WWW-Authenticate",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "X-Request-Id",
};

inline constexpr std::size_t known_field_count = std::size(known_field_names);
static_assert(known_field_count == static_cast<std::size_t>(known_field::x_request_id) + 1 &&
              known_field_count <= 64);

// A word of a name in lower case, and the bits that may differ from it: bit 0x20 of each letter. In
// the byte order of the machine.
template <class Word, bool Mask>
constexpr Word name_word(std::string_view name, std::size_t at) noexcept {
    std::array<char, sizeof(Word)> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        char const c = to_lower(name[at + i]);
        bytes[i] = !Mask ? c : c >= 'a' && c <= 'z' ? '\x20' : '\0';
    }
    return std::bit_cast<Word>(bytes);
}

template <class Word, std::size_t Id, std::size_t At>
inline bool word_is(char const* p) noexcept {
    constexpr Word lower = name_word<Word, false>(known_field_names[Id], At);
    constexpr Word mask = name_word<Word, true>(known_field_names[Id], At);
    Word word;
    std::memcpy(&word, p + At, sizeof word);
    return static_cast<Word>(word | mask) == lower;
}

// Two or three overlapping words, whatever the length is.
template <std::size_t Id>
inline bool is_known(char const* p) noexcept {
    constexpr std::size_t n = known_field_names[Id].size();
    static_assert(n >= 2 && n <= 24);
    if constexpr (n > 16) {
        return word_is<std::uint64_t, Id, n - 8>(p) && word_is<std::uint64_t, Id, 0>(p) &&
               word_is<std::uint64_t, Id, 8>(p);
    } else if constexpr (n >= 8) {
        return word_is<std::uint64_t, Id, n - 8>(p) && word_is<std::uint64_t, Id, 0>(p);
    } else if constexpr (n >= 4) {
        return word_is<std::uint32_t, Id, 0>(p) && word_is<std::uint32_t, Id, n - 4>(p);
    } else {
        return word_is<std::uint16_t, Id, 0>(p) && word_is<std::uint16_t, Id, n - 2>(p);
    }
}

// The numbers of the names of one length.
template <std::size_t Size>
inline constexpr auto known_ids_of_size = [] {
    constexpr auto fits = [](std::string_view name) { return name.size() == Size; };
    std::array<std::size_t,
               std::count_if(std::begin(known_field_names), std::end(known_field_names), fits)>
        ids{};
    for (std::size_t id = 0, at = 0; id < known_field_count; ++id)
        if (fits(known_field_names[id]))
            ids[at++] = id;
    return ids;
}();

template <std::size_t Size, std::size_t... I>
inline known_field known_of_size(char const* p, std::index_sequence<I...>) noexcept {
    auto found = known_field::other;
    static_cast<void>(((is_known<known_ids_of_size<Size>[I]>(p)
                            ? (found = static_cast<known_field>(known_ids_of_size<Size>[I]), true)
                            : false) ||
                       ...));
    return found;
}

template <std::size_t Size>
inline known_field known_of_size(char const* p) noexcept {
    return known_of_size<Size>(p, std::make_index_sequence<known_ids_of_size<Size>.size()>());
}

// For the parser, which asks for each field of each head.
[[gnu::always_inline]] inline known_field lookup_known_field(std::string_view name) noexcept {
    switch (name.size()) {
    case 2: return known_of_size<2>(name.data());
    case 3: return known_of_size<3>(name.data());
    case 4: return known_of_size<4>(name.data());
    case 5: return known_of_size<5>(name.data());
    case 6: return known_of_size<6>(name.data());
    case 7: return known_of_size<7>(name.data());
    case 8: return known_of_size<8>(name.data());
    case 9: return known_of_size<9>(name.data());
    case 10: return known_of_size<10>(name.data());
    case 11: return known_of_size<11>(name.data());
    case 12: return known_of_size<12>(name.data());
    case 13: return known_of_size<13>(name.data());
    case 14: return known_of_size<14>(name.data());
    case 15: return known_of_size<15>(name.data());
    case 16: return known_of_size<16>(name.data());
    case 17: return known_of_size<17>(name.data());
    case 18: return known_of_size<18>(name.data());
    case 19: return known_of_size<19>(name.data());
    case 20: return known_of_size<20>(name.data());
    case 21: return known_of_size<21>(name.data());
    case 22: return known_of_size<22>(name.data());
    case 24: return known_of_size<24>(name.data());
    default: return known_field::other;
    }
}

} // namespace detail

inline std::string_view name_of(known_field id) noexcept {
    return detail::known_field_names[static_cast<std::size_t>(id)];
}

inline known_field known_field_of(std::string_view name) noexcept {
    return detail::lookup_known_field(name);
}

inline bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
    if (a.size() != b.size())
        return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (a[i] != b[i] && detail::to_lower(a[i]) != detail::to_lower(b[i]))
            return false;
    return true;
}

} // namespace relais
