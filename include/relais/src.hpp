#pragma once

/// \file
/// Every body of the library. Included in exactly one unit of a program that defines `RELAIS_SEPARATE_COMPILATION`
/// in all of its units.

#include <relais/config.hpp>

#if !defined(RELAIS_SEPARATE_COMPILATION)
#error "define RELAIS_SEPARATE_COMPILATION for the whole program before it includes relais/src.hpp"
#endif

// Every impl/*.ipp, in the order of the rooms.
// clang-format off
#include <relais/core/impl/deadline.ipp>
#include <relais/core/impl/scope.ipp>
#include <relais/core/impl/state.ipp>
#include <relais/core/impl/waiter.ipp>
#include <relais/core/impl/worker.ipp>

#include <relais/net/impl/endpoint.ipp>
#include <relais/net/impl/socket.ipp>
#include <relais/net/impl/stream.ipp>

#include <relais/tls/impl/context.ipp>
#include <relais/tls/impl/pem.ipp>
#include <relais/tls/impl/stream.ipp>
#include <relais/tls/impl/tls.ipp>

#include <relais/http/impl/chunked.ipp>
#include <relais/http/impl/fields.ipp>
#include <relais/http/impl/framing.ipp>
#include <relais/http/impl/parser.ipp>
#include <relais/http/impl/path.ipp>

#include <relais/route/impl/match.ipp>

#include <relais/websocket/impl/frame.ipp>
#include <relais/websocket/impl/handshake.ipp>

#include <relais/testing/impl/memory_stream.ipp>

// clang-format on
