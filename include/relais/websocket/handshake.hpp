#pragma once

#include <relais/config.hpp>
#include <relais/core/error.hpp>
#include <relais/http/fields.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace relais {

/// What a request is to the WebSocket protocol.
enum class websocket_request : std::uint8_t {
    none,     ///< an ordinary request: any Upgrade in it is ignored
    valid,    ///< it asks for a WebSocket and is in order
    rejected, ///< it asks for a WebSocket wrongly
};

/// The outcome of `check_websocket_request`.
struct websocket_request_check {
    websocket_request kind = websocket_request::none;
    end_reason reason =
        end_reason::completed;   ///< of a rejected one: `upgrade_required` or `bad_websocket`
    std::string_view sentence{}; ///< of a rejected one: what is wrong, for the answer
};

/// Decides whether a request asks for a WebSocket: GET, HTTP/1.1, `Upgrade` lists `websocket` and `Connection` lists
/// `upgrade`. One that does has to say version 13, bring one key of 16 bytes and have no body.
///
/// An answer for `end_reason::upgrade_required` carries `Sec-WebSocket-Version: 13`.
///
/// \param version 10 or 11. \param head the fields as they came, hop-by-hop ones included.
/// \param has_body whether content follows; `Content-Length: 0` is none. Source: RFC 6455, section 4.2.1.
websocket_request_check check_websocket_request(verb method, unsigned version, fields const& head,
                                                bool has_body) noexcept;

/// Makes the hop-by-hop fields of a request ask for a WebSocket and for nothing else. What is end to end (key,
/// version, subprotocols, extensions) stays as it is.
void ask_for_websocket(fields& to_upstream);

/// What the server has to answer to a key. Source: RFC 6455, section 4.2.2, item 5.4.
std::string accept_key(std::string_view key);

/// Proof that a server agreed to the WebSocket that it was asked for. `validate_upgrade` alone makes one, and a tunnel
/// can be made of nothing else.
class validated_upgrade {
public:
    validated_upgrade(validated_upgrade&&) noexcept = default;
    validated_upgrade& operator=(validated_upgrade&&) noexcept = default;

    /// The subprotocol that was agreed upon, empty where there is none.
    std::string const& protocol() const noexcept { return protocol_; }

    /// The extensions that were agreed upon, as the server wrote them; empty where there are none.
    std::string const& extensions() const noexcept { return extensions_; }

private:
    friend struct upgrade_check validate_upgrade(fields const&, unsigned, fields const&);
    validated_upgrade() = default;

    std::string protocol_;
    std::string extensions_;
};

/// The outcome of `validate_upgrade`.
struct upgrade_check {
    std::optional<validated_upgrade> upgrade{}; ///< empty: rejected
    end_reason reason = end_reason::completed;  ///< when rejected: `bad_upgrade`
    std::string_view sentence{};                ///< when rejected: what is wrong, for the log
};

/// Decides whether a response opens the WebSocket that a request asked for: status 101, `Upgrade` equal, `Connection`
/// lists `upgrade`, the accept value right, the subprotocol one of those offered, the extensions (by name) among those
/// offered.
///
/// \param asked the fields that went to the server. \param code the status. \param answered the fields that came back.
/// Source: RFC 6455, section 4.1, page 19.
upgrade_check validate_upgrade(fields const& asked, unsigned code, fields const& answered);

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/websocket/impl/handshake.ipp>
#endif
