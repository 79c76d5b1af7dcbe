#include "catch.hpp"
#include "loopback.hpp"

#include <relais/testing/scripted_server.hpp>

#include <filesystem>

using namespace relais;
using namespace relais::testing;

namespace {

auto both_transports() {
    return GENERATE(transport::local, transport::tcp);
}

// A server and a client that is connected to it.
struct connected {
    explicit connected(transport over) : server(over), client(server.where()) {
        REQUIRE(client.connected());
        REQUIRE(eventually([this] { return (peer = server.accept()) != nullptr; }));
    }
    scripted_server server;
    loopback_client client;
    std::unique_ptr<scripted_server::peer> peer;
};

} // namespace

TEST_CASE("scripted server: says where it is, in the form that is asked for") {
    scripted_server local(transport::local), tcp(transport::tcp), another(transport::tcp);
    CHECK(local.where().starts_with("unix:/"));
    CHECK(local.url() == local.where());
    CHECK(tcp.where().starts_with("127.0.0.1:"));
    CHECK(tcp.url() == "http://" + tcp.where());
    CHECK(tcp.where() != another.where());
    CHECK(local.where() != scripted_server(transport::local).where());
}

TEST_CASE("scripted server: accepts who has come, in their order, and waits for nobody") {
    scripted_server server(both_transports());
    CHECK_FALSE(server.accept());
    loopback_client first(server.where()), second(server.where());
    first.send("first");
    second.send("second");
    for (auto name : {"first", "second"}) {
        std::unique_ptr<scripted_server::peer> peer;
        REQUIRE(eventually([&] { return (peer = server.accept()) != nullptr; }));
        CHECK(eventually([&] { return peer->received() == name; }));
    }
    CHECK_FALSE(server.accept());
}

TEST_CASE("scripted server: bytes go both ways") {
    connected c(both_transports());
    CHECK(c.peer->received().empty());
    c.client.send("one");
    CHECK(eventually([&] { return c.peer->received() == "one"; }));
    c.client.send("two");
    CHECK(eventually([&] { return c.peer->received() == "onetwo"; })); // nothing is lost by looking
    CHECK(c.peer->take() == "onetwo");
    CHECK(c.peer->take().empty());
    CHECK(c.peer->send("answer") == 6);
    CHECK(c.client.receive(6) == "answer");
}

TEST_CASE("scripted server: sends as much as there is room for, and says how much") {
    connected c(both_transports());
    std::string const much(64 << 20, 'x');
    auto const sent = c.peer->send(much);
    CHECK(sent > 0);
    CHECK(sent < much.size());
    CHECK(c.client.receive(sent).size() == sent);
    CHECK(eventually([&] { return c.peer->send("y") == 1; }));
    CHECK(c.client.receive(1) == "y");
}

TEST_CASE("scripted server: each side ends by itself") {
    connected c(both_transports());
    SECTION("the peer first") {
        c.peer->send("last");
        c.peer->shutdown_send();
        CHECK(c.client.rest() == "last");
        c.client.send("still here");
        CHECK(eventually([&] { return c.peer->received() == "still here"; }));
        CHECK_FALSE(c.peer->saw_end());
    }
    SECTION("the client first") {
        c.client.send("last");
        CHECK_FALSE(c.peer->saw_end());
        c.client.shutdown_send();
        CHECK(eventually([&] { return c.peer->saw_end(); }));
        CHECK_FALSE(c.peer->saw_reset());
        CHECK(c.peer->take() == "last");
        CHECK(c.peer->send("still here") == 10);
        CHECK(c.client.receive(10) == "still here");
    }
}

TEST_CASE("scripted server: a connection that is closed, and one that is gone") {
    connected c(both_transports());
    c.client.send("before");
    REQUIRE(eventually([&] { return c.peer->received() == "before"; }));
    c.peer->send("last");
    if (GENERATE(true, false))
        c.peer->close();
    else
        c.peer.reset();
    CHECK(c.client.rest() == "last");
    if (!c.peer)
        return;
    CHECK(c.peer->take() == "before");
    CHECK(c.peer->send("x") == 0);
}

TEST_CASE("scripted server: a reset is one over TCP") {
    auto const over = both_transports();
    connected c(over);
    SECTION("by the peer") {
        c.peer->reset();
        CHECK(c.client.rest() == (over == transport::tcp ? "(reset)" : ""));
    }
    SECTION("by the client") {
        c.client.reset();
        CHECK(eventually([&] { return c.peer->saw_end() || c.peer->saw_reset(); }));
        CHECK(c.peer->saw_reset() == (over == transport::tcp));
    }
}

TEST_CASE("scripted server: one that stopped listening refuses, and goes on with whom it has") {
    connected c(both_transports());
    c.server.stop_listening();
    CHECK_FALSE(loopback_client(c.server.where()).connected());
    CHECK_FALSE(c.server.accept());
    c.client.send("hello");
    CHECK(eventually([&] { return c.peer->received() == "hello"; }));
    c.server.stop_listening(); // again: nothing
}

TEST_CASE("scripted server: leaves no file behind") {
    std::filesystem::path path;
    {
        scripted_server server(transport::local);
        path = server.where().substr(5);
        CHECK(std::filesystem::is_socket(path));
    }
    CHECK_FALSE(std::filesystem::exists(path));
}
