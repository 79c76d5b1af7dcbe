// The gateway that the benchmark measures: what a user writes, with its addresses taken from the environment.
//
//   LISTEN_HTTP, LISTEN_HTTPS, UPSTREAM_HTTP, UPSTREAM_WS: host:port; CERT, KEY: PEM files.
//   WORKERS: threads, 1 where it is not set. STAGES=1: access log, CORS and an asynchronous stage in front of the routes.

#include <relais/relais.hpp>

#include <cstdlib>
#include <string>

using namespace relais;

static std::string setting(char const* name, std::string otherwise = {}) {
    char const* value = std::getenv(name);
    return value ? value : otherwise;
}

static awaitable<> mark(exchange& x, exchange::next next) {
    co_await next(x);
    x.response.set("X-Served-By", "relais");
}

int main() {
    auto to_routes = routes(at("/ws") | proxy_to("http://" + setting("UPSTREAM_WS")),
                            at("/") | proxy_to("http://" + setting("UPSTREAM_HTTP")));
    http_options endless{.keep_alive_requests = 1'000'000'000};
    tls_options certificate{.certificate = setting("CERT"), .key = setting("KEY")};

    server srv({.workers = std::stoul(setting("WORKERS", "1"))});
    if (setting("STAGES").empty()) {
        srv.listen(setting("LISTEN_HTTP"), http(endless) | to_routes);
        srv.listen(setting("LISTEN_HTTPS"), tls(certificate) | http(endless) | to_routes);
    } else {
        auto app = http(endless) | access_log({.file = "/dev/null"}) |
                   cors({.origins = {"http://bench.example:8080"}}) | mark | to_routes;
        srv.listen(setting("LISTEN_HTTP"), app);
        srv.listen(setting("LISTEN_HTTPS"), tls(certificate) | app);
    }
    return srv.run();
}
