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
#include <relais/core/stage.hpp>
#include <relais/core/state.hpp>
#include <relais/core/waiter.hpp>
#include <relais/core/worker.hpp>

#include <relais/net/endpoint.hpp>
#include <relais/net/socket.hpp>
#include <relais/net/stream.hpp>

#include <relais/tls/context.hpp>
#include <relais/tls/stream.hpp>
#include <relais/tls/tls.hpp>

#include <relais/http/chunked.hpp>
#include <relais/http/fields.hpp>
#include <relais/http/framing.hpp>
#include <relais/http/parser.hpp>
#include <relais/http/path.hpp>

#include <relais/route/match.hpp>

#include <relais/websocket/frame.hpp>
#include <relais/websocket/handshake.hpp>

// clang-format on
