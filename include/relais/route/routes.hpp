#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>
#include <relais/http/fields.hpp>
#include <relais/route/match.hpp>

#include <concepts>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace relais {

/// A rule and the chain for what it matches: `at("/p") | stage | ... | terminal`.
template <class Chain>
class branch {
public:
    branch(matcher rule, Chain stages) : rule_(std::move(rule)), stages_(std::move(stages)) {}

    /// Puts a stage inside of those that are there.
    template <class S>
    [[nodiscard]] auto operator|(S&& inner) const {
        using longer = decltype(stages_ | std::forward<S>(inner));
        return branch<longer>(rule_, stages_ | std::forward<S>(inner));
    }

    matcher const& rule() const noexcept { return rule_; }
    Chain const& stages() const noexcept { return stages_; }

private:
    matcher rule_;
    Chain stages_;
};

/// The beginning of a branch, made by `at`.
template <>
class branch<void> {
public:
    explicit branch(matcher rule) : rule_(std::move(rule)) {}

    /// As of `matcher`: `at("/p").host("a.b").method(verb::get)`.
    template <std::convertible_to<std::string_view>... More>
    [[nodiscard]] branch host(std::string_view name, More const&... more) const {
        return branch(rule_.host(name, more...));
    }
    template <std::same_as<verb>... More>
    [[nodiscard]] branch method(verb first, More... more) const {
        return branch(rule_.method(first, more...));
    }

    template <class S>
    [[nodiscard]] auto operator|(S&& first) const {
        using one = decltype(stage(std::forward<S>(first)));
        return branch<one>(rule_, stage(std::forward<S>(first)));
    }

    matcher const& rule() const noexcept { return rule_; }

private:
    matcher rule_;
};

/// Begins a branch of `routes`: `at("/p")`, `at(exact("/p"))`, `at(prefix("/p"))`, `at(pattern(re))`.
[[nodiscard]] inline branch<void> at(matcher rule) {
    return branch<void>(std::move(rule));
}

namespace detail {

/// A branch of a type that is not known any more.
struct any_branch {
    matcher rule;
    std::shared_ptr<void const> stages;
    basic_next<exchange>::entry entry;
    void (*prepare)(void const* stages, matcher const& rule);
    std::vector<std::string> (*reload)(void const* stages);
};

template <class T>
inline constexpr bool is_branch = false;
template <class Chain>
inline constexpr bool is_branch<branch<Chain>> = true;

template <class Chain>
any_branch erase_branch(branch<Chain> const& b);

} // namespace detail

/// A terminal that hands each request to the branch that it belongs to.
///
///     routes(at("/wss")               | signed_in | proxy_to("http://127.0.0.1:8888"),
///            at("/tomcat/")           | proxy_to("http://127.0.0.1:8080/"),
///            at(pattern(R"(\.php$)")) | proxy_to("http://127.0.0.1:8081"),
///            at("/")                  | proxy_to("http://127.0.0.1:8000"))
///
/// Which branch that is, `route_table` says: nginx's order. Where there is none the answer is 404, or 405 with `Allow` where the
/// path has one but not for this method. A request that lacks only the final slash of a prefix is answered 301.
///
/// A stage in a branch may have, besides `prepare()`, a `void prepare_at(matcher const& rule) const`, which is called at
/// start with the rule of the branch and may throw startup_error: a terminal that replaces the matched
/// prefix (`exchange::matched_prefix()`) learns so that it stands under a pattern, where there is none.
///
/// Copies mean the same branches: those that are added to one are in all. Look-ups take no lock and may run while a branch is
/// added.
class routes : public stage_base {
public:
    RELAIS_STAGE_NAME("routes()");

    template <class... Branches>
        requires(detail::is_branch<std::remove_cvref_t<Branches>> && ...)
    explicit routes(Branches const&... branches)
        : routes(list{detail::erase_branch(branches)...}) {}

    /// Adds a branch, at any time and from any thread but not from a stage: terminals may resolve names.
    ///
    /// Requests that have found their branch stay on it. Each branch that is added while the server runs costs
    /// another table that stays until the last copy of this object is gone.
    /// \throws startup_error once the server has started, when something is wrong with the branch, which is not added then.
    template <class Chain>
    void add(branch<Chain> const& more) {
        add_erased(detail::erase_branch(more));
    }

    /// Says for people which branch a request goes to and why, and why not to the others.
    ///
    /// \param target a path as a client sends it; a query is looked past. \param host without a port.
    std::string explain(std::string_view target, std::string_view host = {},
                        verb method = verb::get) const;

    awaitable<> operator()(exchange& x) const;

    /// \throws startup_error with what is wrong with the rules and with the branches, a line each.
    void prepare() const;

    /// Has the stages of all branches load their files anew. \throws startup_error with what those say that could not, and go
    /// on as they were, a line each.
    void reload() const;

private:
    using list = std::vector<detail::any_branch>;
    struct shared;
    struct version;

    explicit routes(list branches);
    void add_erased(detail::any_branch more);
    static awaitable<> answer(exchange& x, version const& in, route_match match);

    std::shared_ptr<shared> shared_;
};

} // namespace relais

#include <relais/route/impl/routes.hpp>
#if defined(RELAIS_HEADER_ONLY)
#include <relais/route/impl/routes.ipp>
#endif
