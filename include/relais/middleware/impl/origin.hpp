#pragma once

#include <relais/http/fields.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace relais::detail {

// Why a text is no origin as browsers send it, with what to write; empty when it is one. Source: Fetch, section 3.1;
// HTML, 7.1.1 (serialisation of origins).
inline std::string why_no_origin(std::string_view origin) {
    auto const quoted = "\"" + std::string(origin) + "\"";
    if (origin == "null")
        return "\"null\" is the origin of every sandboxed page and cannot be allowed: leave it out";
    if (origin.find('*') != origin.npos)
        return quoted + " is no origin: origins are compared as a whole, write each one out";
    auto const colon = origin.find("://");
    if (colon == origin.npos || colon == 0)
        return quoted + " is no origin: write it with its scheme, as in \"https://abc.com\"";
    auto const rest = origin.substr(colon + 3);
    if (auto const slash = rest.find('/'); slash != rest.npos)
        return quoted + (slash + 1 == rest.size() ? " ends in a slash" : " has a path") +
               ", which no origin does: write \"" +
               std::string(origin.substr(0, colon + 3 + slash)) + "\"";
    if (rest.empty() || rest.front() == ':')
        return quoted + " has no host: write it as in \"https://abc.com\"";
    for (char const c : origin) {
        if (c >= 'A' && c <= 'Z')
            return quoted + " has capital letters: browsers send origins in lower case";
        if (!is(octet_host, c) && c != ':' && c != '/' && c != '[' && c != ']')
            return quoted + " has a character that no origin has: names beyond ASCII are sent in "
                            "their \"xn--\" form";
    }
    if ((origin.starts_with("https://") && rest.ends_with(":443") && rest.front() != '[') ||
        (origin.starts_with("http://") && rest.ends_with(":80") && rest.front() != '['))
        return quoted + " has the default port, which browsers leave out: write \"" +
               std::string(origin.substr(0, origin.rfind(':'))) + "\"";
    return {};
}

// The one origin that a request names; empty where there is none or more than one.
inline std::string_view origin_of(fields const& head) noexcept {
    auto const* origin = head.find(known_field::origin);
    return origin != nullptr && head.count(known_field::origin) == 1 ? origin->value
                                                                     : std::string_view();
}

inline bool is_among(std::vector<std::string> const& origins, std::string_view origin) noexcept {
    return std::find(origins.begin(), origins.end(), origin) != origins.end();
}

} // namespace relais::detail
