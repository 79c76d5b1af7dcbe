#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/error.hpp>
#include <relais/net/endpoint.hpp>
#include <relais/net/socket.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <span>

namespace relais {

/// What came of connecting.
struct connect_result {
    std::unique_ptr<socket> connected;      ///< null when it failed
    end_reason why = end_reason::completed; ///< when it failed
};

/// Connects to the first of `addresses` that answers; tries them in turn.
///
/// \param limit for all of them together. \param source the address of this machine to connect from: addresses of another
/// family are left out then, Unix sockets are not. \return `connect_refused`, `connect_failed` or `connect_timeout` when none
/// did, `client_left` when the wait was cancelled. Cancellation: every type.
awaitable<connect_result> connect(std::span<socket_address const> addresses,
                                  std::chrono::milliseconds limit,
                                  std::optional<boost::asio::ip::address> source = {});

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/connect.ipp>
#endif
