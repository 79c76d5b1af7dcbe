#pragma once

#include <relais/core/error.hpp>
#include <relais/tls/context.hpp>
#include <relais/tls/impl/pem.hpp>

#include <boost/algorithm/hex.hpp>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <iterator>
#include <stdexcept>
#include <system_error>

namespace relais {

namespace detail {

using bio_ptr = std::unique_ptr<BIO, free_with<&BIO_free_all>>;

RELAIS_DECL std::string lower_case(std::string_view s) {
    std::string result(s);
    for (char& c : result)
        if (c >= 'A' && c <= 'Z')
            c = static_cast<char>(c - 'A' + 'a');
    return result;
}

RELAIS_DECL std::string openssl_reason() {
    unsigned long const error = ERR_peek_last_error();
    char const* const reason = error != 0 ? ERR_reason_error_string(error) : nullptr;
    std::string result = reason       ? reason
                         : error != 0 ? "error " + std::to_string(error)
                                      : "no reason given";
    ERR_clear_error();
    return result;
}

inline std::string quoted(std::string const& s) {
    return '"' + s + '"';
}

inline std::string text_of(BIO* bio) {
    char* data = nullptr;
    long const size = BIO_get_mem_data(bio, &data);
    return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

RELAIS_DECL std::string name_text(X509_NAME* name) {
    bio_ptr const out(BIO_new(BIO_s_mem()));
    X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    return text_of(out.get());
}

RELAIS_DECL std::string hexadecimal(std::span<unsigned char const> bytes) {
    std::string text;
    boost::algorithm::hex_lower(bytes.begin(), bytes.end(), std::back_inserter(text));
    return text;
}

RELAIS_DECL std::string hexadecimal(ASN1_INTEGER const* number) {
    return hexadecimal(std::span(ASN1_STRING_get0_data(number),
                                 static_cast<std::size_t>(ASN1_STRING_length(number))));
}

RELAIS_DECL std::vector<std::string> alternative_names(X509* certificate) {
    std::vector<std::string> all;
    auto* const names = static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
    for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
        bio_ptr const out(BIO_new(BIO_s_mem()));
        GENERAL_NAME_print(out.get(), sk_GENERAL_NAME_value(names, i));
        all.push_back(text_of(out.get()));
    }
    GENERAL_NAMES_free(names);
    return all;
}

RELAIS_DECL std::chrono::system_clock::time_point time_of(ASN1_TIME const* time) {
    std::tm utc{};
    if (ASN1_TIME_to_tm(time, &utc) != 1)
        return {};
    return std::chrono::system_clock::from_time_t(::timegm(&utc));
}

RELAIS_DECL std::string der_of(X509* certificate) {
    unsigned char* data = nullptr;
    int const size = i2d_X509(certificate, &data);
    std::string der(reinterpret_cast<char const*>(data), size > 0 ? std::size_t(size) : 0);
    OPENSSL_free(data);
    return der;
}

inline std::string subject_of(X509* certificate) {
    auto name = name_text(X509_get_subject_name(certificate));
    return name.empty() ? "one without a subject" : name;
}

inline std::string read_file(std::string const& path, std::string const& what) {
    auto const fail = [&](int error) -> startup_error {
        std::string const file = "tls: the " + what + " file " + quoted(path);
        if (error == ENOENT)
            return startup_error(file + " does not exist: give the path of a PEM file, from the "
                                        "working directory or absolute");
        if (error == EACCES)
            return startup_error(file +
                                 " may not be read by this user: change its owner or its mode");
        if (error == EISDIR)
            return startup_error(file + " is a directory: give the path of a PEM file");
        return startup_error(file + " cannot be read: " + std::generic_category().message(error));
    };
    std::unique_ptr<std::FILE, free_with<&std::fclose>> const file(std::fopen(path.c_str(), "rb"));
    if (!file)
        throw fail(errno);
    std::string text;
    char part[4096];
    while (std::size_t const n = std::fread(part, 1, sizeof part, file.get())) {
        text.append(part, n);
        if (text.size() > 8u << 20)
            throw startup_error("tls: the " + what + " file " + quoted(path) +
                                " is over 8 MiB: is it the right one?");
    }
    if (std::ferror(file.get()) != 0)
        throw fail(errno);
    return text;
}

// How to get from what is in a file to what should be in it.
inline std::string not_pem(std::string const& text, std::string const& what,
                           std::string const& where) {
    std::string const sentence = "tls: there is no " + what + " in " + where;
    if (text.empty())
        return sentence + ": it is empty";
    char const* const tool =
        what == "certificate" ? "openssl x509 -inform der" : "openssl pkey -inform der";
    if (text[0] == '\x30')
        return sentence + ": it looks like DER or PKCS #12; convert DER with " + tool +
               " -in OLD -out NEW";
    if (text.find("-----BEGIN ") != std::string::npos) {
        auto const at = text.find("-----BEGIN ") + 11;
        return sentence + ": it holds " +
               quoted(text.substr(at, std::min<std::size_t>(text.find("-----", at) - at, 40)));
    }
    return sentence + ": it is not PEM, which begins with a line -----BEGIN";
}

inline int refuse_passphrase(char*, int, int, void* asked) {
    *static_cast<bool*>(asked) = true;
    return -1;
}

inline std::vector<x509_ptr> read_certificates(std::string const& text, std::string const& where) {
    std::vector<x509_ptr> all;
    ERR_clear_error();
    bio_ptr const in(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    while (X509* const one = PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr))
        all.emplace_back(one);
    unsigned long const error = ERR_peek_last_error();
    bool const at_end =
        ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
    if (!at_end) {
        std::string const number = std::to_string(all.size() + 1);
        throw startup_error("tls: certificate number " + number + " in " + where +
                            " is damaged: " + openssl_reason());
    }
    ERR_clear_error();
    if (all.empty())
        throw startup_error(not_pem(text, "certificate", where));
    return all;
}

inline pkey_ptr read_key(std::string const& text, std::string const& where) {
    bool asked = false;
    ERR_clear_error();
    bio_ptr const in(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    pkey_ptr key(PEM_read_bio_PrivateKey(in.get(), nullptr, &refuse_passphrase, &asked));
    if (asked)
        throw startup_error(
            "tls: the key in " + where +
            " is encrypted, and nobody is there to type the passphrase: "
            "decrypt it with openssl pkey -in OLD -out NEW, readable by the server's user only");
    if (!key) {
        unsigned long const error = ERR_peek_last_error();
        bool const none =
            ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
        bool const other = text.find("PRIVATE KEY-----") == std::string::npos;
        if (none || other) {
            ERR_clear_error();
            throw startup_error(not_pem(text, "private key", where));
        }
        throw startup_error("tls: the key in " + where + " is damaged: " + openssl_reason());
    }
    ERR_clear_error();
    return key;
}

RELAIS_DECL certificate_chain load_certificate(tls_certificate const& source) {
    bool const from_memory = !source.certificate_pem.empty();
    if (!from_memory && source.certificate.empty())
        throw startup_error(
            "tls: a key is given without its certificate: set .certificate to a PEM file");
    if (from_memory && source.key.empty() && source.key_pem.empty() &&
        source.certificate_pem.find("PRIVATE KEY") == std::string::npos)
        throw startup_error("tls: .certificate_pem is given without its key: set .key_pem or .key");

    certificate_chain chain;
    chain.from = from_memory ? ".certificate_pem" : quoted(source.certificate);
    std::string const text =
        from_memory ? source.certificate_pem : read_file(source.certificate, "certificate");
    chain.certificates = read_certificates(text, chain.from);
    std::string key_from = chain.from;
    std::string key_text = text;
    if (!source.key_pem.empty()) {
        key_from = ".key_pem";
        key_text = source.key_pem;
    } else if (!source.key.empty()) {
        key_from = quoted(source.key);
        key_text = read_file(source.key, "key");
    }
    if (source.key.empty() && source.key_pem.empty() &&
        text.find("PRIVATE KEY") == std::string::npos)
        throw startup_error("tls: the certificate " + chain.from +
                            " is given without its key: set .key to a PEM file");
    chain.key = read_key(key_text, key_from);
    OPENSSL_cleanse(key_text.data(), key_text.size());

    auto& all = chain.certificates;
    auto const fits = [&](x509_ptr const& one) {
        return X509_check_private_key(one.get(), chain.key.get()) == 1;
    };
    if (!fits(all.front())) {
        for (std::size_t i = 1; i < all.size(); ++i)
            if (fits(all[i])) {
                ERR_clear_error();
                throw startup_error(
                    "tls: the certificates in " + chain.from +
                    " are in the wrong order: the key belongs to number " + std::to_string(i + 1) +
                    ", " + subject_of(all[i].get()) +
                    ", which has to come first, then the one that signed it, and so on");
            }
        ERR_clear_error();
        throw startup_error(
            "tls: the key in " + key_from + " does not belong to the certificate in " + chain.from +
            ", " + subject_of(all.front().get()) + ": give the two that were made together");
    }
    for (std::size_t i = 0; i + 1 < all.size(); ++i) {
        X509* const below = all[i].get();
        X509* const above = all[i + 1].get();
        bool const named =
            X509_NAME_cmp(X509_get_issuer_name(below), X509_get_subject_name(above)) == 0;
        if (named && X509_verify(below, X509_get0_pubkey(above)) == 1)
            continue;
        ERR_clear_error();
        throw startup_error(
            "tls: the certificates in " + chain.from + " are not in order: number " +
            std::to_string(i + 2) + ", " + subject_of(above) + ", did not sign number " +
            std::to_string(i + 1) + ", " + subject_of(below) +
            "; the server's own comes first, then the one that signed it, and so on");
    }
    // A root at the end is something that a client has or does not trust: it need not be sent.
    X509* const last = all.back().get();
    if (all.size() > 1 &&
        X509_NAME_cmp(X509_get_issuer_name(last), X509_get_subject_name(last)) == 0)
        all.pop_back();
    return chain;
}

RELAIS_DECL void use_certificate(ssl_ctx_st* context, certificate_chain const& chain) {
    auto& all = chain.certificates;
    bool ok = SSL_CTX_use_certificate(context, all.front().get()) == 1 &&
              SSL_CTX_use_PrivateKey(context, chain.key.get()) == 1;
    for (std::size_t i = 1; ok && i < all.size(); ++i)
        ok = SSL_CTX_add1_chain_cert(context, all[i].get()) == 1;
    if (!ok)
        throw startup_error("tls: OpenSSL refuses the certificate in " + chain.from +
                            " or its key: " + openssl_reason());
}

RELAIS_DECL void trust(ssl_ctx_st* context, std::string const& file, std::string const& pem,
                       std::string const& what, std::string const& text_option) {
    if (file.empty() && pem.empty()) {
        if (SSL_CTX_set_default_verify_paths(context) == 1)
            return;
        throw startup_error(
            "tls: the system's trusted certificates cannot be found: " + openssl_reason() +
            "; set .ca_file, or on Debian install ca-certificates");
    }
    std::string const where = pem.empty() ? quoted(file) : text_option;
    X509_STORE* const store = SSL_CTX_get_cert_store(context);
    for (auto const& one : read_certificates(pem.empty() ? read_file(file, what) : pem, where))
        if (X509_STORE_add_cert(store, one.get()) != 1)
            throw startup_error("tls: OpenSSL refuses a certificate in " + where + ": " +
                                openssl_reason());
}

} // namespace detail

RELAIS_DECL tls_options tls_options::self_signed(std::string_view host) {
    using namespace detail;
    auto const require = [](bool ok) {
        if (!ok)
            throw std::runtime_error("tls: OpenSSL cannot make a certificate: " + openssl_reason());
    };
    auto const in_name = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '.' || c == '*';
    };
    if (host.empty() || host.size() > 64 || !std::all_of(host.begin(), host.end(), in_name))
        throw std::invalid_argument("tls: \"" + std::string(host) +
                                    "\" is no name for a certificate");
    pkey_ptr const key(EVP_EC_gen("P-256"));
    x509_ptr const made(X509_new());
    require(key && made);
    X509* const x = made.get();

    unsigned char serial[16];
    require(RAND_bytes(serial, sizeof serial) == 1);
    serial[0] =
        static_cast<unsigned char>((serial[0] & 0x7f) | 0x40); // positive, and of full length
    std::unique_ptr<BIGNUM, free_with<&BN_free>> const number(
        BN_bin2bn(serial, sizeof serial, nullptr));
    require(number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x)));

    std::string const name(host);
    bool const local = name == "localhost";
    std::string const names = "DNS:" + name + (local ? ",IP:127.0.0.1,IP:::1" : "");
    require(X509_set_version(x, X509_VERSION_3) == 1 &&
            X509_gmtime_adj(X509_getm_notBefore(x), -3600) &&
            X509_gmtime_adj(X509_getm_notAfter(x), 397L * 24 * 3600) &&
            X509_set_pubkey(x, key.get()) == 1);
    X509_NAME* const subject = X509_get_subject_name(x);
    require(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                       reinterpret_cast<unsigned char const*>(name.data()),
                                       static_cast<int>(name.size()), -1, 0) == 1 &&
            X509_set_issuer_name(x, subject) == 1);
    X509V3_CTX about;
    X509V3_set_ctx(&about, x, x, nullptr, nullptr, 0);
    for (auto const& [nid, value] :
         {std::pair<int, char const*>{NID_subject_alt_name, names.c_str()},
          {NID_basic_constraints, "critical,CA:FALSE"},
          {NID_key_usage, "critical,digitalSignature"},
          {NID_ext_key_usage, "serverAuth"}}) {
        std::unique_ptr<X509_EXTENSION, free_with<&X509_EXTENSION_free>> const extension(
            X509V3_EXT_conf_nid(nullptr, &about, nid, value));
        require(extension && X509_add_ext(x, extension.get(), -1) == 1);
    }
    require(X509_sign(x, key.get(), EVP_sha256()) != 0);

    auto const text_of = [](BIO* bio) {
        char* data = nullptr;
        long const size = BIO_get_mem_data(bio, &data);
        return std::string(data, static_cast<std::size_t>(size));
    };
    bio_ptr const certificate_out(BIO_new(BIO_s_mem()));
    bio_ptr const key_out(BIO_new(BIO_s_mem()));
    require(certificate_out && key_out && PEM_write_bio_X509(certificate_out.get(), x) == 1 &&
            PEM_write_bio_PKCS8PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                          nullptr) == 1);
    tls_options options;
    options.certificate_pem = text_of(certificate_out.get());
    options.key_pem = text_of(key_out.get());
    return options;
}

} // namespace relais
