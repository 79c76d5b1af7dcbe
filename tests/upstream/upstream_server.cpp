#include "catch.hpp"
#include "proxied.hpp"

#include <relais/testing/manual_clock.hpp>
#include <relais/testing/memory_stream.hpp>
#include <relais/upstream/server.hpp>

#include <algorithm>

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

std::shared_ptr<upstream_server> a_server(std::string_view url = "http://127.0.0.1:1",
                                          tls_client_options tls = {}) {
    return std::make_shared<upstream_server>(upstream_url::parse(url),
                                             upstream_options{5s, 8, 60s, std::move(tls)});
}

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
    auto const said = [](upstream_server& server) -> std::string {
        try {
            server.prepare();
        } catch (startup_error const& e) {
            return e.what();
        }
        return "prepared";
    };
    CHECK(said(*a_server()) == "prepared");
    CHECK_THAT(said(*a_server("http://no-such-host.invalid:80")),
               Catch::Matchers::Contains("\"no-such-host.invalid\"") &&
                   Catch::Matchers::Contains("is not known"));
    // A certificate has to be for some name, and a path is none.
    CHECK(
        said(*a_server("https://unix:/run/a.sock")) ==
        "https to unix:/run/a.sock needs the name in the server's certificate: set .tls = {.name = "
        "\"...\"}");
    CHECK(said(*a_server("https://unix:/run/a.sock", {.name = "a.example"})) == "prepared");
}

TEST_CASE("upstream server: each worker has a pool of its own, for each server") {
    auto const one = a_server(), other = a_server();
    worker first, second({.index = 1});
    connection_pool* of_first = nullptr;
    auto ends = memory_stream::make();
    {
        worker::scoped_current on(first);
        of_first = &one->pool();
        CHECK(&one->pool() == of_first);
        CHECK(&other->pool() != of_first);
        of_first->give(std::move(ends.first));
        CHECK(of_first->size() == 1);
        CHECK(other->pool().size() == 0);
    }
    worker::scoped_current on(second);
    CHECK(&one->pool() != of_first);
    CHECK_FALSE(one->pool().take());
}

TEST_CASE("upstream server: its pool has the size and the time that it was given") {
    manual_clock clock;
    worker w({.time = &clock});
    worker::scoped_current on(w);
    auto const server = std::make_shared<upstream_server>(upstream_url::parse("http://127.0.0.1:1"),
                                                          upstream_options{5s, 2, 7s, {}});
    memory_stream::ends ends[3] = {memory_stream::make(), memory_stream::make(),
                                   memory_stream::make()};
    for (auto& one : ends)
        server->pool().give(std::move(one.first));
    CHECK(server->pool().size() == 2);
    clock.advance(w, 6800ms);
    CHECK(server->pool().size() == 2);
    clock.advance(w, 1400ms);
    CHECK(server->pool().size() == 0);
}

TEST_CASE("upstream server: lives as long as a worker holds connections to it") {
    // Its address is what names the pool: no other server may get it meanwhile.
    std::weak_ptr<upstream_server> seen;
    {
        worker w;
        worker::scoped_current on(w);
        auto server = a_server();
        seen = server;
        server->pool();
        server.reset();
        CHECK_FALSE(seen.expired());
    }
    CHECK(seen.expired());
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
