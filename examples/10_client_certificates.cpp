// Who has a certificate of the company comes in, and the application hears who it is. Certificates that are replaced are
// loaded by SIGHUP, and no connection notices. A certificate authority, a server's and a client's certificate, and what to try:
//
//     openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=Company -keyout ca.key -out ca.pem
//     openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -keyout key.pem -out cert.pem
//     openssl req -newkey rsa:2048 -nodes -subj /CN=ann -keyout ann.key -out ann.csr
//     openssl x509 -req -in ann.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out ann.pem
//     10_client_certificates &
//     curl -k https://localhost:8443/                                    # refused
//     curl -k --cert ann.pem --key ann.key https://localhost:8443/       # 200 "hello, CN=ann"
//     curl -k -H 'Client-Cert: :eA==:' --cert ann.pem --key ann.key https://localhost:8443/told
//         # 200 "Client-Cert: :MII"

#include <relais/relais.hpp>

using namespace relais;

awaitable<> hello(exchange& x) {
    auto const& client = x.connection().tls()->client; // verified: `required` lets nobody else in
    x.respond(200, "hello, " + client->subject + "\n");
    co_return;
}

// What an upstream would get to see: RFC 9440.
awaitable<> told(exchange& x) {
    x.respond(200, "Client-Cert: " + std::string(x.request["Client-Cert"]) + "\n");
    co_return;
}

int main() {
    server srv;
    srv.listen("127.0.0.1:8443", tls({.certificate = "cert.pem",
                                      .key = "key.pem",
                                      .clients = client_certificates::required,
                                      .client_ca = "ca.pem"}) |
                                     http() | forward_client_certificate() |
                                     routes(at("/told") | told, at("/") | hello));
    return srv.run(); // SIGHUP loads cert.pem, key.pem and ca.pem again
}
