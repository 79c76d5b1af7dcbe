// A program that calls Beast's namespace `http` writes relais::http().

#include <relais/relais.hpp>

#include <boost/beast/http.hpp>

namespace http = boost::beast::http;
using namespace relais;

static awaitable<> signed_in(exchange& x, exchange::next next) {
    if (x.request[http::field::authorization].empty()) {
        x.respond(401, "sign in first\n");
        co_return;
    }
    co_await next(x);
    x.response.set("X-Served-By", "relais");
}

int beside_beast() {
    server srv;
    srv.listen("0.0.0.0:443", tls({.certificate = "cert.pem", .key = "key.pem"}) | relais::http() |
                                  access_log() | cors({.origins = {"https://abc.com"}}) |
                                  routes(at("/wss") | signed_in | proxy_to("http://127.0.0.1:8888"),
                                         at("/tomcat/") | proxy_to("http://127.0.0.1:8080/"),
                                         at(pattern(R"(\.php$)")) | respond(404),
                                         at("/") | respond(200, "hello\n")));
    srv.listen("0.0.0.0:80", relais::http() | redirect_to_https());
    return srv.run();
}
