#include "catch.hpp"
#include "proxied.hpp"

#include <relais/testing/manual_clock.hpp>
#include <relais/testing/memory_stream.hpp>
#include <relais/upstream/connector.hpp>
#include <relais/upstream/impl/waiting_line.hpp>
#include <relais/upstream/server.hpp>

#include <algorithm>
#include <cstdint>
#include <sys/socket.h>
#include <unistd.h>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;

namespace {

std::string refusal(std::string_view url) {
    try {
        (void)upstream_url::parse(url);
    } catch (startup_error const& e) {
        return e.what();
    }
    return "is one";
}

std::shared_ptr<upstream_server> a_server(std::string name = "http://127.0.0.1:1") {
    return std::make_shared<upstream_server>(std::move(name), server_health_options(),
                                             std::make_shared<detail::server_events>(10));
}

// Listens on 127.0.0.1, and tells where connections come from.
class loopback_listener {
public:
    loopback_listener() {
        socket_address const any(boost::asio::ip::make_address("127.0.0.1"), 0);
        REQUIRE(::bind(descriptor_, any.data(), any.size()) == 0);
        REQUIRE(::listen(descriptor_, 8) == 0);
    }
    loopback_listener(loopback_listener const&) = delete;
    ~loopback_listener() { ::close(descriptor_); }

    std::uint16_t port() const { return address_of(descriptor_, ::getsockname).port(); }
    std::string accepted_from() const {
        int const one = ::accept(descriptor_, nullptr, nullptr);
        auto const from = address_of(one, ::getpeername).ip().to_string();
        ::close(one);
        return from;
    }

private:
    template <class Get>
    static socket_address address_of(int descriptor, Get get) {
        sockaddr_storage storage{};
        socklen_t size = sizeof storage;
        REQUIRE(get(descriptor, reinterpret_cast<sockaddr*>(&storage), &size) == 0);
        return socket_address::from_kernel(reinterpret_cast<sockaddr const*>(&storage), size);
    }

    int descriptor_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
};

} // namespace

TEST_CASE("upstream URL: its parts") {
    struct row {
        char const *text, *where, *authority, *path;
        bool secure;
    };
    auto const r = GENERATE(values<row>({
        {"http://a.example", "a.example:80", "a.example", "", false},
        {"http://a.example:8080", "a.example:8080", "a.example:8080", "", false},
        {"a.example:8080", "a.example:8080", "a.example:8080", "", false},
        {"https://a.example", "a.example:443", "a.example", "", true},
        {"https://a.example:80/", "a.example:80", "a.example:80", "/", true},
        {"http://a.example/x/", "a.example:80", "a.example", "/x/", false},
        {"http://a.example/x/../y//z", "a.example:80", "a.example", "/y/z", false},
        {"http://[::1]", "[::1]:80", "[::1]", "", false},
        {"http://[::1]:81/x", "[::1]:81", "[::1]:81", "/x", false},
        {"unix:/run/a.sock", "unix:/run/a.sock", "localhost", "", false},
        {"http://unix:/run/a.sock:/x/", "unix:/run/a.sock", "localhost", "/x/", false},
        {"https://unix:/run/a.sock", "unix:/run/a.sock", "localhost", "", true},
    }));
    CAPTURE(r.text);
    auto const url = upstream_url::parse(r.text);
    CHECK(url.where.to_string() == r.where);
    CHECK(url.authority == r.authority);
    CHECK(url.path == r.path);
    CHECK(url.secure == r.secure);
}

TEST_CASE("upstream URL: what is wrong is one sentence that says what and how to write it") {
    auto const [text, what] = GENERATE(table<char const*, char const*>({
        {"", "the host is missing"},
        {"http://", "the host is missing"},
        {"http:///x", "the host is missing"},
        {"http://:80", "the host is missing"},
        {"ftp://a", "\"ftp\" is no scheme it can have (a WebSocket goes through http or https)"},
        {"ws://a", "\"ws\" is no scheme it can have (a WebSocket goes through http or https)"},
        {"http://a:", "the port has to be a number from 1 to 65535"},
        {"http://a:0", "the port has to be a number from 1 to 65535"},
        {"http://a:65536", "the port has to be a number from 1 to 65535"},
        {"http://a:+80", "the port has to be a number from 1 to 65535"},
        {"http://a:80x", "the port has to be a number from 1 to 65535"},
        {"http://::1", "an IPv6 address needs brackets"},
        {"http://[::1", "the bracket is not closed"},
        {"http://[::1]x", "the port has to stand right behind the bracket"},
        {"http://u:p@a", "names and passwords in front of the host are not supported"},
        {"http://a/x?y", "the part after the host is a path, without a query or a fragment"},
        {"http://a/x#y", "the part after the host is a path, without a query or a fragment"},
        {"http://a?y", "the part after the host is a path, without a query or a fragment"},
        {"http://a:80#y", "the part after the host is a path, without a query or a fragment"},
        {"unix:", "the path of the socket is missing"},
        {"http://unix::/x", "the path of the socket is missing"},
    }));
    CHECK(refusal(text) == "\"" + std::string(text) + "\" is not an upstream: " + what +
                               "; write http://host:port, http://host:port/prefix/, https://host "
                               "or unix:/path");
}

TEST_CASE("upstream URL: a prefix that is no path says why") {
    auto const text = GENERATE(values<std::string>(
        {"http://a/../x", "http://a/%zz", "http://a/%00", "http://unix:/s:x", "http://a/x\\y"}));
    auto const said = refusal(text);
    CHECK_THAT(said, Catch::Matchers::StartsWith("\"" + text +
                                                 "\" is not an upstream: its path is not one: "));
    CHECK(said.ends_with(
        "; write http://host:port, http://host:port/prefix/, https://host or unix:/path"));
}

TEST_CASE("upstream server: what is found out at the start") {
    auto const said = [](std::string_view url, proxy_options options = {}) -> std::string {
        try {
            proxy_to(url, std::move(options)).prepare();
        } catch (startup_error const& e) {
            return e.what();
        }
        return "prepared";
    };
    CHECK(said("http://127.0.0.1:1") == "prepared");
    CHECK_THAT(said("http://no-such-host.invalid:80"),
               Catch::Matchers::Contains("\"no-such-host.invalid\"") &&
                   Catch::Matchers::Contains("is not known"));
    // A certificate has to be for some name, and a path is none.
    CHECK(
        said("https://unix:/run/a.sock") ==
        "https to unix:/run/a.sock needs the name in the server's certificate: set .tls = {.name = "
        "\"...\"}");
    CHECK(said("https://unix:/run/a.sock", {.tls = {.name = "a.example"}}) == "prepared");
    CHECK(
        said("http://127.0.0.1:1", {.source_address = "here"}) ==
        "source_address \"here\" is no IP address: write one of this machine's, such as 10.0.0.1");
    CHECK(said("http://127.0.0.1:1", {.source_address = "192.0.2.1"}) ==
          "source_address \"192.0.2.1\" cannot be used: Cannot assign requested address; write one "
          "of "
          "this machine's (ip address)");
    CHECK(said("http://127.0.0.1:1", {.source_address = "127.0.0.2"}) == "prepared");
    CHECK(said("http://127.0.0.1:1", {.prefix = "/a/"}) ==
          "proxy_to(\"http://127.0.0.1:1\"): .prefix is for groups of servers: put the path into "
          "the URL");
}

TEST_CASE("upstream server: connections come from the address that is named") {
    auto const source = GENERATE(values<std::string>({"127.0.0.1", "127.0.0.2"}));
    loopback_listener const server;
    session client(http() | proxy_to("http://127.0.0.1:" + std::to_string(server.port()),
                                     {.source_address = source}));
    client.send(get);
    CHECK(server.accepted_from() == source);
    // It has no address of the server's family.
    auto const reasons = std::make_shared<std::vector<end_reason>>();
    session other(
        http() | proxied::noting{reasons} |
        proxy_to("http://127.0.0.1:" + std::to_string(server.port()), {.source_address = "::1"}));
    other.send(get);
    CHECK(other.received().starts_with("HTTP/1.1 502 "));
    CHECK(reasons->back() == end_reason::connect_failed);
}

TEST_CASE("upstream server: as many at once as it may have") {
    auto const server = a_server();
    for (int i = 0; i < 5; ++i)
        CHECK(server->try_enter()); // no limit
    CHECK(server->active() == 5);
    server->set_limit(6);
    CHECK(server->try_enter());
    CHECK_FALSE(server->try_enter());
    CHECK(server->active() == 6);
    server->set_limit(3); // those that are there stay
    server->leave();
    CHECK_FALSE(server->try_enter());
    for (int i = 0; i < 3; ++i)
        server->leave();
    CHECK(server->try_enter());
}

TEST_CASE("connector: each worker has a pool of its own, for each server") {
    auto const connections =
        std::make_shared<connector>(connector_options{5s, {.size = 8}, {}, {}});
    auto const one = a_server(), other = a_server("http://127.0.0.1:2");
    worker first, second({.index = 1});
    connection_pool* of_first = nullptr;
    auto ends = memory_stream::make();
    {
        worker::scoped_current on(first);
        of_first = &connections->pool(one);
        CHECK(&connections->pool(one) == of_first);
        CHECK(&connections->pool(other) != of_first);
        of_first->give(std::move(ends.first), {});
        CHECK(of_first->size() == 1);
        CHECK(connections->pool(other).size() == 0);
    }
    worker::scoped_current on(second);
    CHECK(&connections->pool(one) != of_first);
    CHECK_FALSE(connections->pool(one).take().connection);
}

TEST_CASE("connector: connections to a server that is gone are not those of one in its place") {
    auto const connections =
        std::make_shared<connector>(connector_options{5s, {.size = 8}, {}, {}});
    worker w;
    worker::scoped_current on(w);
    // Memory is given out again; with luck the second server gets the place of the first one.
    for (int i = 0; i < 10; ++i) {
        auto const server = a_server();
        auto& pool = connections->pool(server);
        CHECK(pool.size() == 0);
        pool.give(memory_stream::make().first, {});
    }
}

TEST_CASE("upstream server: one that does not speak TLS") {
    scripted_server upstream;
    auto const reasons = std::make_shared<std::vector<end_reason>>();
    proxy_options o;
    o.tls = {.name = "a.example", .handshake_timeout = 5s};
    session client(http() | proxied::noting{reasons} |
                   proxy_to("https://" + upstream.url(), std::move(o)));
    client.send(get);
    auto const peer = upstream.accept();
    REQUIRE(peer);
    CHECK(peer->take().starts_with("\x16\x03")); // a ClientHello, not the request
    char const* status = "HTTP/1.1 502 ";
    auto why = end_reason::upstream_tls_failed;
    SECTION("says something else") {
        peer->send("HTTP/1.1 400 Bad Request\r\n\r\n");
        client.run();
    }
    SECTION("closes") {
        peer->close();
        client.run();
    }
    SECTION("says nothing") {
        client.advance(4800ms);
        CHECK(client.received().empty());
        client.advance(400ms);
        status = "HTTP/1.1 504 ";
        why = end_reason::upstream_tls_timeout;
    }
    SECTION("and the client leaves") {
        client.reset();
        CHECK(client.ended());
        status = "";
        why = end_reason::client_left;
    }
    CHECK(client.received().starts_with(status));
    REQUIRE(reasons->size() == 1);
    CHECK(reasons->back() == why);
    CHECK((peer->saw_end() || peer->saw_reset() || why == end_reason::upstream_tls_failed));
}
