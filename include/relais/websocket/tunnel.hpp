#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/http/response.hpp>
#include <relais/net/connection.hpp>
#include <relais/net/pump.hpp>
#include <relais/websocket/frame.hpp>
#include <relais/websocket/handshake.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace relais {

/// What a tunnel asks of the frames it passes on: where one ends.
class tunnel_follower : public frame_follower {
public:
    static constexpr bool can_end = true;
};

/// A WebSocket between a client and an upstream: bytes pass through untouched, frame heads are followed, so that a Close
/// can be put at the end of a frame when the server drains.
class websocket_tunnel final : public takeover, public drainable {
public:
    /// \param proof of an upgrade that was validated: nothing else becomes a tunnel.
    /// \param early bytes that the upstream sent behind its 101.
    websocket_tunnel(validated_upgrade proof, std::unique_ptr<stream> upstream, std::string early,
                     pump_limits limits);

    awaitable<end_reason> run(connection& c, std::string early) override;
    std::uint64_t bytes_sent() const noexcept override { return pump_ ? pump_->moved_left() : 0; }

    /// Sends Close 1001 both ways at the next end of a frame. Source: RFC 6455, section 7.4.1.
    void drain() override;
    bool is_spread() const noexcept override { return true; }

private:
    std::unique_ptr<stream> upstream_;
    std::string early_;
    pump_limits limits_;
    std::optional<pump_pair<tunnel_follower>> pump_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/websocket/impl/tunnel.ipp>
#endif
