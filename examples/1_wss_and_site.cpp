// A site, an application and wss:// on one https port. cert.pem and key.pem have to be there; then
//
//     curl -k -i https://localhost/
//     curl -k -i https://localhost/wss        # 401: the stage in front of it wants a session

#include <relais/relais.hpp>

using namespace relais;

awaitable<> signed_in(exchange& x, exchange::next next) {
    if (x.request.cookie("session").empty()) {
        x.respond(401, "sign in first\n");
        co_return;
    }
    co_await next(x); // until the head of the answer is there
    x.response.set("X-Served-By", "relais");
}

int main() {
    server srv;
    srv.listen("0.0.0.0:443", tls({.certificate = "cert.pem", .key = "key.pem"}) | http() |
                                  access_log() | cors({.origins = {"https://abc.com"}}) |
                                  routes(at("/wss") | signed_in | proxy_to("http://127.0.0.1:8888"),
                                         at("/tomcat/") | proxy_to("http://127.0.0.1:8080/"),
                                         at("/") | proxy_to("http://127.0.0.1:8000")));
    srv.listen("0.0.0.0:80", http() | redirect_to_https());
    return srv.run(); // until SIGTERM or SIGINT
}
