#pragma once

/// \file
/// The whole library.

// Every public header, in the order of the rooms.
// clang-format off
#include <relais/config.hpp>
#include <relais/version.hpp>

#include <relais/core/awaitable.hpp>
#include <relais/core/background.hpp>
#include <relais/core/block_pool.hpp>
#include <relais/core/clock.hpp>
#include <relais/core/deadline.hpp>
#include <relais/core/error.hpp>
#include <relais/core/per_worker.hpp>
#include <relais/core/replaceable.hpp>
#include <relais/core/report.hpp>
#include <relais/core/scope.hpp>
#include <relais/core/stage.hpp>
#include <relais/core/state.hpp>
#include <relais/core/text_buffer.hpp>
#include <relais/core/waiter.hpp>
#include <relais/core/worker.hpp>

#include <relais/net/address_set.hpp>
#include <relais/net/async_stream.hpp>
#include <relais/net/connect.hpp>
#include <relais/net/connection.hpp>
#include <relais/net/endpoint.hpp>
#include <relais/net/inherited_sockets.hpp>
#include <relais/net/listener.hpp>
#include <relais/net/max_connections.hpp>
#include <relais/net/proxy_protocol.hpp>
#include <relais/net/pump.hpp>
#include <relais/net/relay.hpp>
#include <relais/net/socket.hpp>
#include <relais/net/splice.hpp>
#include <relais/net/stream.hpp>

#include <relais/tls/context.hpp>
#include <relais/tls/stream.hpp>
#include <relais/tls/tls.hpp>

#include <relais/http/body.hpp>
#include <relais/http/chunked.hpp>
#include <relais/http/date.hpp>
#include <relais/http/exchange.hpp>
#include <relais/http/fields.hpp>
#include <relais/http/framing.hpp>
#include <relais/http/head_buffer.hpp>
#include <relais/http/http.hpp>
#include <relais/http/parser.hpp>
#include <relais/http/path.hpp>
#include <relais/http/request.hpp>
#include <relais/http/response.hpp>
#include <relais/http/status_set.hpp>
#include <relais/http/upstream_facts.hpp>

#include <relais/route/match.hpp>
#include <relais/route/routes.hpp>

#include <relais/websocket/frame.hpp>
#include <relais/websocket/handshake.hpp>
#include <relais/websocket/tunnel.hpp>

#include <relais/upstream/admission.hpp>
#include <relais/upstream/balance.hpp>
#include <relais/upstream/circuit_breaker.hpp>
#include <relais/upstream/client.hpp>
#include <relais/upstream/connector.hpp>
#include <relais/upstream/health.hpp>
#include <relais/upstream/health_check.hpp>
#include <relais/upstream/pool.hpp>
#include <relais/upstream/retry.hpp>
#include <relais/upstream/server.hpp>
#include <relais/upstream/server_list.hpp>
#include <relais/upstream/total_limit.hpp>
#include <relais/upstream/tries.hpp>
#include <relais/upstream/upstream.hpp>
#include <relais/upstream/upstream_options.hpp>

#include <relais/proxy/proxy_to.hpp>
#include <relais/proxy/rewrite.hpp>

#include <relais/middleware/access_log.hpp>
#include <relais/middleware/allow.hpp>
#include <relais/middleware/authenticated.hpp>
#include <relais/middleware/basic_auth.hpp>
#include <relais/middleware/bearer_auth.hpp>
#include <relais/middleware/cors.hpp>
#include <relais/middleware/forward_client_certificate.hpp>
#include <relais/middleware/real_ip.hpp>
#include <relais/middleware/redirect.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/middleware/websocket_origin.hpp>

#include <relais/server/drain_pace.hpp>
#include <relais/server/readiness.hpp>
#include <relais/server/server.hpp>
#include <relais/server/service_manager.hpp>

// clang-format on
