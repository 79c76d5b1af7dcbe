#pragma once

#include <relais/http/impl/octets.hpp>
#include <relais/proxy/rewrite.hpp>

namespace relais {
namespace detail {

struct host_and_port {
    std::string_view host;
    std::string_view port; ///< empty: the scheme's
};

inline host_and_port split_authority(std::string_view authority) noexcept {
    auto const bracket = authority.starts_with('[') ? authority.find(']') : 0;
    auto const colon = bracket == authority.npos ? bracket : authority.find(':', bracket);
    if (colon == authority.npos)
        return {authority, {}};
    return {authority.substr(0, colon), authority.substr(colon + 1)};
}

inline bool same_place(std::string_view a, std::string_view b, bool https) noexcept {
    if (a.empty() || b.empty())
        return false;
    auto const usual = std::string_view(https ? "443" : "80");
    auto const one = split_authority(a), other = split_authority(b);
    return equal_ignoring_case(one.host, other.host) &&
           (one.port.empty() ? usual : one.port) == (other.port.empty() ? usual : other.port);
}

/// Whether a URL is the upstream's own, by what it was told about itself too.
inline bool names_upstream(rewrite_sides const& s, bool https,
                           std::string_view authority) noexcept {
    return (https == s.secure || https == s.client_secure) &&
           (same_place(authority, s.authority, https) ||
            same_place(authority, s.sent_host, https) ||
            same_place(authority, s.client_authority, https));
}

inline std::string_view without_last_slash(std::string_view path) noexcept {
    return path.ends_with('/') ? path.substr(0, path.size() - 1) : path;
}

/// Whether browsers read it as `//host`: they take a backslash for a slash, and look past tabs.
inline bool reads_as_host(std::string_view path) noexcept {
    return path.size() > 1 && path[0] == '/' &&
           (path[1] == '/' || path[1] == '\\' || path[1] == '\t');
}

/// Appends a path in the client's words. \return false, with nothing appended, where it is not the upstream's.
inline bool put_client_path(std::string_view path, rewrite_sides const& s, std::string& out) {
    auto const from = s.path, to = s.client_path;
    if (from.empty() || to.empty() || from == to)
        return false;
    auto const folder = without_last_slash(from), clients = without_last_slash(to);
    if (to.size() > from.size() && path.starts_with(clients) &&
        (path.size() == clients.size() || path[clients.size()] == '/'))
        return false;
    if (path == folder && !path.empty()) {
        out += clients.empty() ? to : clients;
        return true;
    }
    if (!path.starts_with(from))
        return false;
    auto rest = path.substr(from.size());
    if (to.ends_with('/') && rest.starts_with('/'))
        rest.remove_prefix(1);
    if (to == "/" && !rest.empty() && (rest[0] == '/' || rest[0] == '\\' || rest[0] == '\t'))
        return false;
    out += to;
    if (from.ends_with('/') && !to.ends_with('/') && !rest.empty())
        out += '/';
    out += rest;
    return true;
}

/// Whether a Domain is sent back to a host: that one, or one below it.
inline bool domain_covers(std::string_view domain, std::string_view host) noexcept {
    if (equal_ignoring_case(domain, host))
        return true;
    if (host.size() <= domain.size() || host[host.size() - domain.size() - 1] != '.' ||
        !equal_ignoring_case(domain, host.substr(host.size() - domain.size())))
        return false;
    auto const last_label = host.substr(host.rfind('.') + 1);
    return !all_are(octet_digit, last_label); // an address has nothing below it
}

/// Where the name and the value of a cookie end. A quoted value may have semicolons for those who honour quotes.
inline std::size_t end_of_pair(std::string_view cookie) noexcept {
    auto const semicolon = std::min(cookie.find(';'), cookie.size());
    auto at = cookie.substr(0, semicolon).find('=');
    if (at == cookie.npos)
        return semicolon;
    for (++at; at < cookie.size() && is_blank(cookie[at]);)
        ++at;
    if (at >= semicolon || cookie[at] != '"')
        return semicolon;
    for (++at; at < cookie.size() && cookie[at] != '"'; ++at)
        if (cookie[at] == '\\')
            ++at;
    if (at >= cookie.size())
        return semicolon;
    for (++at; at < cookie.size() && is_blank(cookie[at]);)
        ++at;
    return at == cookie.size() || cookie[at] == ';' ? at : semicolon;
}

} // namespace detail

RELAIS_DECL bool rewrite_location(std::string_view value, rewrite_sides const& between,
                                  std::string& result) {
    auto const colon = value.find(':');
    auto const scheme = value.substr(0, colon == value.npos ? 0 : colon);
    bool const https = equal_ignoring_case(scheme, "https");
    bool const absolute =
        (https || equal_ignoring_case(scheme, "http")) && value.substr(colon).starts_with("://");
    result.clear();
    auto head = absolute ? colon + 3 : value.starts_with("//") ? 2 : 0;
    if (head != 0) {
        auto const end = std::min(value.find_first_of("/?#", head), value.size());
        auto const authority = value.substr(head, end - head);
        auto const ours = [&](bool secure) {
            return detail::names_upstream(between, secure, authority);
        };
        if (absolute ? !ours(https) : !ours(between.secure) && !ours(between.client_secure))
            return false;
        bool const clients =
            (!absolute || https == between.client_secure) &&
            detail::same_place(authority, between.client_authority, between.client_secure);
        if (clients) {
            result = value.substr(0, end);
        } else if (!between.client_authority.empty()) {
            if (absolute)
                result = between.client_secure ? "https:" : "http:";
            result.append("//").append(between.client_authority);
        }
        head = end;
    } else if (!value.starts_with('/') || detail::reads_as_host(value)) {
        return false;
    }
    auto const rest = value.substr(head);
    auto const path = rest.substr(0, rest.find_first_of("?#"));
    auto const more = rest.substr(path.size());
    if (!detail::put_client_path(path.empty() ? "/" : path, between, result)) {
        if (result.empty() && detail::reads_as_host(path))
            return false;
        result += result.empty() && path.empty() ? "/" : path;
    }
    result += more;
    return result != value;
}

RELAIS_DECL bool rewrite_refresh(std::string_view value, rewrite_sides const& between,
                                 std::string& result) {
    std::size_t at = 0;
    auto const skip = [&](auto const& what) {
        while (at < value.size() && what(value[at]))
            ++at;
    };
    auto const digit = [](char c) { return detail::is(detail::octet_digit, c) || c == '.'; };
    skip(detail::is_blank);
    skip(digit);
    skip(detail::is_blank);
    if (at == value.size() || (value[at] != ';' && value[at] != ','))
        return false;
    ++at;
    skip(detail::is_blank);
    if (!equal_ignoring_case(value.substr(at, 3), "url"))
        return false;
    at += 3;
    skip(detail::is_blank);
    if (at == value.size() || value[at] != '=')
        return false;
    ++at;
    skip(detail::is_blank);
    auto end = value.size();
    if (at < end && (value[at] == '"' || value[at] == '\'')) {
        end = std::min(value.find(value[at], at + 1), end);
        ++at;
    }
    std::string url;
    if (!rewrite_location(value.substr(at, end - at), between, url))
        return false;
    result.assign(value.substr(0, at)).append(url).append(value.substr(end));
    return true;
}

RELAIS_DECL bool rewrite_cookie(std::string_view value, rewrite_sides const& between,
                                std::string_view domain, std::string& result) {
    using detail::trim;
    auto semicolon = detail::end_of_pair(value);
    bool const bound_to_host =
        equal_ignoring_case(trim(value.substr(0, semicolon)).substr(0, 7), "__Host-");
    result.clear();
    std::size_t taken = 0; // of `value`, by `result`
    while (semicolon < value.size()) {
        auto const end = std::min(value.find(';', semicolon + 1), value.size());
        auto const attribute = value.substr(semicolon + 1, end - semicolon - 1);
        auto const equals = std::min(attribute.find('='), attribute.size());
        auto const name = trim(attribute.substr(0, equals));
        auto content = trim(attribute.substr(std::min(equals + 1, attribute.size())));
        if (content.size() > 1 && content.front() == '"' && content.back() == '"')
            content = content.substr(1, content.size() - 2);
        auto const at = static_cast<std::size_t>(content.data() - value.data());
        if (!content.empty() && equal_ignoring_case(name, "Path")) {
            auto const before = result.size();
            result += value.substr(taken, at - taken);
            if (!bound_to_host && detail::put_client_path(content, between, result))
                taken = at + content.size();
            else
                result.resize(before);
        } else if (!content.empty() && equal_ignoring_case(name, "Domain")) {
            auto const told = content.substr(content.front() == '.' ? 1 : 0);
            auto const covers = [&](std::string_view authority) {
                return !told.empty() && !authority.empty() &&
                       detail::domain_covers(told, detail::split_authority(authority).host);
            };
            if ((covers(between.authority) || covers(between.sent_host)) &&
                !covers(between.client_authority)) {
                bool const replaced = !domain.empty();
                result.append(value.substr(taken, (replaced ? at : semicolon) - taken));
                result.append(domain);
                taken = replaced ? at + content.size() : end;
            }
        }
        semicolon = end;
    }
    if (taken == 0)
        return false;
    result += value.substr(taken);
    return result != value;
}

RELAIS_DECL void rewrite_fields(fields& head, known_fields which, rewrite_sides const& between,
                                std::string_view domain) {
    std::string made;
    head.replace_values(which, [&](fields::entry const& e) {
        bool const changed =
            e.id == known_field::set_cookie ? rewrite_cookie(e.value, between, domain, made)
            : e.id == known_field::refresh  ? rewrite_refresh(e.value, between, made)
                                            : rewrite_location(e.value, between, made);
        return changed ? head.store(made) : e.value;
    });
}

} // namespace relais
