#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>
#include <relais/http/fields.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace relais {

/// Who may call from a browser, and how.
struct cors_options {
    /// Origins as browsers send them: "https://abc.com", "http://localhost:3000"; no path, no final slash, no
    /// default port. {"*"} lets every site read responses, which cannot go together with `credentials`.
    std::vector<std::string> origins{};

    /// Methods that scripts may use; GET, HEAD and POST always are.
    std::vector<verb> methods{verb::get, verb::head,  verb::post,
                              verb::put, verb::patch, verb::delete_};

    /// Request fields that scripts may set besides those that are always allowed. Empty: every field that they ask
    /// for, where the origin is named; none where `origins` is {"*"}.
    std::vector<std::string> headers{};

    /// Response fields that scripts may read besides those that they always may.
    std::vector<std::string> expose{};

    /// Whether requests may carry cookies and credentials.
    bool credentials = false;

    /// How long a browser may remember the answer to a preflight request.
    std::chrono::seconds max_age = std::chrono::minutes(10);
};

/// Cross-origin resource sharing: tells browsers which sites may read responses.
///
/// A preflight request (OPTIONS with Origin and Access-Control-Request-Method) is answered here, before inner stages:
/// 204, or 403 for an origin that is not allowed. Every other request goes on. Its response gets the fields of this policy in
/// the place of those that the upstream has sent, on errors of the gateway's own too, and always `Vary: Origin`. The
/// origin `null`, which any sandboxed page has, is never allowed. Browsers do not ask for WebSockets: see `websocket_origin`.
///
/// Has to stand before authentication, because preflight requests carry no credentials. Source: Fetch, section 3.2.
class cors_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("cors()");
    RELAIS_OUTSIDE_OF(authentication,
                      "cors() has to stand before authentication: preflight requests carry no "
                      "credentials, write cors(...) | basic_auth(...)");

    explicit cors_stage(cors_options options);
    awaitable<> operator()(exchange& x, exchange::next next) const;

    /// \throws startup_error
    void prepare() const;

private:
    struct policy;
    std::shared_ptr<policy const> policy_;
};

/// See `cors_stage`: `cors({.origins = {"https://abc.com"}})`.
[[nodiscard]] inline cors_stage cors(cors_options options) {
    return cors_stage(std::move(options));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/middleware/impl/cors.ipp>
#endif
