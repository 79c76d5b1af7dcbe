#pragma once

#include <relais/core/replaceable.hpp>
#include <relais/core/worker.hpp>
#include <relais/tls/impl/pem.hpp>
#include <relais/tls/stream.hpp>
#include <relais/tls/tls.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>

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

namespace detail {

// Null where the client has shown none. That of a resumed session is the one that was verified then.
RELAIS_DECL std::shared_ptr<client_certificate const> certificate_of_client(SSL* ssl) {
    x509_ptr const shown(SSL_get1_peer_certificate(ssl));
    if (!shown)
        return nullptr;
    auto made = std::make_shared<client_certificate>();
    X509* const x = shown.get();
    made->subject = name_text(X509_get_subject_name(x));
    made->issuer = name_text(X509_get_issuer_name(x));
    made->serial = hexadecimal(X509_get0_serialNumber(x));
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (X509_digest(x, EVP_sha256(), digest, &size) == 1)
        made->fingerprint = hexadecimal({digest, size});
    made->names = alternative_names(x);
    made->not_before = time_of(X509_get0_notBefore(x));
    made->not_after = time_of(X509_get0_notAfter(x));
    made->der = der_of(x);
    if (auto* const chain = SSL_get_peer_cert_chain(ssl))
        for (int i = 0; i < sk_X509_num(chain); ++i)
            if (X509_cmp(sk_X509_value(chain, i), x) != 0)
                made->chain.push_back(der_of(sk_X509_value(chain, i)));
    ERR_clear_error();
    return made;
}

} // namespace detail

RELAIS_DECL tls_stage::tls_stage(tls_options options)
    : options_(std::make_shared<tls_options const>(std::move(options))) {}

struct tls_stage::loaded {
    bool http;
    replaceable<tls_context const> context;
};

RELAIS_DECL void tls_stage::prepare(bool http) const {
    loaded_ = std::make_shared<loaded>();
    loaded_->http = http;
    loaded_->context.store(std::make_shared<tls_context const>(*options_, http));
}

RELAIS_DECL void tls_stage::reload() const {
    if (!loaded_)
        return;
    auto const before = loaded_->context.load();
    loaded_->context.store(
        std::make_shared<tls_context const>(*options_, loaded_->http, before.get()));
}

RELAIS_DECL awaitable<> tls_stage::operator()(connection& c, connection::next next) const {
    if (!loaded_)
        throw stage_misuse("tls() is used before it was prepared");
    bool const open = co_await shake(c);
    if (open)
        co_await next(c);
}

RELAIS_DECL awaitable<bool> tls_stage::shake(connection& c) const {
    auto const context =
        loaded_->context.load(); // to the end of the handshake; then OpenSSL's part is enough
    tls_stream* layer = nullptr;
    c.put_over([&](std::unique_ptr<stream> below) {
        auto made = std::make_unique<tls_stream>(std::move(below), *context);
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
    session->client = detail::certificate_of_client(layer->native());
    session->guarded = context->guarded();
    session->one_host = context->size() == 1;
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
