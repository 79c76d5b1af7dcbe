#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace relais {

/// Where `redirect` sends clients.
struct redirect_options {
    /// "https://new.example/", "/moved".
    std::string to{};

    /// 301, 302, 303, 307 or 308.
    unsigned status = 302;

    /// Appends the path and the query of the request; where the route has a prefix, what follows it.
    bool keep_path = false;
};

/// A terminal that sends clients elsewhere. Source: RFC 9110, section 15.4.
class redirect_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("redirect()");

    explicit redirect_stage(redirect_options options);
    awaitable<> operator()(exchange& x) const;

    /// \throws startup_error
    void prepare() const;

private:
    std::shared_ptr<redirect_options const> options_;
};

/// `redirect("https://new.example/")`, `redirect("/moved", 308)`.
template <std::convertible_to<std::string_view> Place>
[[nodiscard]] redirect_stage redirect(Place const& to, unsigned status = 302) {
    return redirect_stage({.to = std::string(std::string_view(to)), .status = status});
}

/// `redirect({.to = "https://new.example/", .status = 301, .keep_path = true})`.
[[nodiscard]] inline redirect_stage redirect(redirect_options options) {
    return redirect_stage(std::move(options));
}

/// How `redirect_to_https` sends clients to TLS.
struct redirect_to_https_options {
    /// The port of the TLS listener as clients reach it.
    std::uint16_t port = 443;
};

/// A terminal for the plain port: sends clients to the same host, path and query over TLS. 301 for GET and HEAD, 308 for
/// other methods, which stay what they are. A request that came over TLS would go in a circle: 508; one without a host: 400.
class redirect_to_https_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("redirect_to_https()");

    explicit redirect_to_https_stage(redirect_to_https_options options) : port_(options.port) {}
    awaitable<> operator()(exchange& x) const;

    /// \throws startup_error
    void prepare() const;

private:
    std::uint16_t port_;
};

/// See `redirect_to_https_stage`: `srv.listen("0.0.0.0:80", http() | redirect_to_https())`.
[[nodiscard]] inline redirect_to_https_stage
redirect_to_https(redirect_to_https_options options = {}) {
    return redirect_to_https_stage(options);
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/middleware/impl/redirect.ipp>
#endif
