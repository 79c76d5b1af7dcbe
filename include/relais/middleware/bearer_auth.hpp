#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>
#include <relais/middleware/authenticated.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace relais {

/// Which tokens `bearer_auth` takes.
struct bearer_auth_options {
    /// `{"s3cr3t-t0ken"}`
    std::vector<std::string> tokens{};

    /// Asked about a token that is not among `tokens`: returns the name of the one it belongs to, which may be empty, or nothing.
    /// Called by several workers at once; must not block.
    std::function<std::optional<std::string>(std::string_view token)> verify{};

    std::string realm = "restricted";

    /// Whether the upstream gets to see the Authorization field.
    bool forward = true;
};

/// Asks for a token in `Authorization: Bearer`: 401 without one that is known.
///
/// Tokens are compared as digests of one length and in constant time. A name that `verify` gives is in `x.state` as
/// `authenticated`. Tokens in the query or in a body are not looked at. Source: RFC 6750.
class bearer_auth_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("bearer_auth()");
    using provides = tags<authentication>;

    explicit bearer_auth_stage(bearer_auth_options options);
    awaitable<> operator()(exchange& x, exchange::next next) const;

    /// \throws startup_error
    void prepare() const;

private:
    struct known;
    static awaitable<> refuse(exchange& x, known const& what, bool asked);

    std::shared_ptr<known const> known_;
};

/// See `bearer_auth_stage`: `bearer_auth({.tokens = {"s3cr3t-t0ken"}})`.
[[nodiscard]] inline bearer_auth_stage bearer_auth(bearer_auth_options options) {
    return bearer_auth_stage(std::move(options));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/middleware/impl/bearer_auth.ipp>
#endif
