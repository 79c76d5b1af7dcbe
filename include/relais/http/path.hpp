#pragma once

/// \file
/// The path and the query of a request: what is refused, what routes compare, what goes to the upstream.

#include <relais/config.hpp>
#include <relais/core/error.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace relais {

/// The outcome of `normalise_path`.
struct path_result {
    /// What routes compare: percent-decoded once, without dot segments and repeated slashes. An encoded slash and
    /// encoded control bytes stay encoded, with upper-case digits: "%2F", "%0A".
    std::string_view matched{};

    /// What is forwarded: the same path in the one percent-encoded form that has nothing left to normalise. Escapes
    /// of unreserved characters are decoded, all others have upper-case digits.
    std::string_view canonical{};

    /// Why the path is refused; empty when it is not.
    std::string_view sentence{};

    bool rejected() const noexcept { return !sentence.empty(); }

    /// The reason that belongs to a rejected path.
    static constexpr end_reason reason = end_reason::bad_target;
};

/// Checks the path of a target and brings it to the forms in which it is matched and forwarded.
///
/// Refused are, besides what RFC 3986 has no place for: bad escapes and `%00`, dot segments that climb over the root,
/// and what servers read in different ways: `\`, a dot segment with parameters (`/..;/`), and a dot segment beside
/// an encoded slash or backslash (`/..%2F`, `/a%5C..`). The characters `[ ] { } | ^` and backquote, which browsers send as they
/// are, get encoded. An escape of a reserved character stays one (`%3B` is no `;`), and what was encoded twice stays so.
///
/// \param raw the path as it came, without the query. An empty one is "/".
/// \param matched, canonical where the forms are stored that differ from what came; must not hold `raw`.
/// \return views of `raw` (a clean path: nothing is stored) or of the buffers. Source: RFC 3986, sections 2 to 3.3, 5.2.4 and 6.2.2.
path_result normalise_path(std::string_view raw, std::string& matched, std::string& canonical);

/// Checks the query of a target, which is forwarded as it came.
///
/// \param strict refuse quotes, angle brackets and bytes beyond ASCII; spaces, control bytes and `#` always are.
/// \return why it is refused (`end_reason::bad_target`), empty when it is not.
std::string_view check_query(std::string_view query, bool strict = true) noexcept;

/// What follows in the canonical form after so many bytes of the matched form of the same path. An escape that the
/// cut would go through belongs to what follows.
std::string_view canonical_rest(std::string_view canonical, std::size_t matched_length) noexcept;

/// Puts `replacement` in the place of what a route's prefix matched, as the path of an upstream does.
///
/// As in nginx the rest is appended as it is ("/a/" replaced by "/b" makes "/bx" of "/a/x"), but two slashes
/// that meet become one, and where a dot segment would arise ("/a" replaced by "/b/" in "/a../x") the result is refused.
///
/// \param canonical the canonical form of the path, \param matched_length the bytes of its matched form that the prefix took.
/// \param replacement a canonical path. \param result where it is stored.
/// \return a view of `result`, empty when it is refused (`end_reason::bad_target`).
std::string_view replace_prefix(std::string_view canonical, std::size_t matched_length,
                                std::string_view replacement, std::string& result);

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/path.ipp>
#endif
