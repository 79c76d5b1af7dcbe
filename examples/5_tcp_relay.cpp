// A TCP proxy: whatever bytes come go to a service and back, for some clients only, and not for too many at once. With
// tls() in front the same service is reached over TLS, although it knows none.
//
//     curl http://127.0.0.1:9001/                               # 200 "hello from the service"
//     curl -k https://127.0.0.1:9002/                           # 200 "hello from the service"
//     curl --interface 127.0.0.2 http://127.0.0.1:9001/         # refused: allow() lets 127.0.0.1 in
//     curl -Z --parallel-immediate 127.0.0.1:9001/slow 127.0.0.1:9001/slow 127.0.0.1:9001/slow
//         # refused: two of an address, not three

#include <relais/relais.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

using namespace relais;

static awaitable<> slow(exchange& x) {
    auto executor = co_await boost::asio::this_coro::executor;
    boost::asio::steady_timer timer(executor, std::chrono::seconds(1));
    co_await timer.async_wait(boost::asio::use_awaitable);
    x.respond(200, "at last\n");
}

int main() {
    server srv;
    auto service = relay("127.0.0.1:9000", {.tunnel_timeout = std::chrono::minutes(2)});
    srv.listen("127.0.0.1:9001", allow({"127.0.0.1", "::1"}) |
                                     max_connections({.total = 1'000, .per_address = 2}) | service);
    srv.listen("127.0.0.1:9002", tls(tls_options::self_signed("localhost")) | service);

    // The service, so that there is one.
    srv.listen("127.0.0.1:9000",
               http() | routes(at(exact("/slow")) | slow,
                               at("/") | respond(200, "hello from the service\n")));
    return srv.run();
}
