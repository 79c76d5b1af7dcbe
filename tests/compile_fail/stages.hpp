#pragma once

#include "core/stand_ins.hpp"

#include <relais/core/stage.hpp>

#include <memory>
#include <utility>

// Stages that do nothing but have the types of the library's own, and some of a user's.
namespace stages {

using relais::awaitable;
using relais::connection;
using relais::exchange;
using relais::message;

template <class In, class Out = In>
struct named_base : relais::stage_base {
    awaitable<> operator()(In& in, typename Out::next next) const;
};

struct tls_stage : named_base<connection> {
    RELAIS_STAGE_NAME("tls()");
};

struct http_stage : named_base<connection, exchange> {
    RELAIS_STAGE_NAME("http()");
};

struct websocket_stage : named_base<exchange, message> {
    RELAIS_STAGE_NAME("websocket()");
};

struct cors_stage : named_base<exchange> {
    RELAIS_STAGE_NAME("cors()");
    RELAIS_OUTSIDE_OF(relais::authentication,
                      "cors() has to be outside of authentication: put cors() before it");
};

struct basic_auth_stage : named_base<exchange> {
    RELAIS_STAGE_NAME("basic_auth()");
    using provides = relais::tags<relais::authentication>;
};

struct rate_limit_stage : named_base<exchange> {
    RELAIS_STAGE_NAME("rate_limit()");
    using provides = relais::tags<relais::address_check>;
};

struct allow_stage : relais::stage_base {
    RELAIS_STAGE_NAME("allow()");
    using faces = relais::faces<relais::face<connection>, relais::face<exchange>>;
    using provides = relais::tags<relais::address_check>;
    awaitable<> operator()(connection& c, connection::next next) const;
    awaitable<> operator()(exchange& x, exchange::next next) const;
};

struct real_ip_stage : named_base<exchange> {
    RELAIS_STAGE_NAME("real_ip()");
    using outside_of = relais::tags<relais::address_check>;
};

struct proxy_stage : relais::stage_base {
    RELAIS_STAGE_NAME("proxy_to()");
    awaitable<> operator()(exchange& x) const;
    awaitable<> operator()(message& m) const;
};

struct relay_stage : relais::stage_base {
    RELAIS_STAGE_NAME("relay()");
    awaitable<> operator()(connection& c) const;
};

inline tls_stage tls() {
    return {};
}
inline http_stage http() {
    return {};
}
inline websocket_stage websocket() {
    return {};
}
inline cors_stage cors() {
    return {};
}
inline basic_auth_stage basic_auth() {
    return {};
}
inline rate_limit_stage rate_limit() {
    return {};
}
inline allow_stage allow() {
    return {};
}
inline real_ip_stage real_ip() {
    return {};
}
inline proxy_stage proxy_to() {
    return {};
}
inline relay_stage relay() {
    return {};
}

awaitable<> signed_in(exchange& x, exchange::next next);
awaitable<> redact(message& m, message::next next);

} // namespace stages

// A file compiles as it is; with MISTAKE it has the mistake that it is named after.
#if defined(MISTAKE)
#define WRONG_OR_RIGHT(wrong, right) wrong
#else
#define WRONG_OR_RIGHT(wrong, right) right
#endif
