#pragma once

#include <relais/core/error.hpp>
#include <relais/http/fields.hpp>
#include <relais/http/parser.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace relais {

/// \file The framing gate: what a parsed head means for the bytes after it, for the connection, and
/// for whom it is meant. Pure functions. Where two recipients could read a head in two ways it is
/// refused: a message that ends in one place here and in another there is how requests are
/// smuggled.

/// How the end of a body is found.
enum class framing_kind : std::uint8_t {
    none,
    length, ///< after so many bytes
    chunked,
    until_close, ///< a response that ends with its connection
};

/// The body that follows a head.
struct body_framing {
    framing_kind kind = framing_kind::none;
    std::uint64_t length = 0; ///< bytes, where the kind is `length`; at most 2^63 - 1

    friend bool operator==(body_framing const&, body_framing const&) = default;
};

/// Why a head is refused.
struct gate_rejection {
    end_reason why = end_reason::completed;
    char const* sentence = "";
    bool closes = false; ///< where the next message begins is not sure: answer, then close

    explicit operator bool() const noexcept { return why != end_reason::completed; }
};

/// The length that a Content-Length value stands for: digits alone, at most 2^63 - 1.
/// Source: RFC 9110, 8.6.
std::optional<std::uint64_t> parse_content_length(std::string_view value) noexcept;

/// The host and the port of an authority.
struct authority_parts {
    std::string_view host;  ///< an IPv6 address without its brackets
    std::uint16_t port = 0; ///< 0: not given
    bool ipv6 = false;
};

/// Takes an authority apart: a name, an IPv4 address or an IPv6 address in brackets, and a port. No
/// user, no empty host, no zone, no port 0. Names may have an underscore.
/// \return nothing where it is not one. Source: RFC 3986, 3.2.2 and 3.2.3.
std::optional<authority_parts> parse_authority(std::string_view text) noexcept;

/// The form of a request target. Source: RFC 9112, 3.2.
enum class target_form : std::uint8_t { origin, absolute, asterisk, authority };

/// What the gate lets through.
struct gate_options {
    bool connect = false; ///< CONNECT, with an authority for a target
    bool trace = false;   ///< TRACE
};

/// What a request head means. Views go into the head.
struct request_facts {
    gate_rejection rejected; ///< looked at first; the rest is as far as it was found out
    body_framing body;
    target_form form = target_form::origin;
    bool keep_alive = false;       ///< the client can take another response on this connection
    bool expects_continue = false; ///< it waits for a 100 before it sends its body
    bool upgrades =
        false; ///< it asks for another protocol: Upgrade, named by Connection, in HTTP/1.1
    std::string_view scheme; ///< of an absolute target, in any case: http or https
    std::string_view
        authority; ///< of an absolute target, else of Host; empty where HTTP/1.0 has sent none
    authority_parts host;   ///< the same, taken apart
    std::string_view path;  ///< as it was sent, never empty; "*" for the asterisk form
    std::string_view query; ///< as it was sent, without the question mark
    bool has_query = false; ///< there is a question mark
    std::optional<std::uint32_t>
        max_forwards; ///< on OPTIONS and TRACE alone; what does not fit is cut to the largest
};

/// Puts a request head through the gate. The content of path and query is not looked at.
///
/// The reasons: bad_request, bad_host, bad_target, coding_not_implemented, method_not_allowed,
/// expectation_failed.
/// Source: RFC 9112, sections 3, 6 and 9.3; RFC 9110, sections 7.2, 7.6.2, 8.6 and 10.1.1.
request_facts examine_request(request_line const& line, fields const& head,
                              gate_options const& options = {}) noexcept;

/// What a response head means.
struct response_facts {
    gate_rejection rejected; ///< looked at first; always bad_response
    body_framing body;
    bool interim = false;    ///< 1xx but not 101: another head follows
    bool switches = false;   ///< 101, and it was asked for
    bool keep_alive = false; ///< the connection can be used again after the body
    std::optional<std::uint64_t>
        declared_length; ///< Content-Length, also where no body follows: an answer to HEAD, a 304
};

/// Puts a response head through the gate.
/// \param method of the request. \param upgrade_asked whether the request that was sent had Upgrade
/// in it.
/// Source: RFC 9112, sections 6.3 and 9.3; RFC 9110, sections 6.4.1 and 15.2.
response_facts examine_response(status_line const& line, fields const& head, verb method,
                                bool upgrade_asked = false) noexcept;

/// The fields that end at each hop, and `Proxy`, which CGI would take for a variable of its own.
inline constexpr known_fields hop_by_hop_fields{known_field::connection,
                                                known_field::keep_alive,
                                                known_field::proxy_connection,
                                                known_field::te,
                                                known_field::trailer,
                                                known_field::transfer_encoding,
                                                known_field::upgrade,
                                                known_field::http2_settings,
                                                known_field::proxy_authenticate,
                                                known_field::proxy_authorization,
                                                known_field::proxy};

/// Whether a Connection field may take off the field of this name. A client that nominates what
/// gateways add or what decides about access and routing (Host, Content-Length, Authorization,
/// Cookie, Forwarded, X-Forwarded-*, X-Real-IP, X-Request-Id) is not listened to.
bool may_be_nominated(std::string_view name) noexcept;

/// Whether a Connection field of this head nominates the field of this name, and may.
bool is_nominated(fields const& head, std::string_view name) noexcept;

/// What `erase_hop_by_hop` leaves in.
struct hop_by_hop_options {
    bool keep_proxy_authentication = false;         ///< Proxy-Authenticate and Proxy-Authorization
    std::span<std::string_view const> trusted = {}; ///< names that may not be nominated either
};

/// Takes off the fields that end at this hop, those that Connection nominates among them. It is
/// right for requests and for responses, interim ones and 101 too. Source: RFC 9110, 7.6.1.
void erase_hop_by_hop(fields& head, hop_by_hop_options const& options = {});

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/framing.ipp>
#endif
