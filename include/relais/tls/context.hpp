#pragma once

#include <relais/config.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct ssl_ctx_st; // OpenSSL's SSL_CTX

namespace relais {

/// Versions of TLS that can be asked for.
enum class tls_version : std::uint8_t { tls_1_2, tls_1_3 };

/// Whether clients are asked for a certificate of their own.
enum class client_certificates : std::uint8_t {
    ignored,
    optional, ///< whoever shows one that cannot be verified is refused, whoever shows none is not
    required
};

/// A certificate chain and its private key, each from a PEM file or from PEM text in memory.
struct tls_certificate {
    std::string
        certificate{}; ///< file: the server's own certificate first, then the intermediate ones
    std::string key{}; ///< file; empty: the key is in the certificate file
    std::string certificate_pem{}; ///< text, in place of `certificate`
    std::string key_pem{};         ///< text, in place of `key`

    /// For its hosts, in place of what `tls_options` says for all.
    std::optional<client_certificates> clients{};
    std::string client_ca{};     ///< file, in place of the one of `tls_options`
    std::string client_ca_pem{}; ///< text, in place of `client_ca`
};

/// How a server speaks TLS.
struct tls_options {
    std::string
        certificate{}; ///< file: the server's own certificate first, then the intermediate ones
    std::string key{}; ///< file; empty: the key is in the certificate file
    std::string certificate_pem{}; ///< text, in place of `certificate`
    std::string key_pem{};         ///< text, in place of `key`

    /// More certificates, for other hosts. Which one is used follows from the host names in the certificates, exact
    /// or `*.domain`; clients that name none of them, or none at all, get the first one.
    std::vector<tls_certificate> certificates{};

    /// Whether clients are asked for certificates, and who may have signed them: PEM, as a file or as text. Then a request
    /// is answered by 421 where it is for another host than the one that the handshake named.
    client_certificates clients = client_certificates::ignored;
    std::string client_ca{};
    std::string client_ca_pem{};

    tls_version min_version = tls_version::tls_1_2;

    /// Session tickets that a full handshake hands out, at most 8; 0: sessions are not resumed.
    unsigned tickets = 1;

    /// Protocols for ALPN, the preferred one first; a client that offers others only is refused. Empty: ALPN is
    /// ignored. Unset: `http/1.1` and `http/1.0` where `http()` follows, none elsewhere.
    std::optional<std::vector<std::string>> protocols{};

    /// Whether the secrets of sessions are written to the file that the environment names by `SSLKEYLOGFILE`, for
    /// Wireshark: whoever reads it reads the traffic.
    bool key_log = false;

    /// A client has this long from accept on to get through the handshake.
    std::chrono::milliseconds handshake_timeout{10000};

    /// A certificate made in memory, for trying things out: no client trusts it.
    /// \param host the name in it; `localhost` also gets the loopback addresses.
    /// \throws std::invalid_argument for what is no name, std::runtime_error when OpenSSL cannot make one.
    static tls_options self_signed(std::string_view host);
};

/// How a client, which is what a proxy is to its upstreams, speaks TLS.
struct tls_client_options {
    std::string
        ca_file{}; ///< PEM: who may sign the server's certificate; empty: whom the system trusts
    std::string ca_pem{}; ///< text, in place of `ca_file`
    bool verify =
        true; ///< whether chain and name are verified; without, anybody in between can read along
    std::string
        name{}; ///< the name that is asked for (SNI) and verified; empty: the host that is connected to
    tls_version min_version = tls_version::tls_1_2;
    std::vector<std::string> protocols{"http/1.1"}; ///< offered by ALPN; empty: none
    std::chrono::milliseconds handshake_timeout{5000};
};

namespace detail {

struct free_ssl_ctx {
    void operator()(ssl_ctx_st* context) const noexcept;
};
using ssl_ctx_ptr = std::unique_ptr<ssl_ctx_st, free_ssl_ctx>;

struct server_names;

} // namespace detail

/// Certificates, keys and settings of a server, loaded and checked. Immutable: all workers share one.
///
/// TLS 1.2 and 1.3 with forward secrecy and authenticated encryption only; no renegotiation, no compression, no early
/// data. Sessions are resumed by tickets, and only for the certificate that they were made with.
class tls_context {
public:
    /// \param http whether requests follow, which decides what `tls_options::protocols` is when it is unset.
    /// \param before what this one is loaded in the place of: its tickets stay good, unless client certificates are
    /// asked for, since who may sign them may have changed.
    /// \throws startup_error: one sentence that says what is wrong, in which file, and what to do.
    tls_context(tls_options const& options, bool http, tls_context const* before = nullptr);
    tls_context(tls_context const&) = delete;
    tls_context& operator=(tls_context const&) = delete;
    ~tls_context();

    /// OpenSSL's object for the first certificate; it switches to the others by itself.
    ssl_ctx_st* native() const noexcept { return contexts_.front().get(); }

    /// Whether some host asks for client certificates.
    bool guarded() const noexcept { return guarded_; }

    /// How many certificates there are to choose from.
    std::size_t size() const noexcept { return contexts_.size(); }

private:
    std::string protocols_; // as on the wire
    std::string session_id_;
    bool guarded_ = false;
    std::vector<detail::ssl_ctx_ptr> contexts_;
    std::unique_ptr<detail::server_names> names_;
};

/// Trust and settings of a client. Immutable: all workers share one.
class tls_client_context {
public:
    /// \throws startup_error: one sentence that says what is wrong, in which file, and what to do.
    explicit tls_client_context(tls_client_options const& options = {});
    tls_client_context(tls_client_context const&) = delete;
    tls_client_context& operator=(tls_client_context const&) = delete;
    ~tls_client_context();

    ssl_ctx_st* native() const noexcept { return context_.get(); }

    /// The name that is asked for and verified in place of the host that is connected to; empty: that host.
    std::string const& name() const noexcept { return name_; }
    bool verifies() const noexcept { return verify_; }
    std::chrono::milliseconds handshake_timeout() const noexcept { return handshake_timeout_; }

private:
    detail::ssl_ctx_ptr context_;
    std::string name_;
    bool verify_;
    std::chrono::milliseconds handshake_timeout_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/tls/impl/context.ipp>
#endif
