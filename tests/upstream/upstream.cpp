#include "catch.hpp"
#include "proxied.hpp"

#include <relais/upstream/upstream.hpp>

#include <boost/asio/post.hpp>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

std::string answer(std::string_view text, std::string_view more = {}) {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(text.size()) + "\r\n" +
           std::string(more) + "\r\n" + std::string(text);
}

// What the stages in front saw of the last exchange.
struct noted {
    upstream_facts facts;
    std::string server;
    end_reason reason = end_reason::worker_error;
};

// Clients, a group, and its servers whose parts the test plays.
struct grouped {
    explicit grouped(std::size_t count, upstream_options options = {.balance = round_robin()},
                     proxy_options towards = {})
        : servers(count), app(names(), std::move(options)),
          chain(http() | note{last} | proxy_to(app, std::move(towards))) {}

    server_list names() const {
        server_list all;
        for (auto const& s : servers)
            all.emplace_back(s.url());
        return all;
    }
    session& client() {
        clients.push_back(std::make_unique<session>(chain));
        return *clients.back();
    }
    // Which server got the connection that a request led to; -1: none.
    int asked() {
        for (std::size_t i = 0; i < servers.size(); ++i)
            if (auto came = servers[i].accept()) {
                peer = std::move(came);
                return static_cast<int>(i);
            }
        return -1;
    }

    struct note {
        std::shared_ptr<noted> into;
        awaitable<> operator()(exchange& x, exchange::next next) const {
            x.on_complete([to = into](exchange& ended) {
                *to = {ended.upstream, std::string(ended.upstream.server), ended.reason()};
            });
            return next(x);
        }
    };

    std::vector<scripted_server> servers;
    std::shared_ptr<noted> last = std::make_shared<noted>();
    upstream app;
    any_chain<connection> chain;
    std::vector<std::unique_ptr<session>> clients;
    proxied::peer peer;
};

std::string refusal(upstream const& app) {
    try {
        proxy_to(app).prepare();
    } catch (startup_error const& e) {
        return e.what();
    }
    return "prepared";
}

} // namespace

TEST_CASE("upstream: servers are named in every way that one would write them") {
    std::string const text = "10.0.0.4:80";
    std::string_view const view = text;
    std::vector<std::string> const strings{"10.0.0.1:1", "10.0.0.2:1"};
    std::vector<std::string_view> const views{"10.0.0.1:1"};
    std::array<char const*, 2> const literals{"10.0.0.1:1", "10.0.0.2:1"};
    auto const count = [](upstream const& u) {
        u.prepare();
        return u.servers().size();
    };
    CHECK(count(upstream({"10.0.0.1:1"})) == 1);
    CHECK(count(upstream({"10.0.0.1:1", "10.0.0.2:1"})) ==
          2); // two literals are no pair of iterators
    CHECK(count(upstream({"10.0.0.1:1",
                          {"10.0.0.2:1", {.weight = 3}},
                          {"10.0.0.3:1", {.backup = true}},
                          text})) == 4);
    CHECK(count(upstream({view, "10.0.0.5:80"s})) == 2);
    CHECK(count(upstream(strings)) == 2);
    CHECK(count(upstream(views)) == 1);
    CHECK(count(upstream(literals)) == 2);
    CHECK(count(upstream(server_list{{"10.0.0.1:1", {.weight = 2}}})) == 1);

    auto const app = upstream({"10.0.0.1:1", "10.0.0.2:1"});
    auto const copy = app;
    app.prepare();
    CHECK(copy.find("10.0.0.2:1") == app.servers()[1]);
    CHECK_FALSE(app.find("10.0.0.3:1"));
}

TEST_CASE("upstream: what is wrong with its servers is said at the start") {
    CHECK(refusal(upstream({"10.0.0.1:1", "10.0.0.1:1"})) ==
          "upstream: \"10.0.0.1:1\" stands there twice: give it the sum of the weights once");
    CHECK(refusal(upstream({"http://10.0.0.1:1/app/"})) ==
          "upstream: \"http://10.0.0.1:1/app/\" has a path, and a server of a group is only where "
          "it is: set .prefix of proxy_to()");
    CHECK(refusal(upstream(server_list())) ==
          "upstream({}) has no server: name one, such as \"10.0.0.1:8080\"");
    CHECK_THAT(refusal(upstream({"10.0.0.1:1", "ftp://a"})), Catch::Matchers::Contains("\"ftp\""));
    CHECK_THAT(refusal(upstream({"no-such-host.invalid:1"})),
               Catch::Matchers::Contains("no-such-host.invalid"));
    CHECK(refusal(upstream({"10.0.0.1:1"}, {.panic_threshold = 50})) ==
          "upstream: panic_threshold is a share of the servers, from 0 to 1");
    CHECK(refusal(upstream({"10.0.0.1:1"}, {.queue_timeout = 0ms})) ==
          "upstream: queue_timeout has to be longer than 0");
    CHECK(refusal(upstream({"10.0.0.1:1"})) == "prepared");
}

TEST_CASE("upstream: requests go to all servers, over connections that are kept, and stages see to "
          "which") {
    grouped g(3);
    auto& c = g.client();
    std::vector<proxied::peer> peers;
    for (std::size_t i = 0; i < 9; ++i) {
        auto const& server = g.servers[i % 3];
        c.send(get);
        if (i < 3) {
            REQUIRE(g.asked() == static_cast<int>(i));
            peers.push_back(std::move(g.peer));
        }
        CHECK(g.asked() == -1);
        auto const& peer = peers[i % 3];
        CHECK(peer->take().starts_with("GET / "));
        CHECK(g.app.find(server.url())->active() == 1);
        auto const text = "from " + std::to_string(i);
        peer->send(answer(text));
        c.run();
        CHECK(c.take_received().ends_with(text));
        CHECK(g.last->server == server.url());
        CHECK(g.last->facts.tries == 1);
        CHECK(g.app.find(server.url())->active() == 0);
    }
}

TEST_CASE("upstream: a server that cannot be reached is passed over, whatever the method") {
    grouped g(3);
    g.servers[0].stop_listening();
    auto& c = g.client();
    c.send(post("content"));
    CHECK(g.asked() == 1);
    CHECK(g.peer->take().ends_with("content"));
    g.peer->send(answer("b"));
    c.run();
    CHECK(c.received().ends_with("b"));
    CHECK(g.last->facts.tries == 2);
    CHECK(g.last->server == g.servers[1].url());
    CHECK(g.last->reason == end_reason::completed);
}

TEST_CASE("upstream: how long its parts took") {
    grouped g(2);
    auto& c = g.client();
    c.send(get);
    REQUIRE(g.asked() == 0);
    c.advance(2s);
    g.peer->close();
    c.run();
    REQUIRE(g.asked() == 1);
    c.advance(3s);
    g.peer->send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
    c.run();
    c.advance(4s);
    g.peer->send("b");
    c.run();
    CHECK(g.last->facts.first_byte == 3s);
    CHECK(g.last->facts.total == 9s);
    CHECK(g.last->facts.connect == 0s); // by this clock, which stood still
}

TEST_CASE("upstream: after so many servers it is enough, and the last failure is told") {
    auto const tries = GENERATE(1u, 2u, 3u);
    grouped g(4, {.balance = round_robin(), .retry = {.tries = tries}});
    for (auto& s : g.servers)
        s.stop_listening();
    auto& c = g.client();
    c.send(get);
    CHECK(c.received().starts_with("HTTP/1.1 502 "));
    CHECK(g.last->facts.tries == tries);
    CHECK(g.last->reason == end_reason::connect_refused);
}

TEST_CASE("upstream: a request that a server may have seen goes to another one only if that does "
          "no harm") {
    struct row {
        std::string request;
        bool again;
    };
    auto const r = GENERATE(
        values<row>({{get, true},
                     {post("content"), false},
                     {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", true}}));
    grouped g(2);
    auto& c = g.client();
    c.send(r.request);
    REQUIRE(g.asked() == 0);
    g.peer->close();
    c.run();
    CHECK((g.asked() == 1) == r.again);
    if (r.again) {
        CHECK(g.peer->take().ends_with(r.request.substr(r.request.find("\r\n\r\n"))));
        g.peer->send(answer("b"));
        c.run();
        CHECK(c.received().ends_with("b"));
    } else {
        CHECK(c.received().starts_with("HTTP/1.1 502 "));
    }
}

TEST_CASE("upstream: no second try once a byte of the answer has come") {
    grouped g(2);
    auto& c = g.client();
    c.send(get);
    REQUIRE(g.asked() == 0);
    g.peer->send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal");
    c.run();
    g.peer->close();
    c.run();
    CHECK(g.asked() == -1);
    CHECK(c.saw_reset());
    CHECK(g.last->reason == end_reason::response_incomplete);
}

TEST_CASE("upstream: statuses that are named are tried again, and passed on when nobody is left") {
    grouped g(2, {.balance = round_robin(), .retry = {.statuses = {503}}});
    auto& c = g.client();
    c.send(get);
    REQUIRE(g.asked() == 0);
    g.peer->send("HTTP/1.1 503 Busy\r\nContent-Length: 1\r\n\r\na");
    c.run();
    REQUIRE(g.asked() == 1);
    CHECK(c.received().empty());
    g.peer->send("HTTP/1.1 503 Busy\r\nContent-Length: 1\r\n\r\nb");
    c.run();
    CHECK(c.received().starts_with("HTTP/1.1 503 "));
    CHECK(c.received().ends_with("\r\n\r\nb"));
    CHECK(g.last->facts.tries == 2);
}

TEST_CASE("upstream: backups serve when nobody else can; weight 0 takes nothing new") {
    grouped g(3);
    g.app.replace({{g.servers[0].url(), {.weight = 0}},
                   {g.servers[1].url(), {}},
                   {g.servers[2].url(), {.backup = true}}});
    for (int i = 0; i < 3; ++i) {
        g.client().send(get);
        CHECK(g.asked() == 1);
    }
    g.servers[1].stop_listening();
    g.client().send(get);
    CHECK(g.asked() == 2);
}

TEST_CASE("upstream: servers change while exchanges are under way") {
    grouped g(2);
    auto& old = g.client();
    old.send(get);
    REQUIRE(g.asked() == 0);
    auto const peer = std::move(g.peer);
    auto const first = g.app.find(g.servers[0].url());
    g.app.replace({g.servers[1].url()});
    CHECK(g.app.servers().size() == 1);
    CHECK(first->active() == 1);
    for (int i = 0; i < 2; ++i) {
        g.client().send(get);
        CHECK(g.asked() == 1);
    }
    peer->send(answer("still here"));
    old.run();
    CHECK(old.received().ends_with("still here"));
    CHECK(first->active() == 0);

    // One that comes back is a new one; one that stays is the same.
    auto const second = g.app.find(g.servers[1].url());
    g.app.replace({g.servers[0].url(), g.servers[1].url()});
    CHECK(g.app.find(g.servers[1].url()) == second);
    CHECK(g.app.find(g.servers[0].url()) != first);
    CHECK_THROWS_AS(g.app.replace({"ftp://a"}), startup_error);
    CHECK(g.app.servers().size() == 2);
}

TEST_CASE("upstream: all full: requests wait in line, in order, for as long as they may") {
    grouped g(1, {.queue = 2, .queue_timeout = 5s});
    g.app.replace({{g.servers[0].url(), {.max_exchanges = 1}}});
    auto& first = g.client();
    first.send(get);
    REQUIRE(g.asked() == 0);
    auto peer = std::move(g.peer);
    auto& second = g.client();
    auto& third = g.client();
    second.send(get);
    third.send(get);
    CHECK(g.app.waiting() == 2);
    auto& fourth = g.client();
    fourth.send(get);
    CHECK(fourth.received().starts_with("HTTP/1.1 503 "));
    CHECK(fourth.received().find("Retry-After: 1\r\n") != std::string::npos);
    CHECK(g.last->reason == end_reason::overloaded);
    CHECK(g.asked() == -1);
    SECTION("there is room again") {
        peer->send(answer("first", "Connection: close\r\n"));
        first.run();
        third.run();
        CHECK(g.asked() == -1);
        second.run();
        REQUIRE(g.asked() == 0);
        CHECK(g.app.waiting() == 1);
        g.peer->send(answer("second", "Connection: close\r\n"));
        second.run();
        CHECK(second.received().ends_with("second"));
        third.run();
        REQUIRE(g.asked() == 0);
        CHECK(g.app.waiting() == 0);
    }
    SECTION("it takes too long") {
        second.advance(4900ms);
        CHECK(second.received().empty());
        second.advance(200ms);
        CHECK(second.received().starts_with("HTTP/1.1 503 "));
        CHECK(g.app.waiting() == 1);
    }
    SECTION("one leaves the line") {
        second.reset();
        second.run();
        CHECK(second.ended());
        CHECK(g.app.waiting() == 1);
        peer->send(answer("first", "Connection: close\r\n"));
        first.run();
        third.run();
        CHECK(g.asked() == 0);
    }
    SECTION("the one that was called leaves before it hears of it") {
        peer->send(answer("first", "Connection: close\r\n"));
        first.run();
        CHECK(g.app.waiting() == 1); // the second was called
        g.clients[1].reset();        // and is gone, with its worker
        third.run();
        CHECK(g.asked() == 0);
    }
    SECTION("more servers come") {
        g.app.replace({{g.servers[0].url(), {.max_exchanges = 3}}});
        second.run();
        third.run();
        CHECK(g.asked() == 0);
        CHECK(g.asked() == 0);
        CHECK(g.app.waiting() == 0);
    }
}

TEST_CASE("upstream: a tunnel is under way until it closes") {
    grouped g(1);
    auto& c = g.client();
    c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    REQUIRE(g.asked() == 0);
    g.peer->send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    c.run();
    REQUIRE(c.received().starts_with("HTTP/1.1 101 "));
    auto const server = g.app.servers()[0];
    c.advance(30s);
    CHECK(server->active() == 1);
    g.peer->close();
    c.run();
    c.reset();
    c.run();
    CHECK(server->active() == 0);
    CHECK(g.last->server == server->name());
}

TEST_CASE("upstream: a function of the user's own chooses") {
    auto chosen = std::make_shared<std::string>();
    grouped g(
        3, {.choose = [chosen](exchange& x,
                               upstream const& app) -> awaitable<std::shared_ptr<upstream_server>> {
            co_await boost::asio::post(worker::current().context(), boost::asio::deferred);
            *chosen = std::string(x.request["X-Server"]);
            co_return app.find(*chosen);
        }});
    auto& c = g.client();
    c.send("GET / HTTP/1.1\r\nHost: a\r\nX-Server: " + g.servers[2].url() + "\r\n\r\n");
    CHECK(g.asked() == 2);
    CHECK(*chosen == g.servers[2].url());
    auto& nobody = g.client();
    nobody.send("GET / HTTP/1.1\r\nHost: a\r\nX-Server: none\r\n\r\n");
    CHECK(nobody.received().starts_with("HTTP/1.1 503 "));
    CHECK(g.last->reason == end_reason::no_upstream);
}

TEST_CASE("upstream: the time for everything counts over all tries, to the last byte") {
    grouped g(2, {.balance = round_robin()}, {.total_timeout = 10s});
    auto& c = g.client();
    c.send(get);
    REQUIRE(g.asked() == 0);
    c.advance(6s);
    g.peer->close();
    c.run();
    REQUIRE(g.asked() == 1);
    SECTION("before there is an answer") {
        c.advance(3800ms);
        CHECK(c.received().empty());
        c.advance(400ms);
        CHECK(c.received().starts_with("HTTP/1.1 504 "));
    }
    SECTION("within it") {
        g.peer->send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1");
        c.run();
        c.advance(3s);
        g.peer->send("2");
        c.run();
        CHECK(c.received().ends_with("12"));
        CHECK_FALSE(c.saw_reset());
        c.advance(1400ms);
        CHECK(c.saw_reset());
    }
    CHECK(g.last->reason == end_reason::total_timeout);
}

TEST_CASE("upstream: a prefix takes the place of the route's") {
    grouped g(1, {}, {.prefix = "/app/"});
    g.client().send("GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n");
    REQUIRE(g.asked() == 0);
    CHECK(g.peer->take().starts_with("GET /app/x?y HTTP/1.1\r\n"));
}
