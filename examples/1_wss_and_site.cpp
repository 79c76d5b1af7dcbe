// A site, an application and wss:// on one https port, as root for the sake of the ports. A certificate and the site, so
// that there are some, and what to try:
//
//     openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -keyout key.pem -out cert.pem
//     python3 -m http.server --bind 127.0.0.1 8000 &
//     1_wss_and_site &
//     curl -k https://localhost/                          # 200 "Directory listing"
//     curl -k https://localhost/wss                       # 401 "sign in first": the stage in front of it
//     curl -k -b session=1f3a https://localhost/wss       # 502: nothing listens on port 8888
//     curl -i http://localhost/a?b                        # 301 "Location: https://localhost/a?b"

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
