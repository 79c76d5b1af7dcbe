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
#include <relais/core/impl/background.ipp>
#include <relais/core/impl/deadline.ipp>
#include <relais/core/impl/report.ipp>
#include <relais/core/impl/scope.ipp>
#include <relais/core/impl/state.ipp>
#include <relais/core/impl/waiter.ipp>
#include <relais/core/impl/worker.ipp>

#include <relais/net/impl/address_set.ipp>
#include <relais/net/impl/connect.ipp>
#include <relais/net/impl/connection.ipp>
#include <relais/net/impl/endpoint.ipp>
#include <relais/net/impl/inherited_sockets.ipp>
#include <relais/net/impl/listener.ipp>
#include <relais/net/impl/max_connections.ipp>
#include <relais/net/impl/proxy_protocol.ipp>
#include <relais/net/impl/relay.ipp>
#include <relais/net/impl/socket.ipp>
#include <relais/net/impl/splice.ipp>
#include <relais/net/impl/stream.ipp>

#include <relais/tls/impl/context.ipp>
#include <relais/tls/impl/pem.ipp>
#include <relais/tls/impl/stream.ipp>
#include <relais/tls/impl/tls.ipp>

#include <relais/http/impl/body.ipp>
#include <relais/http/impl/chunked.ipp>
#include <relais/http/impl/date.ipp>
#include <relais/http/impl/exchange.ipp>
#include <relais/http/impl/fields.ipp>
#include <relais/http/impl/framing.ipp>
#include <relais/http/impl/head_buffer.ipp>
#include <relais/http/impl/http.ipp>
#include <relais/http/impl/http1_response.ipp>
#include <relais/http/impl/http1_session.ipp>
#include <relais/http/impl/parser.ipp>
#include <relais/http/impl/path.ipp>
#include <relais/http/impl/request.ipp>
#include <relais/http/impl/response.ipp>

#include <relais/route/impl/match.ipp>
#include <relais/route/impl/routes.ipp>

#include <relais/websocket/impl/frame.ipp>
#include <relais/websocket/impl/handshake.ipp>
#include <relais/websocket/impl/tunnel.ipp>

#include <relais/upstream/impl/balance.ipp>
#include <relais/upstream/impl/circuit_breaker.ipp>
#include <relais/upstream/impl/client.ipp>
#include <relais/upstream/impl/connector.ipp>
#include <relais/upstream/impl/group.ipp>
#include <relais/upstream/impl/hash_by.ipp>
#include <relais/upstream/impl/health.ipp>
#include <relais/upstream/impl/health_check.ipp>
#include <relais/upstream/impl/pool.ipp>
#include <relais/upstream/impl/retry.ipp>
#include <relais/upstream/impl/server.ipp>
#include <relais/upstream/impl/sticky_cookie.ipp>
#include <relais/upstream/impl/tries.ipp>
#include <relais/upstream/impl/upstream.ipp>

#include <relais/proxy/impl/proxy_to.ipp>
#include <relais/proxy/impl/rewrite.ipp>

#include <relais/middleware/impl/access_log.ipp>
#include <relais/middleware/impl/allow.ipp>
#include <relais/middleware/impl/basic_auth.ipp>
#include <relais/middleware/impl/bearer_auth.ipp>
#include <relais/middleware/impl/cors.ipp>
#include <relais/middleware/impl/forward_client_certificate.ipp>
#include <relais/middleware/impl/real_ip.ipp>
#include <relais/middleware/impl/redirect.ipp>
#include <relais/middleware/impl/respond.ipp>
#include <relais/middleware/impl/websocket_origin.ipp>

#include <relais/server/impl/service_manager.ipp>
#include <relais/server/impl/server.ipp>

#include <relais/testing/impl/memory_stream.ipp>
#include <relais/testing/impl/oneshot.ipp>
#include <relais/testing/impl/scripted_server.ipp>
#include <relais/testing/impl/session.ipp>

// clang-format on
