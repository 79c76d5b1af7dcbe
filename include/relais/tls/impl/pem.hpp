#pragma once

#include <relais/config.hpp>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct ssl_ctx_st;

namespace relais {
struct tls_certificate;
}

// Certificates and keys in PEM: reading, checking, and making one.

namespace relais::detail {

template <auto Free>
struct free_with {
    template <class T>
    void operator()(T* p) const noexcept {
        Free(p);
    }
};
using x509_ptr = std::unique_ptr<X509, free_with<&X509_free>>;
using pkey_ptr = std::unique_ptr<EVP_PKEY, free_with<&EVP_PKEY_free>>;

struct certificate_chain {
    std::vector<x509_ptr> certificates; // the server's own first
    pkey_ptr key;
    std::string from; // for messages
};

/// ASCII letters in lower case.
std::string lower_case(std::string_view s);

/// The reason of OpenSSL's last error, in words; empties its queue.
std::string openssl_reason();

/// Reads and checks a chain and its key. \throws startup_error
certificate_chain load_certificate(tls_certificate const& source);

/// Hands a checked chain to OpenSSL. \throws startup_error where it thinks too little of it
void use_certificate(ssl_ctx_st* context, certificate_chain const& chain);

/// Says who may sign; with neither, whom the system trusts. \param what, text_option name the two in messages.
/// \throws startup_error
void trust(ssl_ctx_st* context, std::string const& file, std::string const& pem,
           std::string const& what, std::string const& text_option);

/// What stages see of a certificate: a name as of RFC 4514, bytes in hexadecimal, `DNS:a.example`.
std::string name_text(X509_NAME* name);
std::string hexadecimal(std::span<unsigned char const> bytes);
std::string hexadecimal(ASN1_INTEGER const* number);
std::vector<std::string> alternative_names(X509* certificate);
std::chrono::system_clock::time_point time_of(ASN1_TIME const* time);
std::string der_of(X509* certificate);

} // namespace relais::detail

#if defined(RELAIS_HEADER_ONLY)
#include <relais/tls/impl/pem.ipp>
#endif
