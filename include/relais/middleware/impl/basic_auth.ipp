#pragma once

#include <relais/middleware/basic_auth.hpp>
#include <relais/middleware/impl/credentials.hpp>

namespace relais {

struct basic_auth_stage::known {
    explicit known(basic_auth_options o)
        : options(std::move(o)),
          challenge("Basic realm=" + detail::quote(options.realm) + ", charset=\"UTF-8\"") {
        for (auto const& c : options.users)
            secrets.add(c.user + ":" + c.password);
    }

    // The name of the user, nothing where it is nobody who is known.
    std::optional<std::string> who(exchange const& x) const {
        auto const sent = detail::credentials_of(x.request.fields(), "Basic");
        auto pair = sent ? detail::decode_base64(*sent) : std::nullopt;
        if (!pair || detail::has_control(*pair))
            return {};
        auto const colon = pair->find(':');
        if (colon == pair->npos)
            return {};
        auto const view = std::string_view(*pair);
        if (!secrets.contains(view) &&
            !(options.verify && options.verify(view.substr(0, colon), view.substr(colon + 1))))
            return {};
        pair->resize(colon);
        return pair;
    }

    basic_auth_options options;
    std::string challenge;
    detail::secret_set secrets;
};

RELAIS_DECL basic_auth_stage::basic_auth_stage(basic_auth_options options)
    : known_(std::make_shared<known const>(std::move(options))) {}

RELAIS_DECL void basic_auth_stage::prepare() const {
    auto const& o = known_->options;
    auto const fail = [](std::string const& why) { throw startup_error("basic_auth(): " + why); };
    if (o.users.empty() && !o.verify)
        fail("nobody is known: write .users = {{\"alice\", \"secret\"}} or give it a .verify");
    for (auto const& c : o.users) {
        if (c.user.empty() || c.password.empty())
            fail("a user without a name or a password would let anybody in: give it both");
        if (c.user.find(':') != c.user.npos)
            fail("the user \"" + c.user +
                 "\" has a colon in the name, which ends it: take another name");
        if (detail::has_control(c.user) || detail::has_control(c.password))
            fail("a user's name or password has a control byte: no client can send it");
    }
    if (detail::has_control(o.realm))
        fail("the realm has a control byte: write it as plain text");
}

RELAIS_DECL awaitable<> basic_auth_stage::operator()(exchange& x, exchange::next next) const {
    auto who = known_->who(x);
    if (!who)
        return refuse(x, *known_);
    x.state.emplace<authenticated>(std::move(*who));
    if (!known_->options.forward)
        x.request.erase("Authorization");
    return next(x);
}

RELAIS_DECL awaitable<> basic_auth_stage::refuse(exchange& x, known const& who) {
    x.refuse(end_reason::unauthorized);
    x.response.set("WWW-Authenticate", who.challenge);
    co_return;
}

} // namespace relais
