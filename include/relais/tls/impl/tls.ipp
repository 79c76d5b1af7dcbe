#pragma once

#include <relais/core/worker.hpp>
#include <relais/tls/stream.hpp>
#include <relais/tls/tls.hpp>

#include <chrono>
#include <string_view>

namespace relais {

namespace detail {

inline constexpr std::string_view plain_http_answer =
    "HTTP/1.1 400 Bad Request\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "Content-Length: 50\r\n"
    "Connection: close\r\n"
    "\r\n"
    "This port speaks TLS: write https:// for http://.\n";

} // namespace detail

RELAIS_DECL tls_stage::tls_stage(tls_options options)
    : options_(std::make_shared<tls_options const>(std::move(options))) {}

RELAIS_DECL void tls_stage::prepare(bool http) const {
    context_ = std::make_shared<tls_context const>(*options_, http);
}

RELAIS_DECL awaitable<> tls_stage::operator()(connection& c, connection::next next) const {
    if (!context_)
        throw stage_misuse("tls() is used before it was prepared");
    bool const open = co_await shake(c);
    if (open)
        co_await next(c);
}

RELAIS_DECL awaitable<bool> tls_stage::shake(connection& c) const {
    tls_stream* layer = nullptr;
    c.put_over([&](std::unique_ptr<stream> below) {
        auto made = std::make_unique<tls_stream>(std::move(below), *context_);
        layer = made.get();
        return made;
    });
    auto const until = c.accepted() + options_->handshake_timeout;
    for (;;) {
        io_state const state = layer->try_handshake();
        if (state == io_state::ok)
            break;
        if (state != io_state::would_block) {
            if (layer->failure() == tls_failure::plain_http) {
                c.set_reason(end_reason::plain_on_tls);
                co_await refuse_plain_http(*layer);
            } else {
                c.set_reason(layer->heard() ? end_reason::tls_handshake_failed
                                            : end_reason::client_idle);
                layer->below().shutdown_send(); // behind the alert
            }
            co_return false;
        }
        auto const left =
            std::chrono::ceil<std::chrono::milliseconds>(until - worker::current().now());
        auto why = wait_result::timed_out;
        if (left.count() > 0)
            why = co_await layer->readable(left);
        if (why == wait_result::ready)
            continue;
        if (why == wait_result::timed_out) {
            c.set_reason(layer->heard() ? end_reason::tls_handshake_timeout
                                        : end_reason::client_idle);
        }
        co_return false;
    }
    auto session = std::make_unique<tls_session>();
    session->server_name = layer->server_name();
    session->protocol = layer->protocol();
    session->version = layer->version();
    c.set_tls(std::move(session));
    co_return true;
}

// The rest of the request is read and dropped in bounds: closing over unread bytes would reset the connection, and
// the client would never see the answer.
RELAIS_DECL awaitable<> tls_stage::refuse_plain_http(tls_stream& layer) {
    constexpr std::chrono::milliseconds limit(1000);
    stream& below = layer.below();
    write_result const wrote =
        co_await write_all(below, std::as_bytes(std::span(detail::plain_http_answer)), limit);
    if (wrote != write_result::done)
        co_return;
    below.shutdown_send();
    auto const until = worker::current().now() + limit;
    for (std::size_t dropped = 0; dropped < 64 * 1024;) {
        io_result const got = below.try_read(worker::current().scratch().first(16 * 1024));
        if (got.state == io_state::ok) {
            dropped += got.count;
            continue;
        }
        if (got.state != io_state::would_block)
            co_return;
        auto const left =
            std::chrono::ceil<std::chrono::milliseconds>(until - worker::current().now());
        if (left.count() <= 0)
            co_return;
        wait_result const why = co_await below.readable(left);
        if (why != wait_result::ready)
            co_return;
    }
}

} // namespace relais
