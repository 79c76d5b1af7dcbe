#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>

namespace relais {

/// Tells the upstream the client's certificate, in the fields `Client-Cert` and `Client-Cert-Chain`.
///
/// What a client itself sends under these names never gets there, with or without this stage. Other fields of the
/// certificate are `x.connection().tls()->client`, for a stage of one's own.
///
/// Source: RFC 9440.
class forward_client_certificate_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("forward_client_certificate()");
    explicit forward_client_certificate_stage(bool with_chain) noexcept : with_chain_(with_chain) {}
    awaitable<> operator()(exchange& x, exchange::next next) const;

private:
    bool with_chain_;
};

/// See `forward_client_certificate_stage`. \param with_chain whether what the client sent behind its certificate goes along.
[[nodiscard]] inline forward_client_certificate_stage
forward_client_certificate(bool with_chain = false) {
    return forward_client_certificate_stage(with_chain);
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/middleware/impl/forward_client_certificate.ipp>
#endif
