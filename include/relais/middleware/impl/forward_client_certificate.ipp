#pragma once

#include <relais/middleware/forward_client_certificate.hpp>

#include <openssl/evp.h>

#include <string>

namespace relais {

namespace detail {

// A byte sequence of structured fields (RFC 8941, section 3.3.5).
RELAIS_DECL std::string byte_sequence(std::string const& bytes) {
    std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0'); // with a zero at its end
    EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                    reinterpret_cast<unsigned char const*>(bytes.data()),
                    static_cast<int>(bytes.size()));
    text.pop_back();
    return ':' + text + ':';
}

} // namespace detail

RELAIS_DECL awaitable<> forward_client_certificate_stage::operator()(exchange& x,
                                                                     exchange::next next) const {
    auto const* session = x.connection().tls();
    if (session && session->client) {
        x.request.set("Client-Cert", detail::byte_sequence(session->client->der));
        if (with_chain_ && !session->client->chain.empty()) {
            std::string all;
            for (auto const& one : session->client->chain)
                all += (all.empty() ? "" : ", ") + detail::byte_sequence(one);
            x.request.set("Client-Cert-Chain", all);
        }
    }
    return next(x);
}

} // namespace relais
