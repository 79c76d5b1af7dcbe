#include "catch.hpp"
#include "make_certificate.hpp"

#include <relais/http/http.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/testing/memory_stream.hpp>
#include <relais/tls/stream.hpp>
#include <relais/tls/tls.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <openssl/ssl.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace {

using namespace relais;
using namespace std::chrono_literals;
using relais::testing::memory_stream;

made::certificate const& certificate() {
    static made::certificate const one = made::sign({.common_name = "a", .names = "DNS:a.example"});
    return one;
}

tls_options options() {
    return {.certificate_pem = certificate().pem(), .key_pem = certificate().key_pem()};
}

struct standing_clock final : time_source {
    std::chrono::steady_clock::time_point steady() const override { return now; }
    bool flows() const noexcept override { return false; }
    std::chrono::steady_clock::time_point now{1h};
};

// What a listener does, on one connection whose other end the test holds.
struct fixture {
    standing_clock clock;
    worker w{{.time = &clock}};
    worker::scoped_current current{w};
    std::unique_ptr<memory_stream> peer;
    std::unique_ptr<connection> c;
    bool over = false;

    template <class Chain>
    void start(Chain const& chain) {
        auto [ours, theirs] = memory_stream::make();
        peer = std::move(theirs);
        c = std::make_unique<connection>(std::move(ours), socket_address(), socket_address());
        boost::asio::co_spawn(w.context(), run(chain), boost::asio::detached);
        w.poll();
    }
    template <class Chain>
    awaitable<> run(Chain const& chain) {
        co_await chain(*c);
        c->downstream().close();
        over = true;
    }
    void advance(std::chrono::milliseconds by) {
        clock.now += by;
        w.catch_up();
        w.poll();
    }
};

std::string read(stream& s) {
    std::string to(10000, '\0');
    auto const got = s.try_read(std::as_writable_bytes(std::span(to)));
    if (got.state == io_state::would_block)
        return "(would block)";
    if (got.state == io_state::end)
        return "(end)";
    if (got.state == io_state::error)
        return "(error)";
    to.resize(got.count);
    return to;
}

bool shake(fixture& f, tls_stream& client) {
    io_state state = io_state::would_block;
    for (int i = 0; i < 20 && state == io_state::would_block; ++i) {
        state = client.try_handshake();
        f.w.poll();
    }
    return state == io_state::ok;
}

awaitable<> greet(connection& c) {
    auto const* session = c.tls();
    std::string const text =
        session ? session->server_name + "," + session->protocol + "," + session->version : "plain";
    c.downstream().try_write(text);
    wait_result const why = co_await c.downstream().readable(0ms);
    (void)why;
}

} // namespace

TEST_CASE("tls() puts the plaintext in the place of the stream", "[tls]") {
    fixture f;
    auto const chain = tls(options()) | greet;
    chain.prepare();
    f.start(chain);
    tls_client_context const context({.ca_pem = certificate().pem()});
    tls_stream client(std::move(f.peer), context, "A.Example");
    REQUIRE(shake(f, client));
    CHECK(read(client).starts_with("a.example,"));
    CHECK(client.version() == "TLSv1.3");
    client.close();
    f.w.poll();
    CHECK(f.over);
    CHECK(f.c->reason() == end_reason::completed);
}

TEST_CASE("ALPN is for HTTP where requests follow", "[tls]") {
    auto const r = GENERATE(values<std::pair<bool, char const*>>(
        {{true, "http/1.1"}, {true, "h2"}, {false, "http/1.1"}, {false, "h2"}}));
    bool const http = r.first;
    fixture f;
    tls_stage stage(options());
    if (http)
        stage.prepare_before<http_stage>();
    else
        stage.prepare_before<decltype(&greet)>();
    auto const chain = relais::stage(stage) | greet;
    f.start(chain);
    tls_client_context const context({.ca_pem = certificate().pem(), .protocols = {r.second}});
    tls_stream client(std::move(f.peer), context, "a.example");
    bool const refused = http && std::string(r.second) == "h2";
    CHECK(shake(f, client) != refused);
    if (refused) {
        CHECK(client.failure() == tls_failure::no_common_protocol);
        CHECK(f.over);
        CHECK(f.c->reason() == end_reason::tls_handshake_failed);
    } else {
        CHECK(read(client) == (http ? "a.example,http/1.1,TLSv1.3" : "a.example,,TLSv1.3"));
    }
}

TEST_CASE("the handshake has a deadline that begins with accept", "[tls]") {
    fixture f;
    auto const chain = tls(options()) | greet;
    chain.prepare();
    f.start(chain);
    SECTION("no byte at all: closed silently") {
        f.advance(9900ms);
        CHECK_FALSE(f.over);
        f.advance(300ms);
        CHECK(f.over);
        CHECK(f.c->reason() == end_reason::client_idle);
        CHECK(f.peer->unread() == 0);
    }
    SECTION("a byte now and then does not prolong it") {
        tls_client_context const context({.ca_pem = certificate().pem()});
        auto [there, here] = memory_stream::make();
        tls_stream client(std::move(there), context, "a.example");
        client.try_handshake();
        std::string const hello = read(*here);
        REQUIRE(hello.size() > 100);
        std::size_t sent = 0;
        for (; sent < 60 && !f.over; ++sent) {
            f.peer->try_write(std::string_view(hello).substr(sent, 1));
            f.w.poll();
            f.advance(500ms);
        }
        CHECK(f.over);
        CHECK(sent >= 20);
        CHECK(sent <= 22);
        CHECK(f.c->reason() == end_reason::tls_handshake_timeout);
    }
    SECTION("what came before it is past does not count afterwards") {
        tls_client_context const context({.ca_pem = certificate().pem()});
        tls_stream client(std::move(f.peer), context, "a.example");
        f.advance(9000ms);
        REQUIRE(shake(f, client));
        f.advance(60000ms);
        CHECK_FALSE(f.over);
        CHECK(read(client).starts_with("a.example"));
    }
}

TEST_CASE("a client that leaves during the handshake ends it", "[tls]") {
    fixture f;
    auto const chain = tls(options()) | greet;
    chain.prepare();
    f.start(chain);
    SECTION("without a byte") {
        f.peer->close();
        f.w.poll();
        CHECK(f.over);
        CHECK(f.c->reason() == end_reason::client_idle);
    }
    SECTION("within it") {
        f.peer->try_write(std::string_view("\x16\x03\x01", 3));
        f.w.poll();
        f.peer->close();
        f.w.poll();
        CHECK(f.over);
        CHECK(f.c->reason() == end_reason::tls_handshake_failed);
    }
}

TEST_CASE("plain HTTP on a TLS port gets a 400 that says what to do", "[tls]") {
    fixture f;
    auto const chain = tls(options()) | greet;
    chain.prepare();
    f.start(chain);
    f.peer->try_write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    f.w.poll();
    std::string const answer = read(*f.peer);
    CHECK(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    auto const body = answer.find("\r\n\r\n") + 4;
    CHECK(answer.find("https://", body) != std::string::npos);
    CHECK(answer.find("Content-Length: " + std::to_string(answer.size() - body) + "\r\n") !=
          std::string::npos);
    CHECK(f.c->reason() == end_reason::plain_on_tls);
    CHECK(read(*f.peer) == "(end)");
    CHECK_FALSE(f.over); // what still comes is read, so that the answer is not lost

    SECTION("until the client ends") {
        f.peer->try_write("more");
        f.w.poll();
        CHECK_FALSE(f.over);
        f.peer->close();
        f.w.poll();
        CHECK(f.over);
    }
    SECTION("for a second at most") {
        f.advance(1200ms);
        CHECK(f.over);
    }
    SECTION("64 KiB at most") {
        for (int i = 0; i < 10 && !f.over; ++i) {
            f.peer->try_write(std::string(16 * 1024, 'x'));
            f.w.poll();
        }
        CHECK(f.over);
    }
}

TEST_CASE("certificates are loaded when a chain is prepared, and not before", "[tls]") {
    auto const chain = tls({.certificate = "/no/such/file.pem", .key = "/no/such/key.pem"}) | greet;
    CHECK_THROWS_AS(chain.prepare(), startup_error);
}

TEST_CASE("the last response on a connection is followed by the end that TLS knows", "[tls]") {
    fixture f;
    auto const chain = tls(options()) | http() | respond(200, "whole");
    chain.prepare();
    auto [ours, theirs] = memory_stream::make();
    f.c = std::make_unique<connection>(std::move(ours), socket_address(), socket_address());
    boost::asio::co_spawn(f.w.context(), chain(*f.c), [&](std::exception_ptr) {
        f.c.reset(); // as a listener does: it is not closed, it is destroyed
    });
    f.w.poll();
    tls_client_context const context({.ca_pem = certificate().pem()});
    tls_stream client(std::move(theirs), context, "a.example");
    REQUIRE(shake(f, client));
    client.try_write("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    f.w.poll();
    CHECK_FALSE(f.c);
    CHECK(read(client).ends_with("\r\n\r\nwhole"));
    CHECK(read(client) == "(end)"); // an attacker cannot have cut it off
}

namespace {

// What the next handshake shows, as the name in it; empty where there is none.
template <class Chain>
std::string subject_shown(fixture& f, Chain const& chain) {
    f.start(chain);
    tls_client_context const context({.verify = false});
    tls_stream client(std::move(f.peer), context, "a.example");
    if (!shake(f, client))
        return {};
    std::shared_ptr<X509> const shown(SSL_get1_peer_certificate(client.native()), &X509_free);
    char name[64] = {};
    X509_NAME_get_text_by_NID(X509_get_subject_name(shown.get()), NID_commonName, name,
                              sizeof name);
    client.close();
    f.w.poll();
    return name;
}

awaitable<> tell_client(connection& c) {
    auto const& client = c.tls()->client;
    std::string text = "nobody";
    if (client) {
        text = client->subject + " by " + client->issuer;
        for (auto const& name : client->names)
            text += " " + name;
    }
    c.downstream().try_write(text);
    wait_result const why = co_await c.downstream().readable(0ms);
    (void)why;
}

} // namespace

TEST_CASE("certificates that are loaded again are for new handshakes; broken ones change nothing",
          "[tls]") {
    char place[] = "/tmp/relais-tls-XXXXXX";
    REQUIRE(::mkdtemp(place));
    std::string const file = std::string(place) + "/both.pem";
    auto const install = [&](std::string const& text) { std::ofstream(file) << text; };
    auto const old = made::sign({.common_name = "old"});
    auto const fresh = made::sign({.common_name = "fresh"});
    auto const other = made::sign({.common_name = "other"});

    install(old.pem() + old.key_pem());
    auto const stage = tls({.certificate = file});
    CHECK_NOTHROW(stage.reload()); // before the start there is nothing to do
    auto const chain = stage | greet;
    chain.prepare();
    fixture f;
    CHECK(subject_shown(f, chain) == "old");

    install(fresh.pem() + fresh.key_pem());
    CHECK(subject_shown(f, chain) == "old");
    CHECK(chain.reload().empty());
    CHECK(subject_shown(f, chain) == "fresh");

    for (auto const& broken :
         {other.pem() + fresh.key_pem(), other.pem(), other.key_pem(), std::string("rubbish")}) {
        install(broken);
        auto const why = chain.reload();
        REQUIRE(why.size() == 1);
        CHECK(why[0].find(file) != std::string::npos);
        CHECK(subject_shown(f, chain) == "fresh");
    }
    std::filesystem::remove_all(place);
    CHECK(chain.reload().size() == 1);
    CHECK(subject_shown(f, chain) == "fresh");
}

TEST_CASE("a handshake that began before a reload ends as it began", "[tls]") {
    char place[] = "/tmp/relais-tls-XXXXXX";
    REQUIRE(::mkdtemp(place));
    std::string const file = std::string(place) + "/both.pem";
    auto const install = [&](made::certificate const& c) {
        std::ofstream(file) << c.pem() + c.key_pem();
    };
    auto const old = made::sign({.common_name = "old", .names = "DNS:a.example"});
    install(old);
    auto const chain = tls({.certificate = file}) | greet;
    chain.prepare();
    fixture f;
    f.start(chain);
    install(made::sign({.common_name = "fresh"}));
    REQUIRE(chain.reload().empty());
    tls_client_context const context({.ca_pem = old.pem()});
    tls_stream client(std::move(f.peer), context, "a.example");
    REQUIRE(shake(f, client)); // it trusts the old one alone
    CHECK(read(client).starts_with("a.example,"));
    client.close();
    f.w.poll();
    std::filesystem::remove_all(place);
}

TEST_CASE("stages see the certificate that a client has shown", "[tls]") {
    auto const authority = made::sign({.common_name = "authority", .authority = true});
    auto const alice = made::sign(
        {.common_name = "alice", .names = "DNS:alice.example,email:a@b.example"}, &authority);
    auto given = options();
    given.clients = client_certificates::optional;
    given.client_ca_pem = authority.pem();
    auto const chain = tls(given) | tell_client;
    chain.prepare();
    bool const shows = GENERATE(true, false);
    fixture f;
    f.start(chain);
    tls_client_context const context({.ca_pem = certificate().pem()});
    tls_stream client(std::move(f.peer), context, "a.example");
    if (shows) {
        REQUIRE(SSL_use_certificate(client.native(), alice.x509.get()) == 1);
        REQUIRE(SSL_use_PrivateKey(client.native(), alice.key.get()) == 1);
    }
    REQUIRE(shake(f, client));
    CHECK(read(client) ==
          (shows ? "CN=alice by CN=authority DNS:alice.example email:a@b.example" : "nobody"));
    client.close();
    f.w.poll();
}
