#pragma once

/// \file
/// Which rule a request belongs to: the matchers of `routes` and the table that decides between them, without any I/O.

#include <relais/config.hpp>
#include <relais/core/error.hpp>
#include <relais/http/fields.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace relais {

/// How a rule compares paths.
enum class route_kind : std::uint8_t {
    exact,         ///< the path is equal: nginx's `=`
    strong_prefix, ///< the path begins so, and patterns are not asked: nginx's `^~`
    prefix,        ///< the path begins so
    pattern,       ///< a regular expression is found in the path: nginx's `~` and `~*`
};

/// Has a pattern ignore the case of letters: `pattern(re, icase)`.
struct icase_t {
    explicit icase_t() = default;
};
inline constexpr icase_t icase{};

/// One rule: how the path is compared, for which hosts, for which methods.
///
/// A text is compared with the path as `request::path()` gives it, decoded: `at("/a b")`, not `at("/a%20b")`; an
/// encoded slash is the exception ("%2F"). What is wrong with a rule is found at start.
class matcher {
public:
    /// A prefix. As in nginx "/p" fits "/pq" too; "/p/" does not, and sends a client that asks for "/p" there.
    matcher(std::string_view prefix) : text_(prefix) {}
    matcher(std::string const& prefix) : text_(prefix) {}
    matcher(char const* prefix) : text_(prefix) {}

    /// Narrows the rule to hosts: "a.b", or "*.b" for every name that ends so. Called again, it adds to them.
    ///
    /// As with nginx's servers a request sees the rules of one host only: those of its exact name; else those of the
    /// longest wildcard that fits; else those without a host.
    template <std::convertible_to<std::string_view>... More>
    matcher host(std::string_view name, More const&... more) const {
        auto copy = *this;
        for (auto one : {name, std::string_view(more)...})
            copy.add_host(one);
        return copy;
    }

    /// Narrows the rule to methods; `get` takes HEAD in, unless another rule names it. Called again, it adds to them.
    ///
    /// The path decides first: where the rule that wins by its path is not for the method the answer is 405, and no
    /// other rule that fits is tried. Rules with the same path and host stand together: their methods add up.
    template <std::same_as<verb>... More>
    matcher method(verb first, More... more) const {
        auto copy = *this;
        for (auto one : {first, more...})
            copy.add_method(one);
        return copy;
    }

    route_kind kind() const noexcept { return kind_; }
    std::string const& text() const noexcept { return text_; }
    bool ignores_case() const noexcept { return ignores_case_; }

    /// In lower case; empty: every host that has no rules of its own.
    std::vector<std::string> const& hosts() const noexcept { return hosts_; }

    /// A bit for each method, by the value of its `verb`; 0: all.
    std::uint64_t methods() const noexcept { return methods_; }

    /// Whether it names its methods, `verb::unknown` among them, which is a mistake.
    bool names_unknown_method() const noexcept { return (methods_ & 1) != 0; }

    /// The rule as it is written: `at(exact("/p")).host("a.b")`.
    std::string describe() const;

    friend matcher exact(std::string_view path);
    friend matcher prefix(std::string_view path);
    friend matcher pattern(std::string_view expression);
    friend matcher pattern(std::string_view expression, icase_t);

private:
    matcher(route_kind kind, std::string_view text, bool ignores_case = false)
        : text_(text), kind_(kind), ignores_case_(ignores_case) {}
    void add_host(std::string_view name);
    void add_method(verb method) noexcept;

    std::string text_;
    std::vector<std::string> hosts_;
    std::uint64_t methods_ = 0;
    route_kind kind_ = route_kind::prefix;
    bool ignores_case_ = false;
};

/// The path is equal to this: it wins over everything else.
inline matcher exact(std::string_view path) {
    return {route_kind::exact, path};
}

/// The path begins with this, and where no longer prefix fits, patterns are not asked (nginx's `^~`).
inline matcher prefix(std::string_view path) {
    return {route_kind::strong_prefix, path};
}

/// The regular expression (Perl's syntax, Boost.Regex) is found in the path; `^` and `$` are its ends.
///
/// It sees the path only, at most `pattern_path_limit` bytes of it, and may take `pattern_step_limit` steps. What
/// exceeds one of them is refused (414, 400) and goes to no other rule: a pattern may guard what it stands for, and
/// must not be passed by making it give up.
inline matcher pattern(std::string_view expression) {
    return {route_kind::pattern, expression};
}

/// The same without regard to the case of letters.
inline matcher pattern(std::string_view expression, icase_t) {
    return {route_kind::pattern, expression, true};
}

/// Bytes of a path that a pattern is asked about.
inline constexpr std::size_t pattern_path_limit = 2048;

/// How often one pattern may look at one path, character by character. What backtracking takes grows with the square of
/// the path's length and worse: `[^/]+\.php$` may meet a segment of 800 bytes, which takes half a millisecond; nested
/// repetitions, as in `(a*)*b`, take 5 ms until they are given up. `\.php$` and what begins with `^/` take next to nothing.
inline constexpr std::size_t pattern_step_limit = 1'000'000;

/// What a table says about a request.
struct route_match {
    enum class outcome : std::uint8_t {
        found,
        redirect,  ///< only the final slash of a prefix is missing: 301 to the path with it
        not_found, ///< 404
        method_not_allowed, ///< 405 with `route_table::allow`
        path_too_long,      ///< for a pattern that would have to be asked: 414
        too_complex,        ///< a pattern gave up: 400
    };
    static constexpr std::size_t no_prefix = std::string_view::npos;

    outcome what = outcome::not_found;
    route_kind kind = route_kind::prefix; ///< of the rule
    std::uint32_t rule = 0;               ///< its index; of the pattern that gave up too
    std::uint32_t location = 0;           ///< for `allow`
    std::size_t length = no_prefix;       ///< bytes of the path that a prefix or an exact rule took

    bool found() const noexcept { return what == outcome::found; }

    /// The reason that belongs to an outcome that is an error, `completed` for the others.
    end_reason reason() const noexcept;
};

/// An immutable set of rules. nginx's order: an exact rule; else the longest prefix, if that is a strong one; else the
/// first pattern in the order in which they are written; else the longest prefix.
///
/// Where a prefix rule "/p/" exists and no exact or prefix rule "/p", a request for "/p" is redirected to "/p/", before
/// patterns are asked. Look-ups allocate nothing but for what Boost.Regex needs, and may run on all threads at once.
class route_table {
public:
    route_table();
    explicit route_table(std::vector<matcher> rules);
    route_table(route_table&&) noexcept;
    route_table& operator=(route_table&&) noexcept;
    ~route_table();

    /// What is wrong with the rules, a sentence each: what, where, what to write. Such rules are not in the table.
    std::vector<std::string> const& problems() const noexcept { return problems_; }

    /// \throws startup_error with all problems, a line each.
    void check() const;

    /// The rules, in the order in which they were written.
    std::vector<matcher> const& rules() const noexcept { return rules_; }

    /// Decides.
    /// \param path as `request::path()` gives it. \param host in lower case, without a port and brackets;
    /// empty: none.
    route_match find(std::string_view path, std::string_view host, verb method) const;

    /// The methods that are allowed where one is not, as the Allow field lists them (RFC 9110, section 10.2.1).
    std::string_view allow(route_match const& match) const noexcept;

    /// Says for people which rule wins and why, and why the others do not.
    std::string explain(std::string_view path, std::string_view host, verb method) const;

private:
    struct impl;

    std::vector<matcher> rules_;
    std::vector<std::string> problems_;
    std::unique_ptr<impl> impl_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/route/impl/match.ipp>
#endif
