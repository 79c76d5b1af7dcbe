// A stage for connections: it runs once for each, before TLS and requests, and ends when the connection does. It may turn
// a client away at the price of an accept, and leave something for the requests to come.
//
//     curl -k https://127.0.0.1:8443/ https://127.0.0.1:8443/     # 200 "request 2 of connection 1"
//     curl -k https://127.0.0.1:8443/                             # 200 "request 1 of connection 2"
//     touch closed
//     curl -k https://127.0.0.1:8443/                             # refused
//     rm closed
//     curl -k https://127.0.0.1:8443/                             # 200 "request 1 of connection 3"

#include <relais/relais.hpp>

#include <atomic>
#include <filesystem>
#include <iostream>

using namespace relais;

static awaitable<> unless_closed(connection& c, connection::next next) {
    if (std::filesystem::exists("closed"))
        co_return;    // without next: it is closed
    co_await next(c); // until it ends
}

struct visit {
    int number;
    int requests = 0;
};

static awaitable<> counted(connection& c, connection::next next) {
    static std::atomic<int> last = 0;
    auto& mine = c.state.emplace<visit>(++last);
    co_await next(c);
    std::cout << std::to_string(mine.number) + ": " + std::to_string(mine.requests) +
                     " requests from " + std::string(c.client_address()) + ", " +
                     std::string(word_of(c.reason())) + "\n"
              << std::flush;
}

static awaitable<> hello(exchange& x) {
    auto& mine = x.connection().state.get<visit>();
    x.respond(200, "request " + std::to_string(++mine.requests) + " of connection " +
                       std::to_string(mine.number) + "\n");
    co_return;
}

int main() {
    server srv;
    srv.listen("127.0.0.1:8443", stage(unless_closed) | counted |
                                     tls(tls_options::self_signed("localhost")) | http() | hello);
    return srv.run();
}
