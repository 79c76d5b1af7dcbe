// The path against a reader that decodes, splits and joins without any cleverness.

#include <relais/http/path.hpp>

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

int digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// The segments of a path, decoded; nothing where the path is refused.
std::optional<std::string> plain_reading(std::string_view raw) {
    if (raw.empty())
        return "/";
    if (raw[0] != '/')
        return {};
    std::vector<std::string> segments;
    bool open = true;
    for (std::size_t at = 1; at <= raw.size();) {
        auto const end = std::min(raw.find('/', at), raw.size());
        std::string decoded, split;
        for (std::size_t i = at; i < end; ++i) {
            auto c = static_cast<unsigned char>(raw[i]);
            if (c <= 0x20 || c >= 0x7f ||
                std::string_view("\\\"<>?#").find(raw[i]) != std::string_view::npos)
                return {};
            bool const escape = c == '%';
            if (escape) {
                if (end - i < 3 || digit(raw[i + 1]) < 0 || digit(raw[i + 2]) < 0)
                    return {};
                c = static_cast<unsigned char>(digit(raw[i + 1]) * 16 + digit(raw[i + 2]));
                i += 2;
                if (c == 0)
                    return {};
            }
            split += c == '\\' ? '/' : static_cast<char>(c);
            if (escape && (c == '/' || c < 0x20 || c == 0x7f)) {
                char const upper[] = "0123456789ABCDEF";
                decoded += {'%', upper[c / 16], upper[c % 16]};
            } else {
                decoded += static_cast<char>(c);
            }
        }
        at = end + 1;
        bool const parted = split.find('/') != split.npos;
        for (std::size_t from = 0; from <= split.size();) {
            auto const to = std::min(split.find('/', from), split.size());
            auto const part = split.substr(from, to - from);
            auto const cut = part.substr(0, part.find(';'));
            if ((cut == "." || cut == "..") && (parted || cut != part))
                return {};
            from = to + 1;
        }
        open = decoded.empty() || decoded == "." || decoded == "..";
        if (decoded == "..") {
            if (segments.empty())
                return {};
            segments.pop_back();
        } else if (!open) {
            segments.push_back(decoded);
        }
    }
    std::string joined;
    for (auto const& s : segments)
        joined += "/" + s;
    return open ? joined + "/" : joined;
}

void require(bool ok) {
    if (!ok)
        std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::string_view const raw(reinterpret_cast<char const*>(data), size);
    std::string matched, canonical;
    auto const made = relais::normalise_path(raw, matched, canonical);
    auto const plain = plain_reading(raw);
    require(made.rejected() == !plain);
    (void)relais::check_query(raw);
    if (made.rejected())
        return 0;
    require(made.matched == *plain);
    std::string matched_again, canonical_again;
    auto const again = relais::normalise_path(made.canonical, matched_again, canonical_again);
    require(!again.rejected());
    require(again.matched == made.matched);
    require(again.canonical == made.canonical);
    std::string replaced;
    for (std::size_t cut = 0; cut <= made.matched.size(); ++cut) {
        require(made.canonical.ends_with(relais::canonical_rest(made.canonical, cut)));
        auto const result = relais::replace_prefix(made.canonical, cut, "/b/", replaced);
        if (result.empty())
            continue;
        auto const clean = relais::normalise_path(result, matched_again, canonical_again);
        require(!clean.rejected() && clean.canonical == result && result.starts_with("/b/"));
    }
    return 0;
}
