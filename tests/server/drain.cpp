#include "catch.hpp"
#include "loopback.hpp"
#include "proxied.hpp"
#include "server/threads.hpp"

#include <relais/middleware/respond.hpp>
#include <relais/net/relay.hpp>
#include <relais/route/routes.hpp>
#include <relais/server/readiness.hpp>
#include <relais/server/server.hpp>

#include <algorithm>
#include <atomic>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;

namespace {

// A drain that does not end by itself.
server_options patient() {
    return {.workers = 2,
            .handle_signals = false,
            .drain_spread = 1h,
            .drain_timeout = 2h,
            .stop_timeout = 1h};
}

std::string const upgrade =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
std::string const switched =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

std::string head_of(std::string const& response) {
    return response.substr(0, response.find("\r\n\r\n"));
}

} // namespace

TEST_CASE("drain: readiness ends first, and what comes during the notice is served") {
    auto options = patient();
    options.drain_notice = 1h;
    server srv(options);
    CHECK_FALSE(srv.ready());
    srv.listen("127.0.0.1:0", http() | routes(at(exact("/ready")) | readiness(srv),
                                              at("/") | respond(200, "here\n")));
    srv.start();
    CHECK(srv.ready());
    auto const where = srv.endpoints()[0];
    auto ask = [&](std::string const& path) {
        loopback_client client(where);
        client.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n");
        return client.response();
    };
    CHECK(ask("/ready").starts_with("HTTP/1.1 200 "));
    srv.drain();
    CHECK_FALSE(srv.ready());
    auto const answer = ask("/ready");
    CHECK(answer.starts_with("HTTP/1.1 503 "));
    CHECK(content_of(answer) == "draining\n");
    CHECK(content_of(ask("/")) == "here\n");
    srv.stop(); // an hour of notice is cut short
    srv.start();
    CHECK(srv.ready());
}

TEST_CASE("drain: responses in progress go out whole, and say that they are the last") {
    held requests;
    server srv(patient());
    srv.listen("127.0.0.1:0", http() | requests);
    running run(srv);
    auto const where = srv.endpoints()[0];
    loopback_client client(where);
    client.send(get);
    REQUIRE(requests.has(1));
    srv.drain();
    CHECK(refuses(where));
    CHECK(srv.connections() == 1);
    CHECK_FALSE(run.returned());
    srv.drain(); // once more: nothing
    requests.let_go();
    auto const answer = client.response();
    CHECK(content_of(answer) == "at last\n");
    CHECK(head_of(answer).find("\r\nConnection: close") != std::string::npos);
    CHECK(client.rest().empty());
    CHECK(run.returns());
    CHECK(run.status() == 0);
    CHECK(srv.connections() == 0);
}

TEST_CASE("drain: who connected and has not asked yet is answered") {
    auto options = patient();
    options.waiter = GENERATE(waiter_kind::native, waiter_kind::portable);
    server srv(options);
    srv.listen("127.0.0.1:0", http() | respond(200, "here\n"));
    running run(srv);
    auto const where = srv.endpoints()[0];
    loopback_client client(where), silent(where), half(where);
    half.send("GET / HTTP/1.1\r\nHo");
    REQUIRE(eventually([&] { return srv.connections() == 3; }));
    srv.drain();
    CHECK(refuses(where));
    client.send(get);
    auto const answer = client.response();
    CHECK(content_of(answer) == "here\n");
    CHECK(head_of(answer).find("\r\nConnection: close") != std::string::npos);
    CHECK(client.rest().empty());
    half.send("st: a\r\n\r\n");
    CHECK(content_of(half.response()) == "here\n");
    CHECK(half.rest().empty());
    CHECK(silent.rest().empty()); // an orderly end, and before long
    CHECK(run.returns());
}

TEST_CASE("drain: an idle connection ends in order; a request that is there already is answered") {
    auto options = patient();
    options.workers = 1;
    options.waiter = GENERATE(waiter_kind::native, waiter_kind::portable);
    std::atomic<bool> entered{false}, go{false};
    auto const block = [&](exchange& x) -> awaitable<> {
        if (x.request.path() == "/block") { // the worker, and with it what comes meanwhile
            entered = true;
            go.wait(false);
        }
        x.respond(200, "here\n");
        co_return;
    };
    server srv(options);
    srv.listen("127.0.0.1:0", http() | block);
    running run(srv);
    auto const where = srv.endpoints()[0];
    loopback_client idle(where), asking(where), blocking(where);
    for (auto* client : {&idle, &asking}) {
        client->send(get);
        CHECK(content_of(client->response()) == "here\n");
    }
    blocking.send("GET /block HTTP/1.1\r\nHost: a\r\n\r\n");
    REQUIRE(eventually([&] { return entered.load(); }));
    asking.send(get);
    loopback_client queued(where); // nobody accepts it yet
    CHECK(queued.connected());
    queued.send(get);
    srv.drain();
    go = true;
    go.notify_all();
    for (auto* client : {&asking, &queued, &blocking}) {
        CHECK(content_of(client->response()) == "here\n");
        CHECK(client->rest().empty());
        client->close();
    }
    CHECK(idle.rest().empty());
    idle.close();
    CHECK(run.returns());
}

TEST_CASE("drain: tunnels are told one after another") {
    scripted_server upstream;
    auto options = patient();
    options.workers = 1;
    options.drain_spread = 600ms;
    server srv(options);
    srv.listen("127.0.0.1:0", http() | proxy_to(upstream.url()));
    running run(srv);
    struct pair {
        std::unique_ptr<loopback_client> client;
        proxied::peer peer;
    };
    std::vector<pair> tunnels;
    for (int i = 0; i < 6; ++i) {
        auto& t = tunnels.emplace_back();
        t.client = std::make_unique<loopback_client>(srv.endpoints()[0]);
        t.client->send(upgrade);
        REQUIRE(eventually([&] { return (t.peer = upstream.accept()) != nullptr; }));
        REQUIRE(eventually([&] { return t.peer->received().ends_with("\r\n\r\n"); }));
        t.peer->take();
        t.peer->send(switched);
        REQUIRE(t.client->receive_until("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    }
    CHECK(eventually([&] { return srv.tunnels() == 6; }));
    auto const began = std::chrono::steady_clock::now();
    srv.drain();
    // Six within 600 ms are about 100 ms apart.
    std::vector<std::chrono::steady_clock::duration> times(tunnels.size());
    std::size_t told = 0;
    REQUIRE(eventually([&] {
        for (std::size_t i = 0; i < tunnels.size(); ++i)
            if (times[i].count() == 0 && tunnels[i].peer->received().size() == 8) {
                times[i] = std::chrono::steady_clock::now() - began;
                ++told;
            }
        return told == tunnels.size();
    }));
    auto const [first, last] = std::minmax_element(times.begin(), times.end());
    CHECK(*last - *first > 150ms);
    CHECK(srv.tunnels() == 0);
    CHECK(srv.connections() == 6);
    for (auto& t : tunnels) {
        CHECK(t.client->receive(4) == "\x88\x02\x03\xe9");
        t.client->send({"\x88\x82\0\0\0\0\x03\xe9", 8});
        t.peer->send("\x88\x02\x03\xe9");
        CHECK(t.client->rest().empty());
    }
    CHECK(run.returns());
}

TEST_CASE("drain: plain bytes go on until the time is over") {
    scripted_server upstream;
    auto options = patient();
    options.drain_spread = 0ms;
    bool const ends = GENERATE(true, false);
    options.drain_timeout = ends ? 2h : 1ms;
    server srv(options);
    srv.listen("127.0.0.1:0", relay(upstream.url(), {.linger = 1ms}));
    running run(srv);
    auto const where = srv.endpoints()[0];
    loopback_client client(where);
    client.send("ping");
    proxied::peer peer;
    REQUIRE(eventually([&] { return (peer = upstream.accept()) != nullptr; }));
    REQUIRE(eventually([&] { return peer->received() == "ping"; }));
    srv.drain();
    CHECK(refuses(where));
    if (ends) {
        peer->take();
        client.send("still here");
        CHECK(eventually([&] { return peer->received() == "still here"; }));
        peer->send("I too");
        CHECK(client.receive(5) == "I too");
        CHECK_FALSE(run.returned());
        client.shutdown_send();
        peer->shutdown_send();
    }
    CHECK(run.returns());
    auto const rest = client.rest();
    CHECK((rest.empty() || rest == "(reset)"));
}

TEST_CASE("drain: stop() ends what drains at once") {
    held requests;
    server srv(patient());
    srv.listen("127.0.0.1:0", http() | requests);
    running run(srv);
    loopback_client client(srv.endpoints()[0]);
    client.send(get);
    REQUIRE(requests.has(1));
    srv.drain();
    REQUIRE(refuses(srv.endpoints()[0]));
    srv.stop();
    CHECK(run.returns());
    CHECK(run.status() == 0);
    CHECK(requests.left() == 1);
    srv.drain(); // what does not run cannot drain
    CHECK_FALSE(srv.ready());
}

TEST_CASE("drain: a stage may ask for it, and a client's end of it goes out") {
    server* of = nullptr;
    auto const quit = [&](exchange& x) -> awaitable<> {
        of->drain();
        x.respond(200, "good bye\n");
        co_return;
    };
    server srv(patient());
    of = &srv;
    srv.listen("127.0.0.1:0", http() | quit);
    running run(srv);
    loopback_client client(srv.endpoints()[0]);
    client.send(get);
    CHECK(content_of(client.response()) == "good bye\n");
    CHECK(client.rest().empty());
    client.close();
    CHECK(run.returns());
}
