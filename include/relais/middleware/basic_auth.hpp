#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>
#include <relais/middleware/authenticated.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace relais {

/// One who may come in.
struct credential {
    std::string user;
    std::string password;
};

/// Whom `basic_auth` lets in.
struct basic_auth_options {
    /// `{{"alice", "secret"}, {"bob", "..."}}`
    std::vector<credential> users{};

    /// Asked about those who are not among `users`. Called by several workers at once; must not block. What it
    /// compares it has to compare in constant time (`CRYPTO_memcmp`).
    std::function<bool(std::string_view user, std::string_view password)> verify{};

    /// What browsers show and remember passwords for.
    std::string realm = "restricted";

    /// Whether the upstream gets to see the Authorization field.
    bool forward = true;
};

/// Asks for a user and a password: 401 without one that is known.
///
/// Passwords are compared as digests of one length and in constant time. Who it was is in `x.state` as
/// `authenticated`. Use it over TLS only: the password is readable in every request. Source: RFC 7617.
class basic_auth_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("basic_auth()");
    using provides = tags<authentication>;

    explicit basic_auth_stage(basic_auth_options options);
    awaitable<> operator()(exchange& x, exchange::next next) const;

    /// \throws startup_error
    void prepare() const;

private:
    struct known;
    static awaitable<> refuse(exchange& x, known const& who);

    std::shared_ptr<known const> known_;
};

/// See `basic_auth_stage`: `basic_auth({.users = {{"alice", "secret"}}})`.
[[nodiscard]] inline basic_auth_stage basic_auth(basic_auth_options options) {
    return basic_auth_stage(std::move(options));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/middleware/impl/basic_auth.ipp>
#endif
