#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace relais {

/// Which sites may open WebSockets.
struct websocket_origin_options {
    /// Origins as browsers send them: "https://abc.com", "http://localhost:3000".
    std::vector<std::string> origins{};

    /// Let requests without Origin through, which browsers never send: programs, some apps.
    bool allow_missing = false;
};

/// Refuses WebSockets that a page of another site opens in somebody's browser: 403.
///
/// Browsers let every page open a WebSocket to every server, and send the cookies along; all they do is to say in
/// `Origin` where the page is from. Requests that ask for no WebSocket go on. Source: RFC 6455, section 10.2.
class websocket_origin_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("websocket_origin()");

    explicit websocket_origin_stage(websocket_origin_options options);
    awaitable<> operator()(exchange& x, exchange::next next) const;

    /// \throws startup_error
    void prepare() const;

private:
    static awaitable<> refuse(exchange& x);

    std::shared_ptr<websocket_origin_options const> options_;
};

/// See `websocket_origin_stage`: `websocket_origin({"https://abc.com"})`.
template <std::convertible_to<std::string_view> Origin>
[[nodiscard]] websocket_origin_stage websocket_origin(std::initializer_list<Origin> origins) {
    return websocket_origin_stage({.origins = {origins.begin(), origins.end()}});
}
[[nodiscard]] inline websocket_origin_stage websocket_origin(websocket_origin_options options) {
    return websocket_origin_stage(std::move(options));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/middleware/impl/websocket_origin.ipp>
#endif
