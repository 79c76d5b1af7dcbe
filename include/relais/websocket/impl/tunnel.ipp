#pragma once

#include <relais/websocket/tunnel.hpp>

namespace relais {

RELAIS_DECL websocket_tunnel::websocket_tunnel(validated_upgrade, std::unique_ptr<stream> upstream,
                                               std::string early, pump_limits limits)
    : upstream_(std::move(upstream)), early_(std::move(early)), limits_(limits) {}

RELAIS_DECL awaitable<end_reason> websocket_tunnel::run(connection& c, std::string early, std::uint64_t& sent) {
    c.downstream().set_keepalive();
    upstream_->set_keepalive();
    pump_pair<tunnel_follower> pump(c.downstream(), *upstream_, limits_);
    pump.preload(std::move(early), std::move(early_));
    pump_ = &pump;
    c.set_drainable(this);
    auto why = co_await pump.run();
    pump_ = nullptr;
    c.set_drainable(nullptr);
    sent = pump.moved_left();
    upstream_.reset();
    co_return why;
}

RELAIS_DECL void websocket_tunnel::drain() {
    constexpr std::uint16_t going_away = 1001;
    auto text = [](close_frame const& frame) {
        auto bytes = frame.bytes();
        return std::string(reinterpret_cast<char const*>(bytes.data()), bytes.size());
    };
    if (pump_)
        pump_->end_with(text(make_close(going_away, {}, true)), text(make_close(going_away, {}, false)));
}

} // namespace relais
