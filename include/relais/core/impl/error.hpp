#pragma once

#include <relais/core/error.hpp>

namespace relais {
namespace detail {

template <class = void>
struct end_reason_table {
    using r = end_reason;
    using s = end_side;
    using p = end_phase;
    using c = end_cause;
    using t = retry_rule;

    // reason, side, phase, cause, status, logged status, word, Proxy-Status token, counts against
    // the upstream, retry
    // clang-format off
    static constexpr end_reason_row rows[] = {
        {r::completed, s::none, p::done, c::none, 0, 0,
         "completed", "", false, t::never,
         "The exchange ended as it should."},
        {r::bad_request, s::downstream, p::request_head, c::malformed, 400, 400,
         "bad_request", "http_request_error", false, t::never,
         "The request's head is malformed or its framing is ambiguous."},
        {r::bad_host, s::downstream, p::request_head, c::malformed, 400, 400,
         "bad_host", "http_request_error", false, t::never,
         "The request's Host is missing, repeated, malformed or in conflict with its target."},
        {r::bad_target, s::downstream, p::request_head, c::malformed, 400, 400,
         "bad_target", "http_request_error", false, t::never,
         "The request's target has a path or a query that is not allowed."},
        {r::bad_body, s::downstream, p::request_body, c::malformed, 400, 400,
         "bad_body", "http_request_error", false, t::never,
         "The request's body has malformed chunks or trailers."},
        {r::head_too_large, s::downstream, p::request_head, c::too_large, 431, 431,
         "head_too_large", "http_request_error", false, t::never,
         "The request's head is too large or has too many fields."},
        {r::target_too_long, s::downstream, p::request_head, c::too_large, 414, 414,
         "target_too_long", "http_request_error", false, t::never,
         "The request's target is too long."},
        {r::body_too_large, s::downstream, p::request_body, c::too_large, 413, 413,
         "body_too_large", "http_request_error", false, t::never,
         "The request's body is larger than allowed."},
        {r::length_required, s::downstream, p::request_head, c::missing, 411, 411,
         "length_required", "http_request_error", false, t::never,
         "The request needs a Content-Length."},
        {r::version_not_supported, s::downstream, p::request_head, c::unsupported, 505, 505,
         "version_not_supported", "http_request_error", false, t::never,
         "The request's HTTP version is neither 1.0 nor 1.1."},
        {r::coding_not_implemented, s::downstream, p::request_head, c::unsupported, 501, 501,
         "coding_not_implemented", "http_request_error", false, t::never,
         "The request has a transfer coding other than chunked."},
        {r::method_not_allowed, s::downstream, p::stages, c::unsupported, 405, 405,
         "method_not_allowed", "http_request_denied", false, t::never,
         "The request's method is not allowed here."},
        {r::expectation_failed, s::downstream, p::request_head, c::unsupported, 417, 417,
         "expectation_failed", "http_request_error", false, t::never,
         "The request expects something other than 100-continue."},
        {r::head_timeout, s::downstream, p::request_head, c::timeout, 408, 408,
         "head_timeout", "http_request_error", false, t::never,
         "The client took too long to send the request's head."},
        {r::body_timeout, s::downstream, p::request_body, c::timeout, 408, 408,
         "body_timeout", "http_request_error", false, t::never,
         "The client took too long to send the request's body."},
        {r::client_idle, s::downstream, p::idle, c::timeout, 0, 0,
         "client_idle", "", false, t::never,
         "The client sent nothing and the connection was closed."},
        {r::client_left, s::downstream, p::stages, c::closed, 0, 499,
         "client_left", "", false, t::never,
         "The client left before the response had ended."},
        {r::client_write_timeout, s::downstream, p::response_body, c::timeout, 0, 0,
         "client_write_timeout", "", false, t::never,
         "The client did not read the response for too long."},
        {r::tls_handshake_failed, s::downstream, p::tls, c::failure, 0, 0,
         "tls_handshake_failed", "", false, t::never,
         "The TLS handshake with the client failed."},
        {r::tls_handshake_timeout, s::downstream, p::tls, c::timeout, 0, 0,
         "tls_handshake_timeout", "", false, t::never,
         "The client took too long for its TLS handshake."},
        {r::plain_on_tls, s::downstream, p::tls, c::malformed, 400, 400,
         "plain_on_tls", "http_request_error", false, t::never,
         "The client sent plain HTTP to a port that speaks TLS."},
        {r::bad_proxy_header, s::downstream, p::accept, c::malformed, 0, 0,
         "bad_proxy_header", "", false, t::never,
         "The connection did not begin with a header of the PROXY protocol that is in order."},
        {r::too_many_connections, s::downstream, p::accept, c::limit, 0, 0,
         "too_many_connections", "", false, t::never,
         "There are as many connections as are allowed."},
        {r::not_found, s::downstream, p::stages, c::missing, 404, 404,
         "not_found", "destination_not_found", false, t::never,
         "No route fits the request."},
        {r::upgrade_required, s::downstream, p::stages, c::unsupported, 426, 426,
         "upgrade_required", "http_request_error", false, t::never,
         "The request asks for a version of WebSocket other than 13."},
        {r::bad_websocket, s::downstream, p::stages, c::malformed, 400, 400,
         "bad_websocket", "http_request_error", false, t::never,
         "The request's WebSocket handshake is malformed."},
        {r::origin_refused, s::downstream, p::stages, c::refused, 403, 403,
         "origin_refused", "http_request_denied", false, t::never,
         "The request comes from an origin that is not allowed."},
        {r::address_refused, s::downstream, p::stages, c::refused, 403, 403,
         "address_refused", "http_request_denied", false, t::never,
         "The client's address is not allowed."},
        {r::unauthorized, s::downstream, p::stages, c::refused, 401, 401,
         "unauthorized", "http_request_denied", false, t::never,
         "The request lacks credentials that are accepted."},
        {r::misdirected, s::downstream, p::stages, c::refused, 421, 421,
         "misdirected", "http_request_denied", false, t::never,
         "The request's Host differs from the name for which its connection was authenticated."},
        {r::rate_limited, s::downstream, p::stages, c::limit, 429, 429,
         "rate_limited", "http_request_denied", false, t::never,
         "The client sends more requests than it is allowed to."},
        {r::resolve_failed, s::upstream, p::resolve, c::missing, 502, 502,
         "resolve_failed", "dns_error", true, t::always,
         "The upstream's name could not be resolved."},
        {r::connect_refused, s::upstream, p::connect, c::refused, 502, 502,
         "connect_refused", "connection_refused", true, t::always,
         "The upstream refused the connection."},
        {r::connect_failed, s::upstream, p::connect, c::unreachable, 502, 502,
         "connect_failed", "destination_ip_unroutable", true, t::always,
         "The upstream could not be reached."},
        {r::connect_timeout, s::upstream, p::connect, c::timeout, 504, 504,
         "connect_timeout", "connection_timeout", true, t::always,
         "Connecting to the upstream took too long."},
        {r::upstream_tls_failed, s::upstream, p::upstream_tls, c::failure, 502, 502,
         "upstream_tls_failed", "tls_protocol_error", true, t::always,
         "The TLS handshake with the upstream failed, or its certificate was not accepted."},
        {r::upstream_tls_timeout, s::upstream, p::upstream_tls, c::timeout, 504, 504,
         "upstream_tls_timeout", "connection_timeout", true, t::always,
         "The TLS handshake with the upstream took too long."},
        {r::upstream_reset, s::upstream, p::request_write, c::closed, 502, 502,
         "upstream_reset", "connection_terminated", true, t::if_idempotent,
         "The upstream closed the connection before it answered."},
        {r::upstream_write_timeout, s::upstream, p::request_write, c::timeout, 504, 504,
         "upstream_write_timeout", "connection_write_timeout", true, t::if_idempotent,
         "The upstream did not read the request for too long."},
        {r::first_byte_timeout, s::upstream, p::response_head, c::timeout, 504, 504,
         "first_byte_timeout", "connection_read_timeout", true, t::if_idempotent,
         "The upstream took too long to answer."},
        {r::bad_response, s::upstream, p::response_head, c::malformed, 502, 502,
         "bad_response", "http_protocol_error", true, t::never,
         "The upstream's response is malformed or its framing is ambiguous."},
        {r::response_head_too_large, s::upstream, p::response_head, c::too_large, 502, 502,
         "response_head_too_large", "http_response_header_section_size", true, t::never,
         "The head of the upstream's response is too large."},
        {r::bad_upgrade, s::upstream, p::response_head, c::malformed, 502, 502,
         "bad_upgrade", "http_upgrade_failed", true, t::never,
         "The upstream's 101 does not fit the request's WebSocket handshake."},
        {r::too_many_interim, s::upstream, p::response_head, c::limit, 502, 502,
         "too_many_interim", "http_protocol_error", true, t::never,
         "The upstream sent too many interim responses."},
        {r::response_incomplete, s::upstream, p::response_body, c::closed, 502, 502,
         "response_incomplete", "http_response_incomplete", true, t::never,
         "The upstream's response ended before it was complete."},
        {r::response_timeout, s::upstream, p::response_body, c::timeout, 504, 504,
         "response_timeout", "connection_read_timeout", true, t::never,
         "The upstream paused too long within its response."},
        {r::total_timeout, s::upstream, p::response_body, c::timeout, 504, 504,
         "total_timeout", "http_response_timeout", true, t::never,
         "The exchange with the upstream took longer than it may in all."},
        {r::no_upstream, s::upstream, p::connect, c::missing, 503, 503,
         "no_upstream", "destination_unavailable", false, t::never,
         "No server of the upstream is healthy."},
        {r::circuit_open, s::upstream, p::connect, c::limit, 503, 503,
         "circuit_open", "destination_unavailable", false, t::never,
         "Too many requests to the upstream have failed: it is left alone for a while."},
        {r::tunnel_idle, s::local, p::tunnel, c::timeout, 0, 0,
         "tunnel_idle", "", false, t::never,
         "Neither side of the tunnel sent anything for too long."},
        {r::tunnel_client_reset, s::downstream, p::tunnel, c::closed, 0, 0,
         "tunnel_client_reset", "", false, t::never,
         "The client reset the tunnel."},
        {r::tunnel_upstream_reset, s::upstream, p::tunnel, c::closed, 0, 0,
         "tunnel_upstream_reset", "connection_terminated", false, t::never,
         "The upstream reset the tunnel."},
        {r::tunnel_linger, s::local, p::tunnel, c::timeout, 0, 0,
         "tunnel_linger", "", false, t::never,
         "One side of the tunnel had ended and the other did not follow in time."},
        {r::tunnel_drained, s::local, p::tunnel, c::shutdown, 0, 0,
         "tunnel_drained", "", false, t::never,
         "The tunnel was ended because the gateway stops."},
        {r::tunnel_bad_frame, s::none, p::tunnel, c::malformed, 0, 0,
         "tunnel_bad_frame", "http_protocol_error", false, t::never,
         "A WebSocket frame in the tunnel is malformed."},
        {r::tunnel_message_too_large, s::none, p::tunnel, c::too_large, 0, 0,
         "tunnel_message_too_large", "http_protocol_error", false, t::never,
         "A WebSocket message in the tunnel is larger than allowed."},
        {r::stage_threw, s::local, p::stages, c::failure, 500, 500,
         "stage_threw", "proxy_internal_error", false, t::never,
         "A stage threw an exception."},
        {r::stage_misused, s::local, p::stages, c::misuse, 500, 500,
         "stage_misused", "proxy_internal_error", false, t::never,
         "A stage broke a rule of the library."},
        {r::response_too_large, s::local, p::response_body, c::too_large, 500, 500,
         "response_too_large", "http_response_body_size", false, t::never,
         "The response's body is larger than a stage reads."},
        {r::loop_detected, s::local, p::stages, c::loop, 508, 508,
         "loop_detected", "proxy_loop_detected", false, t::never,
         "The request has been through this gateway before."},
        {r::overloaded, s::local, p::stages, c::limit, 503, 503,
         "overloaded", "connection_limit_reached", false, t::never,
         "The gateway or the upstream has as many requests as it takes."},
        {r::shutting_down, s::local, p::stages, c::shutdown, 503, 503,
         "shutting_down", "proxy_internal_response", false, t::never,
         "The gateway stops."},
        {r::worker_error, s::local, p::stages, c::failure, 500, 500,
         "worker_error", "proxy_internal_error", false, t::never,
         "The gateway failed on its own."},
    };
    // clang-format on

    static constexpr bool in_order() {
        std::size_t at = 0;
        for (auto& row : rows)
            if (static_cast<std::size_t>(row.reason) != at++)
                return false;
        return at == static_cast<std::size_t>(end_reason::worker_error) + 1;
    }
};

static_assert(end_reason_table<>::in_order(),
              "each end_reason has one row, in the order of the enumeration");

} // namespace detail

constexpr std::span<end_reason_row const> end_reasons() noexcept {
    return detail::end_reason_table<>::rows;
}

constexpr end_reason_row const& describe(end_reason reason) noexcept {
    return detail::end_reason_table<>::rows[static_cast<std::size_t>(reason)];
}

constexpr unsigned status_of(end_reason reason) noexcept {
    return describe(reason).status;
}

constexpr std::string_view word_of(end_reason reason) noexcept {
    return describe(reason).word;
}

constexpr bool may_retry(end_reason reason, bool idempotent) noexcept {
    auto const rule = describe(reason).retry;
    return rule == retry_rule::always || (rule == retry_rule::if_idempotent && idempotent);
}

} // namespace relais
