// Who connects, where something else is in front: a balancer that speaks the PROXY protocol for connections, a CDN that adds
// X-Forwarded-For for requests. Both are believed from their own addresses alone.
//
//     curl --haproxy-protocol http://127.0.0.1:8080/                          # 200 "hello, 127.0.0.1"
//     curl http://127.0.0.1:8080/                                             # refused: no header
//     curl -H 'X-Forwarded-For: 192.0.2.9' http://127.0.0.1:8081/             # 200 "hello, 192.0.2.9"
//     curl -H 'X-Forwarded-For: 203.0.113.9' http://127.0.0.1:8081/           # 403: deny() goes by the client
//     curl -H 'X-Forwarded-For: 192.0.2.9' --interface 127.0.0.2 http://127.0.0.1:8081/
//         # 200 "hello, 127.0.0.2": whoever is not trusted may say what it likes

#include <relais/relais.hpp>

using namespace relais;

awaitable<> hello(exchange& x) {
    x.respond(200, "hello, " + std::string(x.client_address()) + "\n");
    co_return;
}

int main() {
    auto app = deny({"203.0.113.0/24"}) | hello;
    server srv;
    srv.listen("127.0.0.1:8080", proxy_protocol({.trusted = {"127.0.0.1", "10.0.0.0/8"}}) |
                                     max_connections({.total = 10'000, .per_address = 100}) |
                                     http() | app);
    srv.listen("127.0.0.1:8081", http() | real_ip({.trusted = {"127.0.0.1"}}) | app);
    return srv.run();
}
