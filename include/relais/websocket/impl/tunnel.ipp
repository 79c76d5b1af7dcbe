#pragma once

#include <relais/websocket/tunnel.hpp>

#include <utility>

namespace relais {

RELAIS_DECL websocket_tunnel::websocket_tunnel(validated_upgrade, std::unique_ptr<stream> upstream,
                                               std::string early, pump_limits limits)
    : upstream_(std::move(upstream)), early_(std::move(early)), limits_(limits) {}

RELAIS_DECL awaitable<end_reason> websocket_tunnel::run(connection& c, std::string early) {
    c.downstream().set_keepalive();
    upstream_->set_keepalive();
    pump_.emplace(c.downstream(), *upstream_, limits_);
    pump_->preload(std::move(early), std::exchange(early_, {}));
    c.set_drainable(this);
    return pump_->run();
}

RELAIS_DECL void websocket_tunnel::drain() {
    constexpr std::uint16_t going_away = 1001;
    auto text = [](close_frame const& frame) {
        auto bytes = frame.bytes();
        return std::string(reinterpret_cast<char const*>(bytes.data()), bytes.size());
    };
    if (pump_)
        pump_->end_with(text(make_close(going_away, {}, true)),
                        text(make_close(going_away, {}, false)));
}

} // namespace relais
