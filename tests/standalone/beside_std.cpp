// A program that uses all of std qualifies what both have: std::exchange is a function.

#include <relais/relais.hpp>

using namespace std;
using namespace relais;

static awaitable<> signed_in(relais::exchange& x, relais::exchange::next next) {
    if (x.request["Authorization"].empty()) {
        x.respond(401, "sign in first\n");
        co_return;
    }
    co_await next(x);
    x.response.set("X-Served-By", "relais");
}

int beside_std() {
    server srv;
    srv.listen("0.0.0.0:443", tls({.certificate = "cert.pem", .key = "key.pem"}) | http() |
                                  access_log() | cors({.origins = {"https://abc.com"}}) |
                                  routes(at("/wss") | signed_in | proxy_to("http://127.0.0.1:8888"),
                                         at("/tomcat/") | proxy_to("http://127.0.0.1:8080/"),
                                         at(pattern(R"(\.php$)")) | respond(404),
                                         at("/") | respond(200, "hello\n")));
    srv.listen("0.0.0.0:80", http() | redirect_to_https());
    return srv.run();
}
