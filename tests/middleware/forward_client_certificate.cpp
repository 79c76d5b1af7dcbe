#include "catch.hpp"

#include <relais/middleware/forward_client_certificate.hpp>
#include <relais/testing/session.hpp>

#include <memory>
#include <string>

using namespace relais;

namespace {

awaitable<> tell(exchange& x) {
    std::string text(x.request["Client-Cert"]);
    text.append(" / ").append(x.request["Client-Cert-Chain"]);
    x.respond(200, text);
    co_return;
}

// What the upstream would see of a connection on which the client has shown `shown`.
template <class Stage>
std::string told(std::shared_ptr<client_certificate const> shown, Stage const& forward) {
    auto const pretend = [shown](connection& c, connection::next next) {
        auto session = std::make_unique<tls_session>();
        session->client = shown;
        c.set_tls(std::move(session));
        return next(c);
    };
    testing::session s(stage(pretend) | http() | forward | tell);
    s.send("GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :bWU=:\r\n"
           "Connection: client-cert-chain\r\nCLIENT-CERT-CHAIN: :bWU=:\r\n\r\n");
    auto const all = s.take_received();
    return all.substr(all.find("\r\n\r\n") + 4);
}

awaitable<> pass(exchange& x, exchange::next next) {
    return next(x);
}

} // namespace

TEST_CASE("forward_client_certificate: byte sequences, the chain where it is asked for") {
    client_certificate shown;
    shown.der = "any bytes\xff";
    auto const alone = std::make_shared<client_certificate const>(shown);
    shown.chain = {"a", std::string("\0\0\0", 3)};
    auto const chained = std::make_shared<client_certificate const>(shown);

    CHECK(told(alone, forward_client_certificate()) == ":YW55IGJ5dGVz/w==: / ");
    CHECK(told(alone, forward_client_certificate(true)) == ":YW55IGJ5dGVz/w==: / ");
    CHECK(told(chained, forward_client_certificate()) == ":YW55IGJ5dGVz/w==: / ");
    CHECK(told(chained, forward_client_certificate(true)) == ":YW55IGJ5dGVz/w==: / :YQ==:, :AAAA:");
}

TEST_CASE(
    "forward_client_certificate: what a client claims is dropped, with the stage or without") {
    client_certificate shown;
    shown.der = "x";
    CHECK(told(nullptr, forward_client_certificate(true)) == " / ");
    CHECK(told(nullptr, stage(pass)) == " / ");
    CHECK(told(std::make_shared<client_certificate const>(shown), stage(pass)) == " / ");
}
