#pragma once

/// \file
/// The whole library.

// Every public header, in the order of the rooms.
// clang-format off
#include <relais/config.hpp>
#include <relais/version.hpp>

#include <relais/core/awaitable.hpp>
#include <relais/core/clock.hpp>
#include <relais/core/deadline.hpp>
#include <relais/core/error.hpp>
#include <relais/core/scope.hpp>
#include <relais/core/waiter.hpp>
#include <relais/core/worker.hpp>

#include <relais/net/endpoint.hpp>
#include <relais/net/socket.hpp>
#include <relais/net/stream.hpp>

#include <relais/tls/context.hpp>

#include <relais/http/fields.hpp>

#include <relais/websocket/frame.hpp>
#include <relais/websocket/handshake.hpp>
// clang-format on
