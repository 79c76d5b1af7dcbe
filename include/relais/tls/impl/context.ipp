#pragma once

#include <relais/core/error.hpp>
#include <relais/tls/context.hpp>
#include <relais/tls/impl/pem.hpp>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string_view>

namespace relais {

namespace detail {

RELAIS_DECL void free_ssl_ctx::operator()(ssl_ctx_st* context) const noexcept {
    SSL_CTX_free(context);
}

// Which context a name means. Wildcards stand for exactly one label (RFC 6125, section 6.4.3).
struct server_names {
    std::map<std::string, SSL_CTX*, std::less<>> exact;
    std::map<std::string, SSL_CTX*, std::less<>> below; // "*.b.c" as "b.c"

    void add(X509* certificate, SSL_CTX* context);
    SSL_CTX* find(std::string_view name) const;
};

RELAIS_DECL void server_names::add(X509* certificate, SSL_CTX* context) {
    auto const add_one = [&](ASN1_STRING const* s) {
        std::string name = lower_case({reinterpret_cast<char const*>(ASN1_STRING_get0_data(s)),
                                       static_cast<std::size_t>(ASN1_STRING_length(s))});
        if (name.starts_with("*."))
            below.emplace(name.substr(2), context);
        else
            exact.emplace(std::move(name), context);
    };
    bool any = false;
    if (auto* names = static_cast<GENERAL_NAMES*>(
            X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr))) {
        for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
            auto const* const name = sk_GENERAL_NAME_value(names, i);
            if (name->type != GEN_DNS)
                continue;
            add_one(name->d.dNSName);
            any = true;
        }
        GENERAL_NAMES_free(names);
    }
    if (any)
        return;
    auto* const subject = X509_get_subject_name(certificate);
    int const at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at >= 0)
        add_one(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

RELAIS_DECL SSL_CTX* server_names::find(std::string_view name) const {
    if (name.ends_with('.'))
        name.remove_suffix(1);
    std::string const asked = lower_case(name);
    if (auto const found = exact.find(asked); found != exact.end())
        return found->second;
    auto const dot = asked.find('.');
    if (dot == std::string::npos || dot == 0)
        return nullptr;
    auto const found = below.find(std::string_view(asked).substr(dot + 1));
    return found != below.end() ? found->second : nullptr;
}

inline int choose_certificate(SSL* ssl, int*, void* names) {
    char const* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (!name)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_CTX* const context = static_cast<server_names const*>(names)->find(name);
    if (!context)
        return SSL_TLSEXT_ERR_NOACK;
    if (SSL_get_SSL_CTX(ssl) != context)
        SSL_set_SSL_CTX(ssl, context);
    return SSL_TLSEXT_ERR_OK;
}

inline int choose_protocol(SSL*, unsigned char const** out, unsigned char* out_size,
                           unsigned char const* in, unsigned in_size, void* ours) {
    auto const& supported = *static_cast<std::string const*>(ours);
    unsigned char* chosen = nullptr;
    if (SSL_select_next_proto(
            &chosen, out_size, reinterpret_cast<unsigned char const*>(supported.data()),
            static_cast<unsigned>(supported.size()), in, in_size) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

inline std::string protocols_on_the_wire(std::vector<std::string> const& protocols) {
    std::string wire;
    for (auto const& p : protocols) {
        if (p.empty() || p.size() > 255)
            throw startup_error(
                "tls: \"" + p +
                "\" is no protocol for ALPN: it takes 1 to 255 bytes, such as http/1.1");
        wire += static_cast<char>(static_cast<unsigned char>(p.size()));
        wire += p;
    }
    return wire;
}

// What servers and clients have in common.
inline ssl_ctx_ptr make_ssl_ctx(bool server, tls_version min_version) {
    ssl_ctx_ptr context(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
    SSL_CTX* const c = context.get();
    bool const ok =
        c &&
        SSL_CTX_set_min_proto_version(c, min_version == tls_version::tls_1_3 ? TLS1_3_VERSION
                                                                             : TLS1_2_VERSION) &&
        SSL_CTX_set_cipher_list(c, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                   "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                   "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") &&
        SSL_CTX_set_ciphersuites(
            c, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") &&
        SSL_CTX_set1_groups_list(c, "X25519:P-256:P-384:P-521");
    if (!ok)
        throw startup_error("tls: OpenSSL cannot be set up: " + openssl_reason());
    SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    // Buffers exist while a record is under way only; chains are sent as configured, not looked up anew each time.
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(c, 1);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    return context;
}

} // namespace detail

RELAIS_DECL tls_context::tls_context(tls_options const& options, bool http)
    : names_(new detail::server_names) {
    std::vector<tls_certificate> all;
    bool const first = !options.certificate.empty() || !options.certificate_pem.empty();
    if (first || !options.key.empty() || !options.key_pem.empty())
        all.push_back({options.certificate, options.key, options.certificate_pem, options.key_pem});
    all.insert(all.end(), options.certificates.begin(), options.certificates.end());
    if (all.empty())
        throw startup_error(
            "tls: no certificate is given: set .certificate and .key to PEM files, or pass "
            "tls_options::self_signed(\"localhost\") to try things out");
    if (options.tickets > 8)
        throw startup_error("tls: .tickets is over 8: a client uses one or two");

    if (options.protocols)
        protocols_ = detail::protocols_on_the_wire(*options.protocols);
    else if (http)
        protocols_ = detail::protocols_on_the_wire({"http/1.1", "http/1.0"});

    // A ticket of one context is worth nothing in another, even where the keys are the same.
    unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];
    if (RAND_bytes(id, sizeof id) != 1)
        throw startup_error("tls: OpenSSL has no random bytes: " + detail::openssl_reason());

    for (auto const& one : all) {
        detail::certificate_chain const chain = detail::load_certificate(one);
        auto context = detail::make_ssl_ctx(true, options.min_version);
        SSL_CTX* const c = context.get();
        detail::use_certificate(c, chain);
        SSL_CTX_set_session_id_context(c, id, sizeof id);
        SSL_CTX_set_num_tickets(c, options.tickets);
        if (options.tickets == 0)
            SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
        SSL_CTX_set_tlsext_servername_callback(c, &detail::choose_certificate);
        SSL_CTX_set_tlsext_servername_arg(c, names_.get());
        if (!protocols_.empty())
            SSL_CTX_set_alpn_select_cb(c, &detail::choose_protocol, &protocols_);
        names_->add(chain.certificates.front().get(), c);
        contexts_.push_back(std::move(context));
    }
    ERR_clear_error();
}

RELAIS_DECL tls_context::~tls_context() = default;

RELAIS_DECL tls_client_context::tls_client_context(tls_client_options const& options)
    : context_(detail::make_ssl_ctx(false, options.min_version)), name_(options.name),
      verify_(options.verify), handshake_timeout_(options.handshake_timeout) {
    SSL_CTX* const c = context_.get();
    if (verify_) {
        SSL_CTX_set_verify(c, SSL_VERIFY_PEER, nullptr);
        detail::trust(c, options.ca_file, options.ca_pem);
        X509_VERIFY_PARAM_set_hostflags(SSL_CTX_get0_param(c),
                                        X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    }
    std::string const protocols = detail::protocols_on_the_wire(options.protocols);
    if (!protocols.empty() &&
        SSL_CTX_set_alpn_protos(c, reinterpret_cast<unsigned char const*>(protocols.data()),
                                static_cast<unsigned>(protocols.size())) != 0)
        throw startup_error("tls: OpenSSL refuses the protocols for ALPN: " +
                            detail::openssl_reason());
    ERR_clear_error();
}

RELAIS_DECL tls_client_context::~tls_client_context() = default;

} // namespace relais
