#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/net/connection.hpp>
#include <relais/tls/context.hpp>

#include <memory>
#include <type_traits>

namespace relais {

class http_stage;
class tls_stream;

/// Ends TLS: from connections to connections whose stream is the plaintext.
///
/// A client that is not through the handshake in time is dropped; one that sends plain HTTP is told what to do by a
/// 400. What was agreed upon (host name, protocol, version, the client's certificate) is `connection::tls()`.
class tls_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("tls()");
    explicit tls_stage(tls_options options);
    awaitable<> operator()(connection& c, connection::next next) const;

    /// Loads the certificates. \throws startup_error
    void prepare() const { prepare(true); }

    /// Loads the certificates again, for new handshakes. \throws startup_error, and keeps those it has
    void reload() const;

    /// As `prepare`, and knows what follows in the chain: ALPN is for HTTP where requests follow.
    template <class... After>
    void prepare_before() const {
        prepare((std::is_same_v<After, http_stage> || ...));
    }

private:
    void prepare(bool http) const;
    awaitable<bool> shake(connection& c) const;
    static awaitable<> refuse_plain_http(tls_stream& layer);

    std::shared_ptr<tls_options const> options_;
    struct loaded;
    mutable std::shared_ptr<loaded> loaded_; // since prepare()
};

/// TLS towards clients.
inline tls_stage tls(tls_options options) {
    return tls_stage(std::move(options));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/tls/impl/tls.ipp>
#endif
