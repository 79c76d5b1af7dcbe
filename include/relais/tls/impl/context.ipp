#pragma once

#include <relais/core/error.hpp>
#include <relais/core/report.hpp>
#include <relais/tls/context.hpp>
#include <relais/tls/impl/pem.hpp>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <map>
#include <mutex>
#include <string_view>
#include <system_error>
#include <unistd.h>

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

// The name in a ClientHello (RFC 6066, section 3); empty where there is none that is well-formed.
inline std::string_view asked_name(SSL* ssl) {
    unsigned char const* data = nullptr;
    std::size_t size = 0;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) != 1)
        return {};
    auto const number = [&](std::size_t at) { return std::size_t{data[at]} << 8 | data[at + 1]; };
    if (size < 5 || number(0) != size - 2 || data[2] != TLSEXT_NAMETYPE_host_name ||
        number(3) > size - 5)
        return {};
    return {reinterpret_cast<char const*>(data) + 5, number(3)};
}

// Before OpenSSL looks at tickets: one that was made for another certificate, and so perhaps under another rule for client
// certificates, is none here (CVE-2025-23419 was a server that chose later). The rule itself does not go along with the
// context.
inline int choose_certificate(SSL* ssl, int*, void* names) {
    SSL_CTX* const context = static_cast<server_names const*>(names)->find(asked_name(ssl));
    if (context && SSL_get_SSL_CTX(ssl) != context) {
        SSL_set_SSL_CTX(ssl, context);
        SSL_set_verify(ssl, SSL_CTX_get_verify_mode(context), nullptr);
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

// That the name was understood is told to the client.
inline int acknowledge_name(SSL* ssl, int*, void* names) {
    char const* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    return name && static_cast<server_names const*>(names)->find(name) ? SSL_TLSEXT_ERR_OK
                                                                       : SSL_TLSEXT_ERR_NOACK;
}

// Where SSLKEYLOGFILE says; one for the whole program.
class key_log_file {
public:
    static key_log_file& of_program() {
        static key_log_file one;
        return one;
    }

    // Null where the environment names none.
    char const* path() const noexcept { return path_; }

    void open() {
        std::lock_guard lock(mutex_);
        if (!path_ || descriptor_ >= 0)
            return;
        descriptor_ = ::open(path_, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (descriptor_ < 0)
            throw startup_error("tls: the file \"" + std::string(path_) +
                                "\" that SSLKEYLOGFILE names cannot be opened (" +
                                std::generic_category().message(errno) +
                                "): name another, or take .key_log out");
        report("tls: the secrets of sessions are written to " + std::string(path_) +
               ": whoever reads it reads the traffic");
    }

    static void write(SSL const*, char const* line) {
        std::string whole = std::string(line) + '\n';
        [[maybe_unused]] auto count = ::write(of_program().descriptor_, whole.data(), whole.size());
    }

private:
    std::mutex mutex_;
    char const* path_ = ::secure_getenv("SSLKEYLOGFILE");
    int descriptor_ = -1;
};

inline void log_keys(SSL_CTX* context) {
    auto& file = key_log_file::of_program();
    file.open();
    if (file.path())
        SSL_CTX_set_keylog_callback(context, &key_log_file::write);
}

inline void ask_for_client_certificates(SSL_CTX* context, client_certificates how,
                                        std::string const& file, std::string const& pem) {
    if (how == client_certificates::ignored)
        return;
    if (file.empty() && pem.empty())
        throw startup_error(
            "tls: clients are asked for certificates, but nobody is named who may sign them: set "
            ".client_ca to a PEM file");
    trust(context, file, pem, "client CA", ".client_ca_pem");
    auto* const all = X509_STORE_get1_all_certs(SSL_CTX_get_cert_store(context));
    for (int i = 0; i < sk_X509_num(all); ++i)
        SSL_CTX_add_client_CA(context, sk_X509_value(all, i)); // what the client may choose from
    sk_X509_pop_free(all, &X509_free);
    SSL_CTX_set_verify(
        context,
        SSL_VERIFY_PEER |
            (how == client_certificates::required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
        nullptr);
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

RELAIS_DECL tls_context::tls_context(tls_options const& options, bool http,
                                     tls_context const* before)
    : names_(new detail::server_names) {
    std::vector<tls_certificate> all;
    bool const first = !options.certificate.empty() || !options.certificate_pem.empty();
    if (first || !options.key.empty() || !options.key_pem.empty())
        all.push_back({.certificate = options.certificate,
                       .key = options.key,
                       .certificate_pem = options.certificate_pem,
                       .key_pem = options.key_pem});
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

    for (auto const& one : all)
        guarded_ =
            guarded_ || one.clients.value_or(options.clients) != client_certificates::ignored;
    bool const keeps_tickets = before && !guarded_ && !before->guarded_;

    // A ticket of one context is worth nothing in another, even where the keys are the same.
    session_id_.resize(SSL_MAX_SSL_SESSION_ID_LENGTH - 2);
    if (keeps_tickets)
        session_id_ = before->session_id_;
    else if (RAND_bytes(reinterpret_cast<unsigned char*>(session_id_.data()),
                        static_cast<int>(session_id_.size())) != 1)
        throw startup_error("tls: OpenSSL has no random bytes: " + detail::openssl_reason());

    for (auto const& one : all) {
        detail::certificate_chain const chain = detail::load_certificate(one);
        auto context = detail::make_ssl_ctx(true, options.min_version);
        SSL_CTX* const c = context.get();
        detail::use_certificate(c, chain);
        auto const how = one.clients.value_or(options.clients);
        bool const own_ca = !one.client_ca.empty() || !one.client_ca_pem.empty();
        detail::ask_for_client_certificates(c, how, own_ca ? one.client_ca : options.client_ca,
                                            own_ca ? one.client_ca_pem : options.client_ca_pem);
        auto const number = contexts_.size();
        std::string const id =
            session_id_ + static_cast<char>(number >> 8 & 0xff) + static_cast<char>(number & 0xff);
        SSL_CTX_set_session_id_context(c, reinterpret_cast<unsigned char const*>(id.data()),
                                       static_cast<unsigned>(id.size()));
        SSL_CTX_set_num_tickets(c, options.tickets);
        if (options.tickets == 0)
            SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
        SSL_CTX_set_client_hello_cb(c, &detail::choose_certificate, names_.get());
        SSL_CTX_set_tlsext_servername_callback(c, &detail::acknowledge_name);
        SSL_CTX_set_tlsext_servername_arg(c, names_.get());
        if (options.key_log)
            detail::log_keys(c);
        if (!protocols_.empty())
            SSL_CTX_set_alpn_select_cb(c, &detail::choose_protocol, &protocols_);
        names_->add(chain.certificates.front().get(), c);
        contexts_.push_back(std::move(context));
    }
    if (keeps_tickets) {
        unsigned char keys[80];
        auto const size = SSL_CTX_get_tlsext_ticket_keys(before->native(), nullptr, 0);
        if (size > 0 && size <= static_cast<long>(sizeof keys) &&
            SSL_CTX_get_tlsext_ticket_keys(before->native(), keys, size) == 1)
            SSL_CTX_set_tlsext_ticket_keys(native(), keys, size);
        OPENSSL_cleanse(keys, sizeof keys);
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
        detail::trust(c, options.ca_file, options.ca_pem, "CA", ".ca_pem");
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
