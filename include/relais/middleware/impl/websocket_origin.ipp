#pragma once

#include <relais/middleware/impl/origin.hpp>
#include <relais/middleware/websocket_origin.hpp>

namespace relais {

RELAIS_DECL websocket_origin_stage::websocket_origin_stage(websocket_origin_options options)
    : options_(std::make_shared<websocket_origin_options const>(std::move(options))) {}

RELAIS_DECL void websocket_origin_stage::prepare() const {
    if (options_->origins.empty() && !options_->allow_missing)
        throw startup_error(
            "websocket_origin(): nobody is allowed: write websocket_origin({\"https://abc.com\"})");
    for (auto const& origin : options_->origins)
        if (auto const why = detail::why_no_origin(origin); !why.empty())
            throw startup_error("websocket_origin(): " + why);
}

RELAIS_DECL awaitable<> websocket_origin_stage::operator()(exchange& x, exchange::next next) const {
    if (!x.request.is_websocket())
        return next(x);
    bool const missing = !x.request.fields().contains(known_field::origin);
    auto const origin = detail::origin_of(x.request.fields());
    if (missing ? options_->allow_missing : detail::is_among(options_->origins, origin))
        return next(x);
    return refuse(x);
}

RELAIS_DECL awaitable<> websocket_origin_stage::refuse(exchange& x) {
    x.refuse(end_reason::origin_refused);
    co_return;
}

} // namespace relais
