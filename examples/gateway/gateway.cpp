// https and wss on one port, http servers behind it.
//
//   gateway                                                      a demonstration: open https://localhost:8443
//   gateway --listen 0.0.0.0:443 --certificate cert.pem --key key.pem
//           --route /wss=http://127.0.0.1:8888 --route /=http://127.0.0.1:8080
//
//   curl -k https://localhost:8443/api/hello
//   curl -k https://localhost:8443/stream
//   curl -k https://localhost:8443/explain?/api/hello

#include "demonstration.hpp"
#include "settings.hpp"

#include <relais/relais.hpp>

#include <exception>
#include <iostream>
#include <optional>
#include <string>

using namespace relais;

/// A stage: names the gateway in the answers that pass, and the TLS version that they go out with.
static awaitable<> served_by(exchange& x, exchange::next next) {
    co_await next(x);
    x.response.set("X-Served-By", "relais");
    x.response.set("X-TLS-Version", x.connection().tls()->version);
}

/// A terminal: says which route the path in the query takes, and why.
struct explain {
    routes table;

    awaitable<> operator()(exchange& x) const {
        x.respond(200, table.explain(x.request.query(), x.request.host()));
        co_return;
    }
};

static void say_what_to_try(socket_address const& where, bool made_up) {
    std::string host = where.to_string(), curl = "    curl -k ";
    if (where.is_unix()) {
        curl += "--unix-socket " + std::string(where.path()) + " ";
        host = "localhost";
        std::cout << "Listening on " << where.to_string() << "; try\n";
    } else {
        if (where.ip().is_unspecified() || where.ip().is_loopback())
            host = "localhost:" + std::to_string(where.port());
        std::cout << "Open https://" << host << "/ in two tabs"
                  << (made_up ? " (the certificate is made up: accept it)" : "") << ", or try\n";
    }
    std::string url = "https://" + host;
    std::cout << curl << url << "/api/hello\n"
              << curl << url << "/stream\n"
              << curl << "-d 'some text' " << url << "/api/upload\n"
              << curl << url << "/explain?/api/hello\n"
              << curl << "-i -H 'Origin: http://localhost:3000' " << url << "/api/cors\n"
              << "Ctrl-C ends it. Requests are logged here.\n"
              << std::flush;
}

int main(int count, char** arguments) {
    settings given;
    if (auto status = read_settings(count, arguments, given))
        return *status;
    try {
        auto certificate = given.certificate.empty()
                               ? tls_options::self_signed("localhost")
                               : tls_options{.certificate = given.certificate, .key = given.key};
        auto front = tls(certificate) | http() | access_log();

        std::optional<demonstration> demo;
        server srv({.workers = given.workers});
        if (given.routes.empty()) {
            demo.emplace();
            routes table(at("/wss") | proxy_to(demo->chat()),
                         at("/") | proxy_to(demo->application()));
            srv.listen(given.listen,
                       front | cors({.origins = {"http://localhost:3000"}}) | served_by |
                           routes(at(exact("/explain")) | explain{table}, at("/") | table));
        } else {
            routes table;
            for (auto const& r : given.routes)
                table.add(at(r.path) | proxy_to(r.upstream));
            srv.listen(given.listen, front | table);
        }

        srv.start();
        auto where = srv.endpoints().front();
        if (demo)
            say_what_to_try(where, given.certificate.empty());
        else
            std::cout << "Listening on " << where.to_string() << "; Ctrl-C ends it" << std::endl;
        return srv.run();
    } catch (std::exception const& error) {
        std::cerr << "gateway: " << error.what() << "\n";
        return 1;
    }
}
