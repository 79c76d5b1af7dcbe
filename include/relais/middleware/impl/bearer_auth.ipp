#pragma once

#include <relais/middleware/bearer_auth.hpp>
#include <relais/middleware/impl/credentials.hpp>

namespace relais {
namespace detail {

// Source: RFC 6750, section 2.1 (b64token).
inline bool is_token68(std::string_view text) noexcept {
    while (text.ends_with('='))
        text.remove_suffix(1);
    for (char const c : text)
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '.' || c == '_' || c == '~' || c == '+' || c == '/'))
            return false;
    return !text.empty();
}

} // namespace detail

struct bearer_auth_stage::known {
    explicit known(bearer_auth_options o)
        : options(std::move(o)), challenge("Bearer realm=" + detail::quote(options.realm)) {
        for (auto const& token : options.tokens)
            secrets.add(token);
    }

    // The name of the one the token belongs to, nothing where the token is not known.
    std::optional<std::string> who(std::string_view token) const {
        if (!detail::is_token68(token))
            return {};
        if (secrets.contains(token))
            return std::string();
        return options.verify ? options.verify(token) : std::nullopt;
    }

    bearer_auth_options options;
    std::string challenge;
    detail::secret_set secrets;
};

RELAIS_DECL bearer_auth_stage::bearer_auth_stage(bearer_auth_options options)
    : known_(std::make_shared<known const>(std::move(options))) {}

RELAIS_DECL void bearer_auth_stage::prepare() const {
    auto const& o = known_->options;
    auto const fail = [](std::string const& why) { throw startup_error("bearer_auth(): " + why); };
    if (o.tokens.empty() && !o.verify)
        fail("no token is known: write .tokens = {\"...\"} or give it a .verify");
    for (auto const& token : o.tokens)
        if (!detail::is_token68(token))
            fail("a token is empty or has a character that none may have: letters, digits and - . "
                 "_ ~ + / are allowed, "
                 "and = at its end");
    if (detail::has_control(o.realm))
        fail("the realm has a control byte: write it as plain text");
}

RELAIS_DECL awaitable<> bearer_auth_stage::operator()(exchange& x, exchange::next next) const {
    auto const token = detail::credentials_of(x.request.fields(), "Bearer");
    auto who = token ? known_->who(*token) : std::nullopt;
    if (!who)
        return refuse(x, *known_, token.has_value());
    if (!who->empty())
        x.state.emplace<authenticated>(std::move(*who));
    if (!known_->options.forward)
        x.request.erase("Authorization");
    return next(x);
}

RELAIS_DECL awaitable<> bearer_auth_stage::refuse(exchange& x, known const& what, bool asked) {
    x.refuse(end_reason::unauthorized);
    // A request that brought no token is told nothing more. Source: RFC 6750, section 3.
    auto const challenge = asked ? what.challenge + ", error=\"invalid_token\"" : what.challenge;
    x.response.set("WWW-Authenticate", challenge);
    co_return;
}

} // namespace relais
