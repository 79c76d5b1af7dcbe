#pragma once

#include <relais/http/framing.hpp>
#include <relais/http/impl/octets.hpp>

#include <algorithm>
#include <limits>

namespace relais {
namespace detail {

inline bool is_hex(char c) noexcept {
    char const l = to_lower(c);
    return is(octet_digit, c) || (l >= 'a' && l <= 'f');
}

// RFC 3986, 3.2.2, without a zone.
inline bool is_ipv6(std::string_view s) noexcept {
    unsigned groups = 0;
    bool gap = false;
    if (s.starts_with("::")) {
        gap = true;
        s.remove_prefix(2);
        if (s.empty())
            return true;
    }
    for (;;) {
        std::size_t digits = 0;
        while (digits < s.size() && is_hex(s[digits]))
            ++digits;
        if (digits < s.size() && s[digits] == '.') {
            // An IPv4 address in the place of the last two groups.
            for (int part = 0; part < 4; ++part) {
                std::size_t n = 0;
                unsigned value = 0;
                while (n < s.size() && n < 3 && is(octet_digit, s[n]))
                    value = value * 10 + static_cast<unsigned>(s[n++] - '0');
                if (n == 0 || value > 255 || (n > 1 && s[0] == '0'))
                    return false;
                s.remove_prefix(n);
                if (part == 3)
                    break;
                if (s.empty() || s[0] != '.')
                    return false;
                s.remove_prefix(1);
            }
            groups += 2;
            break;
        }
        if (digits == 0 || digits > 4)
            return false;
        ++groups;
        s.remove_prefix(digits);
        if (s.empty())
            break;
        if (s[0] != ':')
            return false;
        s.remove_prefix(1);
        if (!s.empty() && s[0] == ':') {
            if (gap)
                return false;
            gap = true;
            s.remove_prefix(1);
            if (s.empty())
                break;
        }
        if (groups >= 8)
            return false;
    }
    return s.empty() && (gap ? groups < 8 : groups == 8);
}

inline bool is_reg_name(std::string_view s) noexcept {
    for (std::size_t i = 0; i < s.size(); ++i) {
        if (is(octet_host, s[i]))
            continue;
        if (s[i] != '%' || s.size() - i < 3 || !is_hex(s[i + 1]) || !is_hex(s[i + 2]))
            return false;
        i += 2;
    }
    return !s.empty();
}

enum class transfer : std::uint8_t { chunked, malformed, unknown };

// All lines make one list: chunked, once, last and alone is the only one that is understood.
inline transfer transfer_of(fields const& head) noexcept {
    bool chunked = false, unknown = false;
    for (auto rest : head.all(known_field::transfer_encoding)) {
        for (bool more = true; more;) {
            std::size_t end = 0;
            bool quoted = false;
            for (; end < rest.size() && (quoted || rest[end] != ','); ++end) {
                if (rest[end] == '"')
                    quoted = !quoted;
                else if (quoted && rest[end] == '\\' && end + 1 < rest.size())
                    ++end;
            }
            more = end < rest.size();
            auto const element = trim(rest.substr(0, end));
            rest.remove_prefix(more ? end + 1 : end);
            auto const coding = trim(element.substr(0, element.find(';')));
            if (coding.empty() || !all_are(octet_token, coding) || quoted || chunked)
                return transfer::malformed;
            if (equal_ignoring_case(coding, "chunked")) {
                if (coding.size() != element.size())
                    return transfer::malformed;
                chunked = true;
            } else {
                unknown = true;
            }
        }
    }
    if (unknown)
        return transfer::unknown;
    return chunked ? transfer::chunked : transfer::malformed;
}

struct framing_result {
    body_framing body;
    bool declared = false;
    end_reason why = end_reason::completed;
    char const* sentence = "";
};

// What Content-Length and Transfer-Encoding say, for both directions.
inline framing_result framing_of(fields const& head, unsigned version) noexcept {
    framing_result r;
    bool const length = head.contains(known_field::content_length);
    bool const coding = head.contains(known_field::transfer_encoding);
    auto const fail = [&r](end_reason why, char const* sentence) {
        r.why = why;
        r.sentence = sentence;
        return r;
    };
    if (coding) {
        if (length)
            return fail(end_reason::bad_request, "Content-Length and Transfer-Encoding at once");
        if (version < 11)
            return fail(end_reason::bad_request, "Transfer-Encoding in HTTP/1.0");
        switch (transfer_of(head)) {
        case transfer::chunked: r.body.kind = framing_kind::chunked; return r;
        case transfer::unknown:
            return fail(end_reason::coding_not_implemented, "a transfer coding other than chunked");
        case transfer::malformed: break;
        }
        return fail(end_reason::bad_request, "Transfer-Encoding is not chunked, once and last");
    }
    if (length) {
        if (head.repeated().contains(known_field::content_length))
            return fail(end_reason::bad_request, "more than one Content-Length");
        auto const value = parse_content_length(head[known_field::content_length]);
        if (!value)
            return fail(end_reason::bad_request, "Content-Length is not a number of bytes");
        r.body = {*value != 0 ? framing_kind::length : framing_kind::none, *value};
        r.declared = true;
    }
    return r;
}

inline bool keeps_alive(fields const& head, unsigned version) noexcept {
    if (!head.contains(known_field::connection))
        return version >= 11;
    // What browsers and gateways send.
    if (!head.repeated().contains(known_field::connection) &&
        equal_ignoring_case(head[known_field::connection], "keep-alive"))
        return true;
    if (head.has_token(known_field::connection, "close"))
        return false;
    return version >= 11 || head.has_token(known_field::connection, "keep-alive");
}

inline unsigned default_port(std::string_view scheme) noexcept {
    return scheme.size() == 5 ? 443 : 80;
}

} // namespace detail

RELAIS_DECL std::optional<std::uint64_t> parse_content_length(std::string_view value) noexcept {
    constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
    std::uint64_t n = 0;
    for (char const c : value) {
        if (!detail::is(detail::octet_digit, c))
            return std::nullopt;
        auto const digit = static_cast<std::uint64_t>(c - '0');
        if (n > (most - digit) / 10)
            return std::nullopt;
        n = n * 10 + digit;
    }
    if (value.empty())
        return std::nullopt;
    return n;
}

RELAIS_DECL std::optional<authority_parts> parse_authority(std::string_view text) noexcept {
    authority_parts parts;
    std::string_view port;
    if (text.starts_with('[')) {
        auto const end = text.find(']');
        if (end == text.npos)
            return std::nullopt;
        parts.host = text.substr(1, end - 1);
        parts.ipv6 = true;
        port = text.substr(end + 1);
        if (!detail::is_ipv6(parts.host))
            return std::nullopt;
    } else {
        std::size_t end = 0;
        while (end < text.size() && detail::is(detail::octet_host, text[end]))
            ++end;
        bool const plain = end != 0 && (end == text.size() || text[end] == ':');
        if (!plain)
            end = std::min(text.find(':'), text.size());
        parts.host = text.substr(0, end);
        port = text.substr(end);
        if (!plain && !detail::is_reg_name(parts.host))
            return std::nullopt;
    }
    if (port.empty())
        return parts;
    if (port[0] != ':')
        return std::nullopt;
    port.remove_prefix(1);
    if (port.empty())
        return parts; // RFC 3986 allows it
    unsigned number = 0;
    for (char const c : port) {
        if (!detail::is(detail::octet_digit, c))
            return std::nullopt;
        number = number * 10 + static_cast<unsigned>(c - '0');
        if (number > 65535)
            return std::nullopt;
    }
    if (number == 0)
        return std::nullopt;
    parts.port = static_cast<std::uint16_t>(number);
    return parts;
}

namespace detail {

// One function for each question, in the order in which they are asked. Each says whether to go on.
class request_gate {
public:
    request_gate(request_line const& l, fields const& h, gate_options const& o) noexcept
        : line(l), head(h), options(o) {}

    request_facts run() noexcept {
        facts.keep_alive = keeps_alive(head, line.version);
        facts.upgrades = line.version >= 11 && head.contains(known_field::upgrade) &&
                         head.has_token(known_field::connection, "upgrade");
        if (body() && method() && target() && host() && forwards())
            expectation();
        if (facts.rejected.closes)
            facts.keep_alive = false;
        return facts;
    }

private:
    bool fail(end_reason why, char const* sentence, bool closes) noexcept {
        facts.rejected = {why, sentence, closes};
        return false;
    }

    bool body() noexcept {
        auto const framing = framing_of(head, line.version);
        if (framing.why != end_reason::completed)
            return fail(framing.why, framing.sentence, true);
        facts.body = framing.body;
        return true;
    }

    bool method() noexcept {
        if (line.method == verb::connect && !options.connect)
            return fail(end_reason::method_not_allowed, "CONNECT is not enabled", false);
        if (line.method == verb::trace && !options.trace)
            return fail(end_reason::method_not_allowed, "TRACE is not enabled", false);
        if (line.method == verb::trace && facts.body.kind != framing_kind::none)
            return fail(end_reason::bad_request, "TRACE with a body", true);
        return true;
    }

    bool target() noexcept {
        std::string_view t = line.target;
        if (t.find('#') != t.npos)
            return fail(end_reason::bad_target, "a fragment in the request target", false);
        if (line.method == verb::connect) {
            facts.form = target_form::authority;
            auto const parts = parse_authority(t);
            if (!parts || parts->port == 0)
                return fail(end_reason::bad_target, "CONNECT without a host and a port", false);
            facts.authority = t;
            facts.host = *parts;
            return true;
        }
        if (t.starts_with('/')) {
            facts.form = target_form::origin;
            split(t);
            return true;
        }
        if (t == "*") {
            facts.form = target_form::asterisk;
            facts.path = t;
            if (line.method != verb::options)
                return fail(end_reason::bad_target, "the target * outside OPTIONS", false);
            return true;
        }
        return absolute(t);
    }

    bool absolute(std::string_view t) noexcept {
        facts.form = target_form::absolute;
        auto const colon = std::min(t.find(':'), t.size());
        auto const scheme = t.substr(0, colon);
        if (!equal_ignoring_case(scheme, "http") && !equal_ignoring_case(scheme, "https"))
            return fail(end_reason::bad_target, "a target that is neither a path nor an http URI",
                        false);
        t.remove_prefix(colon);
        if (!t.starts_with("://"))
            return fail(end_reason::bad_target, "a target that is neither a path nor an http URI",
                        false);
        t.remove_prefix(3);
        auto const end = std::min(t.find_first_of("/?"), t.size());
        auto const parts = parse_authority(t.substr(0, end));
        if (!parts)
            return fail(end_reason::bad_target,
                        "the authority of the target is not a host and a port", false);
        facts.scheme = scheme;
        facts.authority = t.substr(0, end);
        facts.host = *parts;
        t.remove_prefix(end);
        if (t.empty() && line.method == verb::options) {
            facts.path = "*"; // RFC 9112, 3.2.4
        } else {
            split(t);
            if (facts.path.empty())
                facts.path = "/";
        }
        return true;
    }

    void split(std::string_view t) noexcept {
        auto const mark = std::min(t.find('?'), t.size());
        facts.path = t.substr(0, mark);
        facts.has_query = mark != t.size();
        if (facts.has_query)
            facts.query = t.substr(mark + 1);
    }

    bool host() noexcept {
        if (!head.contains(known_field::host)) {
            if (line.version >= 11)
                return fail(end_reason::bad_host, "there is no Host", true);
            return true;
        }
        if (head.repeated().contains(known_field::host))
            return fail(end_reason::bad_host, "more than one Host", true);
        auto const value = head[known_field::host];
        auto const parts = parse_authority(value);
        if (!parts)
            return fail(end_reason::bad_host, "Host is not a host and a port", true);
        if (facts.authority.empty()) {
            facts.authority = value;
            facts.host = *parts;
            return true;
        }
        auto const fallback = facts.form == target_form::authority ? 0 : default_port(facts.scheme);
        auto const port = [fallback](authority_parts const& p) {
            return p.port != 0 ? p.port : fallback;
        };
        // A CONNECT names the port in its target; Host may leave it out.
        bool const same_port =
            port(*parts) == port(facts.host) || (fallback == 0 && parts->port == 0);
        if (parts->ipv6 != facts.host.ipv6 || !same_port ||
            !equal_ignoring_case(parts->host, facts.host.host))
            return fail(end_reason::bad_host, "Host is not the authority of the target", true);
        return true;
    }

    bool forwards() noexcept {
        if (line.method != verb::options && line.method != verb::trace)
            return true;
        if (!head.contains(known_field::max_forwards))
            return true;
        auto const value = head[known_field::max_forwards];
        if (head.repeated().contains(known_field::max_forwards) || value.empty() ||
            !all_are(octet_digit, value))
            return fail(end_reason::bad_request, "Max-Forwards is not a number", false);
        std::uint64_t n = 0;
        constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
        for (char const c : value)
            n = std::min(most, n * 10 + static_cast<unsigned>(c - '0'));
        facts.max_forwards = static_cast<std::uint32_t>(n);
        return true;
    }

    bool expectation() noexcept {
        if (!head.contains(known_field::expect))
            return true;
        if (head.repeated().contains(known_field::expect) ||
            !equal_ignoring_case(head[known_field::expect], "100-continue"))
            return fail(end_reason::expectation_failed, "an expectation other than 100-continue",
                        false);
        // HTTP/1.0 knows no 100, and without a body there is nothing to wait with.
        facts.expects_continue = line.version >= 11 && facts.body.kind != framing_kind::none;
        return true;
    }

    request_line const& line;
    fields const& head;
    gate_options const& options;
    request_facts facts;
};

} // namespace detail

RELAIS_DECL request_facts examine_request(request_line const& line, fields const& head,
                                          gate_options const& options) noexcept {
    return detail::request_gate(line, head, options).run();
}

RELAIS_DECL response_facts examine_response(status_line const& line, fields const& head,
                                            verb method, bool upgrade_asked) noexcept {
    response_facts facts;
    auto const framing = detail::framing_of(head, line.version);
    if (framing.why != end_reason::completed) {
        facts.rejected = {end_reason::bad_response, framing.sentence, true};
        return facts;
    }
    if (framing.declared)
        facts.declared_length = framing.body.length;
    if (line.status == 101 && !upgrade_asked) {
        facts.rejected = {end_reason::bad_response, "a 101 that was not asked for", true};
        return facts;
    }
    if (line.status == 101 && line.version == 10) {
        facts.rejected = {end_reason::bad_response, "a 101 of HTTP/1.0, which has no Upgrade",
                          true};
        return facts;
    }
    facts.switches = line.status == 101;
    facts.interim = line.status < 200 && !facts.switches;
    bool const bodiless =
        line.status < 200 || line.status == 204 || line.status == 304 || method == verb::head;
    if (!bodiless) {
        facts.body = framing.body;
        if (facts.body.kind == framing_kind::none && !framing.declared)
            facts.body.kind = framing_kind::until_close;
    }
    facts.keep_alive = !facts.switches && facts.body.kind != framing_kind::until_close &&
                       detail::keeps_alive(head, line.version);
    return facts;
}

RELAIS_DECL bool may_be_nominated(std::string_view name) noexcept {
    constexpr known_fields exempt{
        known_field::host,         known_field::content_length, known_field::authorization,
        known_field::cookie,       known_field::forwarded,      known_field::x_real_ip,
        known_field::x_request_id, known_field::client_cert,    known_field::client_cert_chain};
    constexpr std::string_view forwarded = "X-Forwarded-";
    return !exempt.contains(known_field_of(name)) &&
           !equal_ignoring_case(name.substr(0, std::min(name.size(), forwarded.size())), forwarded);
}

RELAIS_DECL bool is_nominated(fields const& head, std::string_view name) noexcept {
    return head.has_token(known_field::connection, name) && may_be_nominated(name);
}

RELAIS_DECL void erase_hop_by_hop(fields& head, hop_by_hop_options const& options) {
    if (!head.present().intersects(hop_by_hop_fields))
        return;
    auto ends_here = hop_by_hop_fields;
    if (options.keep_proxy_authentication) {
        ends_here.erase(known_field::proxy_authenticate);
        ends_here.erase(known_field::proxy_authorization);
    }
    for (auto rest : head.all(known_field::connection)) {
        if (equal_ignoring_case(rest, "keep-alive") || equal_ignoring_case(rest, "close"))
            continue; // nearly every one
        for (auto name = next_list_element(rest); !name.empty(); name = next_list_element(rest)) {
            // These words name no field, or one that goes anyway.
            if (equal_ignoring_case(name, "keep-alive") || equal_ignoring_case(name, "close") ||
                equal_ignoring_case(name, "connection") || ends_here.contains(known_field_of(name)))
                continue;
            auto const same = [name](std::string_view trusted) {
                return equal_ignoring_case(name, trusted);
            };
            if (may_be_nominated(name) &&
                std::none_of(options.trusted.begin(), options.trusted.end(), same))
                head.erase(name);
        }
    }
    head.erase_if([ends_here](fields::entry const& e) { return ends_here.contains(e.id); });
}

} // namespace relais
