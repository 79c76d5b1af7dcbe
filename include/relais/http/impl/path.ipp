#pragma once

#include <relais/http/impl/percent.hpp>
#include <relais/http/path.hpp>

#include <algorithm>
#include <array>
#include <cstdint>

namespace relais {
namespace detail {

enum path_octet : std::uint8_t {
    path_plain = 0, // unreserved but the dot, sub-delims, ':' and '@': the same in every form
    path_slash = 1,
    path_dot = 2,    // harmless unless a segment begins with it
    path_encode = 4, // browsers send it raw, RFC 3986 has no place for it
    path_escape = 8,
    path_refuse = 16,
};

constexpr std::array<std::uint8_t, 256> make_path_octets() noexcept {
    std::array<std::uint8_t, 256> table{};
    for (unsigned c = 0; c < 256; ++c) {
        auto const among = [c](std::string_view set) {
            return c != 0 && set.find(static_cast<char>(c)) != set.npos;
        };
        table[c] = c == '/'                                     ? path_slash
                   : c == '.'                                   ? path_dot
                   : c == '%'                                   ? path_escape
                   : is_unreserved(c) || among("!$&'()*+,;=:@") ? path_plain
                   : among("[]{}|^`")                           ? path_encode
                                                                : path_refuse;
    }
    return table;
}

inline constexpr std::array<std::uint8_t, 256> path_octets = make_path_octets();

constexpr std::string_view why_refused(char c) noexcept {
    if (c == '\\')
        return "the path has a backslash: write it as %5C";
    if (c == '?' || c == '#')
        return "the path has a ? or # in it: write it as %3F or %23";
    if (static_cast<unsigned char>(c) >= 0x80)
        return "the path has a byte beyond ASCII: percent-encode it";
    return "the path has a character that has to be percent-encoded";
}

// Follows the decoded characters of one segment and finds the dot segments that somebody may see in it.
class segment_watch {
public:
    // Returns false where a part of the segment is a dot segment to some servers and not to others.
    bool see(unsigned char c) noexcept {
        if (c == '.') {
            if (dots_ <= 2)
                ++dots_;
            return true;
        }
        bool const separates = c == '/' || c == '\\';
        bool const dot_segment = dots_ == 1 || dots_ == 2;
        if (dot_segment && (separates || c == ';'))
            return false;
        dots_ = separates ? 0 : 3;
        separated_ |= separates;
        return true;
    }
    // To be asked at the segment's end, for the same reason.
    bool ambiguous() const noexcept { return separated_ && (dots_ == 1 || dots_ == 2); }
    bool is_dot() const noexcept { return dots_ == 1; }
    bool is_dot_dot() const noexcept { return dots_ == 2; }

private:
    unsigned dots_ = 0; // of the part that is read; 3: it is no dot segment
    bool separated_ = false;
};

inline path_result rebuild_path(std::string_view raw, std::string& matched,
                                std::string& canonical) {
    auto const refuse = [](std::string_view sentence) { return path_result{{}, {}, sentence}; };
    constexpr std::string_view ambiguous =
        "the path has a dot segment that servers read in different ways";
    matched.clear();
    canonical.clear();
    bool open = true; // the last segment was empty or a dot segment: a slash ends the path
    for (std::size_t at = 1; at <= raw.size();) {
        auto const end = std::min(raw.find('/', at), raw.size());
        auto const segment = raw.substr(at, end - at);
        at = end + 1;
        open = true;
        if (segment.empty())
            continue;
        auto const matched_before = matched.size();
        auto const canonical_before = canonical.size();
        matched += '/';
        canonical += '/';
        segment_watch watch;
        for (std::size_t i = 0; i < segment.size(); ++i) {
            char const c = segment[i];
            auto const kind = path_octets[static_cast<unsigned char>(c)];
            if (kind == path_refuse)
                return refuse(why_refused(c));
            if (kind != path_escape) {
                if (!watch.see(static_cast<unsigned char>(c)))
                    return refuse(ambiguous);
                matched += c;
                if (kind == path_encode)
                    append_escape(canonical, static_cast<unsigned char>(c));
                else
                    canonical += c;
                continue;
            }
            int const high = i + 1 < segment.size() ? hex_value(segment[i + 1]) : -1;
            int const low = i + 2 < segment.size() ? hex_value(segment[i + 2]) : -1;
            if (high < 0 || low < 0)
                return refuse(
                    "the path has a percent sign without two hexadecimal digits after it");
            i += 2;
            auto const decoded = static_cast<unsigned char>(high * 16 + low);
            if (decoded == 0)
                return refuse("the path has an encoded NUL");
            if (!watch.see(decoded))
                return refuse(ambiguous);
            if (stays_encoded(decoded))
                append_escape(matched, decoded);
            else
                matched += static_cast<char>(decoded);
            if (is_unreserved(decoded))
                canonical += static_cast<char>(decoded);
            else
                append_escape(canonical, decoded);
        }
        if (watch.ambiguous())
            return refuse(ambiguous);
        open = watch.is_dot() || watch.is_dot_dot();
        if (!open)
            continue;
        matched.resize(matched_before);
        canonical.resize(canonical_before);
        if (watch.is_dot())
            continue;
        if (matched.empty())
            return refuse("the path climbs over the root");
        // No segment holds a slash in either form, so both lose the same one.
        matched.resize(matched.rfind('/'));
        canonical.resize(canonical.rfind('/'));
    }
    if (open) {
        matched += '/';
        canonical += '/';
    }
    return {matched, canonical, {}};
}

} // namespace detail

RELAIS_DECL path_result normalise_path(std::string_view raw, std::string& matched,
                                       std::string& canonical) {
    if (raw.empty())
        return {"/", "/", {}};
    if (raw.front() != '/')
        return {{}, {}, "the path does not begin with a slash"};
    // Nearly every path is clean, which one pass without a branch finds out.
    unsigned found = 0;
    unsigned previous = 0;
    for (char const c : raw) {
        unsigned const kind = detail::path_octets[static_cast<unsigned char>(c)];
        // A slash or a dot after a slash counts as something to be looked at.
        found |= kind | ((kind & 3u) * (previous & 1u) << 6);
        previous = kind;
    }
    if (found < detail::path_encode)
        return {raw, raw, {}};
    return detail::rebuild_path(raw, matched, canonical);
}

RELAIS_DECL std::string_view check_query(std::string_view query, bool strict) noexcept {
    bool odd = false;
    for (char const c : query) {
        auto const octet = static_cast<unsigned char>(c);
        if (octet <= 0x20 || octet == 0x7f || c == '#')
            return "the query has a space, a control byte or a # in it: percent-encode it";
        odd |= c == '"' || c == '<' || c == '>' || octet >= 0x80;
    }
    if (odd && strict)
        return "the query has a quote, an angle bracket or a byte beyond ASCII: percent-encode it";
    return {};
}

RELAIS_DECL std::string_view canonical_rest(std::string_view canonical,
                                            std::size_t matched_length) noexcept {
    std::size_t at = 0;
    while (matched_length != 0 && at < canonical.size()) {
        std::size_t wide = 1;
        if (canonical[at] == '%' && at + 2 < canonical.size()) {
            auto const decoded = static_cast<unsigned char>(
                detail::hex_value(canonical[at + 1]) * 16 + detail::hex_value(canonical[at + 2]));
            if (detail::stays_encoded(decoded))
                wide = 3;
            if (wide > matched_length)
                break;
            at += 2;
        }
        ++at;
        matched_length -= wide;
    }
    return canonical.substr(at);
}

RELAIS_DECL std::string_view replace_prefix(std::string_view canonical, std::size_t matched_length,
                                            std::string_view replacement, std::string& result) {
    auto rest = canonical_rest(canonical, matched_length);
    if (replacement.ends_with('/') && rest.starts_with('/'))
        rest.remove_prefix(1);
    result.assign(replacement).append(rest);
    if (result.empty())
        result = "/";
    std::string matched, again;
    auto const checked = normalise_path(result, matched, again);
    return checked.rejected() || checked.canonical != result ? std::string_view()
                                                             : std::string_view(result);
}

} // namespace relais
