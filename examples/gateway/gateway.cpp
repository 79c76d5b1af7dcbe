// https and wss on one port, http servers behind it.
//
//   gateway                                                      a demonstration: open https://localhost:8443
//   gateway --listen 0.0.0.0:443 --certificate cert.pem --key key.pem
//           --route /wss=http://127.0.0.1:8888 --route /=http://127.0.0.1:8080
//
//   curl -k https://localhost:8443/api/hello
//   curl -k https://localhost:8443/stream

#include "demonstration.hpp"
#include "settings.hpp"

#include <relais/relais.hpp>

#include <iostream>
#include <optional>

using namespace relais;

/// A stage: names the gateway in what it passes on.
static awaitable<> served_by(exchange& x, exchange::next next) {
    co_await next(x);
    x.response.set("X-Served-By", "relais");
}

static void say_what_to_try(std::string const& at) {
    std::cout << "Open https://" << at
              << "/ in two tabs (the certificate is made up: accept it), or try\n"
              << "    curl -k https://" << at << "/api/hello\n"
              << "    curl -k https://" << at << "/stream\n"
              << "    curl -k -d 'some text' https://" << at << "/api/upload\n"
              << "    curl http://" << at << "/\n"
              << "Ctrl-C ends it. Requests are logged here.\n"
              << std::flush;
}

int main(int count, char** arguments) {
    settings given;
    if (auto status = read_settings(count, arguments, given))
        return *status;

    std::optional<demonstration> demo;
    if (given.routes.empty()) {
        demo.emplace();
        given.routes = {{"/wss", demo->chat()}, {"/", demo->application()}};
    }
    routes table;
    for (auto const& r : given.routes)
        table.add(at(r.path) | proxy_to(r.upstream));

    auto certificate = given.certificate.empty()
                           ? tls_options::self_signed("localhost")
                           : tls_options{.certificate = given.certificate, .key = given.key};

    server srv({.workers = given.workers});
    srv.listen(given.listen, tls(certificate) | http() | access_log() |
                                 cors({.origins = {"https://localhost:8443"}}) | served_by | table);
    try {
        srv.start();
    } catch (startup_error const& error) {
        std::cerr << "gateway: " << error.what() << "\n";
        return 1;
    }
    auto where = srv.endpoints().front();
    if (demo)
        say_what_to_try("localhost:" + std::to_string(where.port()));
    else
        std::cout << "Listening on " << where.to_string() << std::endl;
    return srv.run();
}
