#pragma once

#include <relais/http/impl/percent.hpp>
#include <relais/route/impl/pattern.hpp>
#include <relais/route/match.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace relais {
namespace detail {

constexpr std::uint64_t method_bit(verb method) noexcept {
    auto const value = static_cast<unsigned>(method);
    return value < 64 ? std::uint64_t{1} << value : 1;
}

inline std::string method_list(std::uint64_t methods) {
    std::string list;
    for (unsigned value = 1; value < 64; ++value) {
        if ((methods >> value & 1) == 0)
            continue;
        auto const name = boost::beast::http::to_string(static_cast<verb>(value));
        if (!list.empty())
            list += ", ";
        list.append(name.data(), name.size());
    }
    return list;
}

inline std::string quoted(std::string_view text) {
    return std::string("\"").append(text).append("\"");
}

// An empty answer is a good one.
inline std::string why_no_host(std::string_view host) {
    auto name = host;
    if (name.starts_with("*."))
        name.remove_prefix(2);
    bool const ipv6 = std::count(host.begin(), host.end(), ':') > 1 &&
                      host.find_first_not_of("0123456789abcdef:.") == host.npos;
    if (ipv6)
        return {};
    if (name.empty() || name.front() == '.')
        return "write a name or \"*.\" and a name";
    if (name.find('*') != name.npos)
        return "a wildcard is the first label: \"*.example.com\"";
    if (name.find(':') != name.npos)
        return "write it without the port";
    if (name.find('/') != name.npos)
        return "write the name alone, without a scheme or a path";
    for (char const c : name)
        if (static_cast<unsigned char>(c) >= 0x80)
            return "write it as it is sent, in its \"xn--\" form";
    if (!all_are(octet_host, name))
        return "it has a character that no host has, write it without";
    return {};
}

inline std::string why_no_pattern(std::string const& text, boost::regex_error const& error) {
    std::string why = error.what(); // a sentence, and then one with the expression
    why.erase(std::min(why.find(".  "), why.size()));
    if (why.ends_with('.'))
        why.pop_back();
    auto const fine =
        text.substr(0, static_cast<std::size_t>(std::max<std::ptrdiff_t>(error.position(), 0)));
    return "the regular expression does not compile " +
           (fine.empty() ? "from its beginning" : "behind " + quoted(fine)) + ": " + why +
           "; correct it, or write \\ before a character that stands for itself";
}

inline std::string why_no_path(matcher const& m) {
    std::string_view const text = m.text();
    if (text.empty())
        return "a path begins with a slash: write at(\"/\") for all of them";
    if (text.front() != '/')
        return "a path begins with a slash: write \"/" + m.text() + "\"";
    if (text.find("//") != text.npos)
        return "repeated slashes are merged before routes are asked: write one";
    if (text.find_first_of("?#") != text.npos)
        return "routes see the path only: write it without the query and the fragment";
    bool const whole = m.kind() == route_kind::exact;
    for (std::size_t at = 1; at < text.size();) {
        auto const end = text.find('/', at);
        if (end == text.npos && !whole)
            break;
        auto const segment = text.substr(at, end - at);
        if (segment == "." || segment == "..")
            return "dot segments are removed before routes are asked: write the path without";
        if (end == text.npos)
            break;
        at = end + 1;
    }
    for (auto at = text.find('%'); at != text.npos; at = text.find('%', at + 1)) {
        auto const digits = text.substr(at + 1, 2);
        if (digits.size() < 2 || hex_value(digits[0]) < 0 || hex_value(digits[1]) < 0)
            continue;
        auto const decoded =
            static_cast<unsigned char>(hex_value(digits[0]) * 16 + hex_value(digits[1]));
        if (!stays_encoded(decoded))
            return "paths are decoded before routes are asked: write \"%" + std::string(digits) +
                   "\" as the character it stands for";
        if (digits.find_first_of("abcdef") != digits.npos)
            return "what stays encoded has upper-case digits: write \"%2F\", not \"%2f\"";
    }
    for (char const c : text)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            return "control bytes stay encoded in paths: write \"%0A\", not the byte";
    return {};
}

} // namespace detail

RELAIS_DECL void matcher::add_host(std::string_view name) {
    std::string lower;
    for (char const c : name)
        lower += detail::to_lower(c);
    if (lower.size() > 1 && lower.back() == '.' && lower != "*.")
        lower.pop_back();
    // As the host of a request: an IPv6 address without its brackets.
    if (lower.size() > 2 && lower.front() == '[' && lower.back() == ']')
        lower = lower.substr(1, lower.size() - 2);
    if (std::find(hosts_.begin(), hosts_.end(), lower) == hosts_.end())
        hosts_.push_back(std::move(lower));
}

RELAIS_DECL void matcher::add_method(verb method) noexcept {
    methods_ |= detail::method_bit(method);
}

RELAIS_DECL std::string matcher::describe() const {
    std::string said;
    switch (kind_) {
    case route_kind::exact: said = "exact(" + detail::quoted(text_) + ")"; break;
    case route_kind::strong_prefix: said = "prefix(" + detail::quoted(text_) + ")"; break;
    case route_kind::prefix: said = detail::quoted(text_); break;
    case route_kind::pattern:
        said = "pattern(R\"(" + text_ + ")\"" + (ignores_case_ ? ", icase)" : ")");
        break;
    }
    said = "at(" + said + ")";
    if (!hosts_.empty()) {
        said += ".host(";
        for (auto const& host : hosts_)
            said.append(&host == &hosts_.front() ? "" : ", ").append(detail::quoted(host));
        said += ")";
    }
    if (methods_ != 0)
        said += ".method(" + detail::method_list(methods_) + ")";
    return said;
}

RELAIS_DECL end_reason route_match::reason() const noexcept {
    switch (what) {
    case outcome::not_found: return end_reason::not_found;
    case outcome::method_not_allowed: return end_reason::method_not_allowed;
    case outcome::path_too_long: return end_reason::target_too_long;
    case outcome::too_complex: return end_reason::bad_target;
    case outcome::found:
    case outcome::redirect: break;
    }
    return end_reason::completed;
}

struct route_table::impl {
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    struct choice {
        std::uint64_t methods;
        std::uint32_t rule;
    };

    // What stands at one path, or under one pattern, of one host.
    struct location {
        route_kind kind;
        std::vector<choice> choices;
        std::uint64_t methods = 0; // of all choices; 0 where one takes all
        std::string allow;
    };

    // A path at which there is a prefix rule, an exact one, or both.
    struct node {
        std::string text;
        std::uint32_t exact = none;
        std::uint32_t prefix = none;
        std::uint32_t parent = none; // the longest prefix rule that this text begins with
    };

    struct pattern_location {
        std::shared_ptr<detail::compiled_pattern const> pattern;
        std::uint32_t location;
    };

    struct host_rules {
        std::vector<node> nodes; // ordered by text
        std::vector<std::uint32_t>
            slashed; // prefix nodes whose text ends with a slash, ordered by it
        std::vector<pattern_location> patterns;
    };

    std::vector<location> locations;
    std::vector<host_rules> hosts;
    std::vector<std::pair<std::string, std::uint32_t>> names;     // ordered
    std::vector<std::pair<std::string, std::uint32_t>> wildcards; // ".b", longest first
    std::uint32_t any = none;

    std::uint32_t host_of(std::string_view name) const noexcept {
        if (names.empty() && wildcards.empty())
            return any;
        if (name.size() > 1 && name.back() == '.')
            name.remove_suffix(1);
        auto const found =
            std::lower_bound(names.begin(), names.end(), name,
                             [](auto const& entry, std::string_view n) { return entry.first < n; });
        if (found != names.end() && found->first == name)
            return found->second;
        for (auto const& [suffix, host] : wildcards)
            if (name.size() > suffix.size() && name.ends_with(suffix))
                return host;
        return any;
    }

    route_match at(std::uint32_t where, verb method, std::size_t length) const noexcept {
        auto const& l = locations[where];
        route_match match;
        match.kind = l.kind;
        match.location = where;
        match.length = length;
        auto const bit = detail::method_bit(method);
        std::uint64_t const instead = method == verb::head ? detail::method_bit(verb::get) : 0;
        int best = 0;
        for (auto const& c : l.choices) {
            int const fits = (c.methods & bit) != 0       ? 3
                             : (c.methods & instead) != 0 ? 2
                             : c.methods == 0             ? 1
                                                          : 0;
            if (fits <= best)
                continue;
            best = fits;
            match.rule = c.rule;
        }
        match.what =
            best != 0 ? route_match::outcome::found : route_match::outcome::method_not_allowed;
        if (best == 0)
            match.rule = l.choices.front().rule;
        return match;
    }

    // The node that ends where a slash would make the path fit, if nothing stands at the path itself.
    std::uint32_t slash_of(host_rules const& h, std::string_view path) const noexcept {
        auto const without_slash = [&h](std::uint32_t n) {
            auto const& text = h.nodes[n].text;
            return std::string_view(text).substr(0, text.size() - 1);
        };
        auto const found = std::lower_bound(
            h.slashed.begin(), h.slashed.end(), path,
            [&](std::uint32_t n, std::string_view p) { return without_slash(n) < p; });
        return found != h.slashed.end() && without_slash(*found) == path ? *found : none;
    }

    route_match find(std::string_view path, std::string_view host, verb method) const {
        auto const which = host_of(host);
        if (which == none)
            return {};
        auto const& h = hosts[which];
        auto const after =
            std::upper_bound(h.nodes.begin(), h.nodes.end(), path,
                             [](std::string_view p, node const& n) { return p < n.text; });
        auto longest = none;
        bool stands_here = false;
        if (after != h.nodes.begin()) {
            auto const& last = *(after - 1);
            bool const equal = last.text == path;
            if (equal && last.exact != none)
                return at(last.exact, method, path.size());
            stands_here = equal && last.prefix != none;
            // Of all rules that the path begins with the last in order is the longest, and the others begin it.
            longest = last.prefix != none ? static_cast<std::uint32_t>(&last - h.nodes.data())
                                          : last.parent;
            while (longest != none && !path.starts_with(h.nodes[longest].text))
                longest = h.nodes[longest].parent;
        }
        if (auto const slashed = stands_here ? none : slash_of(h, path); slashed != none) {
            auto match = at(h.nodes[slashed].prefix, method, route_match::no_prefix);
            if (match.found())
                match.what = route_match::outcome::redirect;
            return match;
        }
        auto const prefix = longest != none ? h.nodes[longest].prefix : none;
        if (!h.patterns.empty() &&
            (prefix == none || locations[prefix].kind != route_kind::strong_prefix)) {
            for (auto const& p : h.patterns) {
                bool const too_long = path.size() > pattern_path_limit;
                auto const answer = too_long ? detail::pattern_answer::gave_up
                                             : p.pattern->found_in(path, pattern_step_limit);
                if (answer == detail::pattern_answer::no)
                    continue;
                auto match = at(p.location, method, route_match::no_prefix);
                if (answer == detail::pattern_answer::gave_up)
                    match.what = too_long ? route_match::outcome::path_too_long
                                          : route_match::outcome::too_complex;
                return match;
            }
        }
        if (prefix == none)
            return {};
        return at(prefix, method, h.nodes[longest].text.size());
    }
};

namespace detail {

// Makes a table out of rules, and sentences out of mistakes.
template <class Impl>
class table_builder {
public:
    table_builder(std::vector<matcher> const& rules, std::vector<std::string>& problems)
        : rules_(rules), problems_(problems) {}

    std::unique_ptr<Impl> build() {
        for (std::uint32_t i = 0; i < rules_.size(); ++i)
            add(i);
        for (auto& h : impl_->hosts)
            order(h);
        for (auto& l : impl_->locations)
            list_methods(l);
        std::sort(impl_->names.begin(), impl_->names.end());
        std::sort(impl_->wildcards.begin(), impl_->wildcards.end(),
                  [](auto const& a, auto const& b) {
                      return std::pair(b.first.size(), std::string_view(a.first)) <
                             std::pair(a.first.size(), std::string_view(b.first));
                  });
        return std::move(impl_);
    }

private:
    void complain(matcher const& m, std::string_view why) {
        problems_.push_back(m.describe().append(": ").append(why));
    }

    void add(std::uint32_t index) {
        auto const& m = rules_[index];
        bool good = true;
        auto const found = [&](std::string const& why) {
            if (why.empty())
                return;
            complain(m, why);
            good = false;
        };
        for (auto const& host : m.hosts())
            if (auto const why = why_no_host(host); !why.empty())
                found(quoted(host) + " is no host: " + why);
        if (m.names_unknown_method())
            found("verb::unknown is no method: leave .method() out to take every method");
        std::shared_ptr<compiled_pattern const> compiled;
        if (m.kind() != route_kind::pattern) {
            found(why_no_path(m));
        } else if (m.text().empty()) {
            found("an empty pattern fits every path: write at(\"/\")");
        } else {
            try {
                compiled = std::make_shared<compiled_pattern const>(m.text(), m.ignores_case());
            } catch (boost::regex_error const& e) {
                found(why_no_pattern(m.text(), e));
            } catch (std::exception const& e) {
                found("the regular expression does not compile: " + std::string(e.what()));
            }
        }
        if (!good)
            return;
        if (m.hosts().empty())
            add_to(host(impl_->any), index, compiled);
        for (auto const& name : m.hosts()) {
            bool const wild = name.starts_with('*');
            auto& list = wild ? impl_->wildcards : impl_->names;
            auto const key = wild ? name.substr(1) : name;
            auto at = std::find_if(list.begin(), list.end(),
                                   [&](auto const& entry) { return entry.first == key; });
            if (at == list.end())
                at = list.insert(at, {key, Impl::none});
            add_to(host(at->second), index, compiled);
        }
    }

    std::uint32_t host(std::uint32_t& slot) {
        if (slot == Impl::none) {
            slot = static_cast<std::uint32_t>(impl_->hosts.size());
            impl_->hosts.emplace_back();
        }
        return slot;
    }

    // Kinds share their place where nginx does not tell them apart: both prefixes of a path are one location.
    void add_to(std::uint32_t host, std::uint32_t index,
                std::shared_ptr<compiled_pattern const> const& compiled) {
        auto const& m = rules_[index];
        bool const is_prefix =
            m.kind() == route_kind::prefix || m.kind() == route_kind::strong_prefix;
        auto const key =
            std::tuple(host, is_prefix ? route_kind::prefix : m.kind(), m.text(), m.ignores_case());
        auto const [at, is_new] =
            places_.try_emplace(key, static_cast<std::uint32_t>(impl_->locations.size()));
        if (is_new) {
            impl_->locations.push_back({m.kind(), {}, 0, {}});
            enter(impl_->hosts[host], m, at->second, compiled);
        }
        auto& l = impl_->locations[at->second];
        if (l.kind != m.kind()) {
            complain(m, "prefix(" + quoted(m.text()) + ") and " + quoted(m.text()) +
                            " are the same place: keep one of them");
            return;
        }
        for (auto const& c : l.choices) {
            if (c.methods == 0 ? m.methods() != 0 : (c.methods & m.methods()) == 0)
                continue;
            auto const numbers = std::to_string(c.rule + 1) + " and " + std::to_string(index + 1);
            complain(m, "the rules " + numbers +
                            " are for the same requests: keep one, or give them hosts or methods "
                            "of their own");
            return;
        }
        l.choices.push_back({m.methods(), index});
    }

    void enter(typename Impl::host_rules& h, matcher const& m, std::uint32_t location,
               std::shared_ptr<compiled_pattern const> const& compiled) {
        if (m.kind() == route_kind::pattern) {
            h.patterns.push_back({compiled, location});
            return;
        }
        auto at = std::find_if(h.nodes.begin(), h.nodes.end(),
                               [&](auto const& n) { return n.text == m.text(); });
        if (at == h.nodes.end()) {
            at = h.nodes.emplace(at);
            at->text = m.text();
        }
        (m.kind() == route_kind::exact ? at->exact : at->prefix) = location;
    }

    static void order(typename Impl::host_rules& h) {
        std::sort(h.nodes.begin(), h.nodes.end(),
                  [](auto const& a, auto const& b) { return a.text < b.text; });
        for (std::uint32_t i = 0; i < h.nodes.size(); ++i) {
            auto& n = h.nodes[i];
            auto above = i == 0                                ? Impl::none
                         : h.nodes[i - 1].prefix != Impl::none ? i - 1
                                                               : h.nodes[i - 1].parent;
            while (above != Impl::none && !n.text.starts_with(h.nodes[above].text))
                above = h.nodes[above].parent;
            n.parent = above;
            // The root lacks no slash: a path is never empty.
            if (n.prefix != Impl::none && n.text.size() > 1 && n.text.back() == '/')
                h.slashed.push_back(i);
        }
        // Without their slash the order is another one: "/a-b/" comes before "/a/".
        std::sort(h.slashed.begin(), h.slashed.end(), [&h](std::uint32_t a, std::uint32_t b) {
            auto const cut = [&h](std::uint32_t n) {
                return std::string_view(h.nodes[n].text).substr(0, h.nodes[n].text.size() - 1);
            };
            return cut(a) < cut(b);
        });
    }

    static void list_methods(typename Impl::location& l) {
        for (auto const& c : l.choices) {
            if (c.methods == 0) {
                l.methods = 0;
                return;
            }
            l.methods |= c.methods;
        }
        auto const get = method_bit(verb::get);
        l.allow =
            method_list((l.methods & get) != 0 ? l.methods | method_bit(verb::head) : l.methods);
    }

    std::vector<matcher> const& rules_;
    std::vector<std::string>& problems_;
    std::unique_ptr<Impl> impl_ = std::make_unique<Impl>();
    std::map<std::tuple<std::uint32_t, route_kind, std::string, bool>, std::uint32_t> places_;
};

} // namespace detail

RELAIS_DECL route_table::route_table() : impl_(std::make_unique<impl>()) {}

RELAIS_DECL route_table::route_table(std::vector<matcher> rules) : rules_(std::move(rules)) {
    impl_ = detail::table_builder<impl>(rules_, problems_).build();
}

RELAIS_DECL route_table::route_table(route_table&&) noexcept = default;
RELAIS_DECL route_table& route_table::operator=(route_table&&) noexcept = default;
RELAIS_DECL route_table::~route_table() = default;

RELAIS_DECL void route_table::check() const {
    if (problems_.empty())
        return;
    std::string all;
    for (auto const& problem : problems_)
        all.append(all.empty() ? "" : "\n").append(problem);
    throw startup_error(all);
}

RELAIS_DECL route_match route_table::find(std::string_view path, std::string_view host,
                                          verb method) const {
    return impl_->find(path, host, method);
}

RELAIS_DECL std::string_view route_table::allow(route_match const& match) const noexcept {
    return match.location < impl_->locations.size()
               ? std::string_view(impl_->locations[match.location].allow)
               : std::string_view();
}

RELAIS_DECL std::string route_table::explain(std::string_view path, std::string_view host,
                                             verb method) const {
    std::string lower;
    for (char const c : host)
        lower += detail::to_lower(c);
    auto const match = find(path, lower, method);
    auto const which = impl_->host_of(lower);
    using outcome = route_match::outcome;

    std::string said =
        std::string(boost::beast::http::to_string(method)).append(" ").append(detail::quoted(path));
    if (!host.empty())
        said += " at " + detail::quoted(host);
    said += ": ";
    std::string const winner =
        match.what == outcome::not_found ? std::string() : rules_[match.rule].describe();
    switch (match.what) {
    case outcome::found: {
        char const* why = match.kind == route_kind::exact ? "it is equal to the path"
                          : match.kind == route_kind::strong_prefix
                              ? "it is the longest prefix that fits, and has patterns left out"
                          : match.kind == route_kind::prefix
                              ? "it is the longest prefix that fits, and no pattern does"
                              : "it is the first pattern that fits";
        said += winner + " wins: " + why;
        break;
    }
    case outcome::redirect:
        said += "301 to " + detail::quoted(std::string(path) + "/") + ", because " + winner +
                " lacks only the final slash";
        break;
    case outcome::not_found: said += "404, because no rule fits"; break;
    case outcome::method_not_allowed:
        said += "405, because " + winner + " wins by its path and allows " +
                std::string(allow(match)) + " only";
        break;
    case outcome::path_too_long:
        said += "414, because " + winner + " has to be asked, and patterns see at most " +
                std::to_string(pattern_path_limit) + " bytes of a path";
        break;
    case outcome::too_complex:
        said += "400, because " + winner + " did not come to an end within " +
                std::to_string(pattern_step_limit) + " steps";
        break;
    }
    said += "\n";

    // Why each of the others does not win.
    std::size_t elsewhere = 0;
    for (std::uint32_t i = 0; i < rules_.size(); ++i) {
        auto const& m = rules_[i];
        bool const wins = match.what != outcome::not_found && match.rule == i;
        if (wins)
            continue;
        bool here = false;
        for (auto const& l : impl_->locations)
            for (auto const& c : l.choices)
                here |= c.rule == i;
        if (!here)
            continue; // it has a mistake
        bool same_host = m.hosts().empty() && which == impl_->any;
        for (auto const& name : m.hosts()) {
            auto const& list = name.starts_with('*') ? impl_->wildcards : impl_->names;
            auto const key =
                name.starts_with('*') ? std::string_view(name).substr(1) : std::string_view(name);
            for (auto const& [entry, index] : list)
                same_host |= entry == key && index == which;
        }
        if (!same_host) {
            ++elsewhere;
            continue;
        }
        std::string why;
        auto const same_place = match.what != outcome::not_found &&
                                rules_[match.rule].text() == m.text() &&
                                rules_[match.rule].kind() == m.kind() &&
                                rules_[match.rule].ignores_case() == m.ignores_case();
        if (same_place) {
            why = "is for other methods";
        } else if (m.kind() == route_kind::pattern) {
            bool const asked = match.what == outcome::not_found ||
                               match.kind == route_kind::prefix ||
                               (match.kind == route_kind::pattern && i < match.rule);
            if (match.what == outcome::redirect || !asked)
                why = "was not asked";
            else
                why = "does not fit";
        } else if (m.kind() == route_kind::exact) {
            why = "is not equal to the path";
        } else if (!path.starts_with(m.text())) {
            why = "does not fit";
        } else if (match.kind == route_kind::pattern) {
            why = "fits, but patterns come first: prefix(\"...\") would have left them out";
        } else if (match.what == outcome::redirect) {
            why = "fits, but the missing slash comes first";
        } else {
            why = match.kind == route_kind::exact ? "fits, but is no exact rule"
                                                  : "fits, but is shorter";
        }
        said += "  " + m.describe() + " " + why + "\n";
    }
    if (elsewhere != 0)
        said += "  " + std::to_string(elsewhere) + (elsewhere == 1 ? " rule" : " rules") +
                " of other hosts: a request sees the rules of one host only\n";
    return said;
}

} // namespace relais
