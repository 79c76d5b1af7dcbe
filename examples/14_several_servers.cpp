// Three servers that do the same: requests are shared by load, each server is asked how it is, one that fails is left out and
// what it was asked goes to another one. `app.replace({...})` changes the servers while the program runs.
//
//     curl http://127.0.0.1:8080/               # 200 "hello from 900"
//     curl -i http://127.0.0.1:8080/busy        # 200 "X-Tries: 3" "hello from 9003": two said 503, then the backup
//     curl -X POST http://127.0.0.1:8080/busy   # 503: a POST might do something twice
//     curl http://127.0.0.1:8080/servers        # 200 "127.0.0.1:9001 healthy" "127.0.0.1:9003 healthy"

#include <relais/relais.hpp>

using namespace relais;

// Who asks learns how many servers were tried.
static awaitable<> count_tries(exchange& x, exchange::next next) {
    co_await next(x);
    x.response.set("X-Tries", std::to_string(x.upstream.tries));
}

int main() {
    auto app = upstream({{"127.0.0.1:9001", {.weight = 2}},
                         {"127.0.0.1:9002", {.max_exchanges = 100}},
                         {"127.0.0.1:9003", {.backup = true}}},
                        {.balance = least_connections(),
                         .check = {{.path = "/health"}},
                         .retry = {.tries = 3, .statuses = {502, 503}}});
    auto tell_servers = [app](exchange& x) -> awaitable<> {
        std::string text;
        for (auto const& one : app.servers())
            text += one->name() +
                    (one->health().state() == health_state::healthy ? " healthy\n" : " left out\n");
        x.respond(200, text);
        co_return;
    };

    server srv;
    srv.listen("127.0.0.1:8080",
               http() | access_log() |
                   routes(at("/servers") | tell_servers, at("/") | count_tries | proxy_to(app)));
    // The servers, so that there are some.
    srv.listen("127.0.0.1:9001", http() | routes(at("/busy") | respond(503),
                                                 at("/") | respond(200, "hello from 9001\n")));
    srv.listen("127.0.0.1:9002", http() | routes(at("/busy") | respond(503),
                                                 at("/") | respond(200, "hello from 9002\n")));
    srv.listen("127.0.0.1:9003", http() | respond(200, "hello from 9003\n"));
    return srv.run();
}
