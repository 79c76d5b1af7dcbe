#pragma once

// Certificates for tests, made on the spot.

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

namespace made {

inline void require(bool ok) {
    if (!ok)
        std::abort();
}

inline std::string text_of(BIO* bio) {
    char* data = nullptr;
    long const size = BIO_get_mem_data(bio, &data);
    std::string text(data, static_cast<std::size_t>(size));
    BIO_free(bio);
    return text;
}

// A certificate and its key.
struct certificate {
    std::shared_ptr<X509> x509;
    std::shared_ptr<EVP_PKEY> key;

    std::string pem() const {
        BIO* const out = BIO_new(BIO_s_mem());
        require(PEM_write_bio_X509(out, x509.get()) == 1);
        return text_of(out);
    }
    std::string key_pem(char const* passphrase = nullptr) const {
        BIO* const out = BIO_new(BIO_s_mem());
        int const size = passphrase ? static_cast<int>(std::string(passphrase).size()) : 0;
        require(PEM_write_bio_PKCS8PrivateKey(
                    out, key.get(), passphrase ? EVP_aes_256_cbc() : nullptr,
                    const_cast<char*>(passphrase), size, nullptr, nullptr) == 1);
        return text_of(out);
    }
};

struct request {
    std::string common_name{};
    std::string names{}; // "DNS:a.example,IP:127.0.0.1"; empty: none
    bool authority = false;
    long valid_from = -3600; // seconds from now
    long valid_until = 3600;
    bool rsa = false;
    unsigned rsa_bits = 2048;
};

// Signed by `issuer`, or by itself.
inline certificate sign(request const& r, certificate const* issuer = nullptr) {
    certificate made;
    made.key.reset(r.rsa ? EVP_RSA_gen(r.rsa_bits) : EVP_EC_gen("P-256"), &EVP_PKEY_free);
    made.x509.reset(X509_new(), &X509_free);
    X509* const x = made.x509.get();
    require(made.key && x);
    static long serial = 1;
    require(X509_set_version(x, X509_VERSION_3) == 1 &&
            ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial) == 1 &&
            X509_gmtime_adj(X509_getm_notBefore(x), r.valid_from) &&
            X509_gmtime_adj(X509_getm_notAfter(x), r.valid_until) &&
            X509_set_pubkey(x, made.key.get()) == 1);
    X509_NAME* const subject = X509_get_subject_name(x);
    require(X509_NAME_add_entry_by_txt(
                subject, "CN", MBSTRING_UTF8,
                reinterpret_cast<unsigned char const*>(r.common_name.c_str()), -1, -1, 0) == 1);
    X509* const above = issuer ? issuer->x509.get() : x;
    require(X509_set_issuer_name(x, X509_get_subject_name(above)) == 1);
    X509V3_CTX about;
    X509V3_set_ctx(&about, above, x, nullptr, nullptr, 0);
    auto const extend = [&](int nid, std::string const& value) {
        X509_EXTENSION* const e = X509V3_EXT_conf_nid(nullptr, &about, nid, value.c_str());
        require(e && X509_add_ext(x, e, -1) == 1);
        X509_EXTENSION_free(e);
    };
    extend(NID_basic_constraints, r.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    extend(NID_key_usage, r.authority ? "critical,keyCertSign" : "critical,digitalSignature");
    if (!r.names.empty())
        extend(NID_subject_alt_name, r.names);
    require(X509_sign(x, (issuer ? issuer->key : made.key).get(), EVP_sha256()) != 0);
    return made;
}

// root -> intermediate -> leaf
struct family {
    certificate root = sign({.common_name = "root", .authority = true});
    certificate intermediate = sign({.common_name = "intermediate", .authority = true}, &root);
    certificate leaf =
        sign({.common_name = "leaf", .names = "DNS:a.example,IP:127.0.0.1"}, &intermediate);
};

} // namespace made
