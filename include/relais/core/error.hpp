#pragma once

/// \file
/// How an exchange ends, and what is thrown at start and by mistakes in a program.

#include <relais/config.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string_view>

namespace relais {

/// Why an exchange ended: exactly one for each. It gives the status, the access log's word, the
/// metric's label, the health accounting, whether another try is allowed, and the Proxy-Status
/// token (RFC 9209).
enum class end_reason : std::uint8_t {
    completed, ///< the response or the tunnel ended as it should

    // the client and what it sent
    bad_request,
    bad_host,
    bad_target,
    bad_body,
    head_too_large,
    target_too_long,
    body_too_large,
    length_required,
    version_not_supported,
    coding_not_implemented,
    method_not_allowed,
    expectation_failed,
    head_timeout,
    body_timeout,
    client_idle, ///< no byte on a new or a kept connection: closed silently
    client_left,
    client_write_timeout,
    tls_handshake_failed,
    tls_handshake_timeout,
    plain_on_tls,
    bad_proxy_header, ///< of the PROXY protocol: none, a malformed one, or too late
    too_many_connections,
    not_found, ///< no route
    upgrade_required,
    bad_websocket,
    origin_refused,
    address_refused,
    unauthorized,
    misdirected, ///< for another host than the TLS session is for
    rate_limited,

    // the upstream
    resolve_failed,
    connect_refused,
    connect_failed,
    connect_timeout,
    upstream_tls_failed,
    upstream_tls_timeout,
    upstream_reset, ///< before the head: closed, reset, or a write that failed
    upstream_write_timeout,
    first_byte_timeout,
    bad_response,
    response_head_too_large,
    bad_upgrade,
    too_many_interim,
    response_incomplete,
    response_timeout, ///< between two reads of the body
    total_timeout,    ///< the exchange as a whole
    no_upstream,      ///< none is healthy
    circuit_open,     ///< most requests failed, so that no more are tried for a while

    // the tunnel
    tunnel_idle,
    tunnel_client_reset,
    tunnel_upstream_reset,
    tunnel_linger,
    tunnel_drained,
    tunnel_bad_frame,
    tunnel_message_too_large,

    // this gateway
    stage_threw,
    stage_misused,
    response_too_large, ///< for a stage that reads all of its body
    loop_detected,
    overloaded, ///< a queue is full, or load is shed
    shutting_down,
    worker_error,
};

/// Whose doing it was.
enum class end_side : std::uint8_t { none, downstream, upstream, local };

/// What the exchange was about to do.
enum class end_phase : std::uint8_t {
    done,   ///< it had finished
    idle,   ///< waiting for the first byte of a request
    accept, ///< what comes before TLS: addresses, the PROXY protocol, limits
    tls,    ///< the handshake with a client
    request_head,
    request_body,
    stages, ///< in the stages, routes among them
    resolve,
    connect,
    upstream_tls,
    request_write, ///< the request was on its way to the upstream
    response_head,
    response_body,
    tunnel,
};

/// What went wrong.
enum class end_cause : std::uint8_t {
    none,
    malformed,
    too_large,
    unsupported,
    timeout,
    closed,  ///< reset, or an end too early
    refused, ///< by the peer, or by a stage that guards
    unreachable,
    missing, ///< there is nothing of that name, or nothing that would serve it
    limit,   ///< a limit on rates, loads or numbers
    loop,
    shutdown,
    failure, ///< an exception, or an error of the system
    misuse,  ///< a mistake in a stage
};

/// Whether a request that ended so may go to another server, or to the same one on a fresh
/// connection. Never once a byte of the response reached the client, and only as long as its body
/// can be sent again.
enum class retry_rule : std::uint8_t {
    never,
    if_idempotent, ///< the server may have seen the request
    always,        ///< the server has not seen the request
};

/// What is known about an end_reason.
struct end_reason_row {
    end_reason reason;
    end_side side;
    end_phase phase;
    end_cause cause;
    std::uint16_t status;          ///< answered where no head is out yet; 0: none is sent
    std::uint16_t logged_status;   ///< for the access log where no head went out
    std::string_view word;         ///< for logs and metrics; unique, equal to the enumerator's name
    std::string_view proxy_status; ///< the error type of RFC 9209, section 2.3; empty: none
    bool counts_against_upstream;  ///< a failure for health accounting
    retry_rule retry;
    std::string_view sentence; ///< for people
};

/// All reasons, in the order of the enumeration.
constexpr std::span<end_reason_row const> end_reasons() noexcept;

/// The row of one reason.
constexpr end_reason_row const& describe(end_reason reason) noexcept;

/// The HTTP status that answers it, where no head is out yet; 0 where none is sent.
constexpr unsigned status_of(end_reason reason) noexcept;

/// Its word in logs and metrics.
constexpr std::string_view word_of(end_reason reason) noexcept;

/// Whether another try may be right, under the conditions of `retry_rule`.
/// \param idempotent whether the request's method is (RFC 9110, section 9.2.2).
constexpr bool may_retry(end_reason reason, bool idempotent) noexcept;

/// What is wrong with a configuration: one sentence that says what, where, and what to do.
///
/// Thrown by `server::start()`; `server::run()` prints it and returns 1.
class startup_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A mistake in a stage: next called after respond, a retry of a body that is gone, and so on. The
/// exchange is answered by 500, and a debug build stops where it happens.
class stage_misuse : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

} // namespace relais

#include <relais/core/impl/error.hpp>
