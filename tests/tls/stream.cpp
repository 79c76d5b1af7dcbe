#include "catch.hpp"
#include "make_certificate.hpp"

#include <relais/core/worker.hpp>
#include <relais/testing/manual_clock.hpp>
#include <relais/testing/memory_stream.hpp>
#include <relais/tls/stream.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

namespace {

using namespace relais;
using relais::testing::memory_options;
using relais::testing::memory_stream;

made::family const& certificates() {
    static made::family const all;
    return all;
}

tls_options server_options() {
    auto const& f = certificates();
    return {.certificate_pem = f.leaf.pem() + f.intermediate.pem(), .key_pem = f.leaf.key_pem()};
}

tls_client_options client_options() {
    return {.ca_pem = certificates().root.pem()};
}

struct both {
    std::unique_ptr<tls_stream> server;
    std::unique_ptr<tls_stream> client;
    memory_stream* server_wire; // the end that the server holds
    memory_stream* client_wire;
};

both make(tls_context const& server, tls_client_context const& client,
          std::string_view host = "a.example", memory_options server_side = {},
          memory_options client_side = {}) {
    auto [s, c] = memory_stream::make(server_side, client_side);
    both b;
    b.server_wire = s.get();
    b.client_wire = c.get();
    b.server = std::make_unique<tls_stream>(std::move(s), server);
    b.client = std::make_unique<tls_stream>(std::move(c), client, host);
    return b;
}

// Drives both handshakes as far as they go.
bool shake(both& b) {
    auto server = io_state::would_block, client = io_state::would_block;
    for (int i = 0; i < 200000; ++i) {
        if (client == io_state::would_block)
            client = b.client->try_handshake();
        if (server == io_state::would_block)
            server = b.server->try_handshake();
        if (client == io_state::ok)
            b.client->try_flush();
        if (server != io_state::would_block && client != io_state::would_block)
            break;
    }
    return server == io_state::ok && client == io_state::ok;
}

std::string read(stream& s, std::size_t most = 1 << 20) {
    std::string to(most, '\0');
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

std::string pattern(std::size_t size) {
    std::string s(size, '\0');
    unsigned x = 1;
    for (char& c : s)
        c = static_cast<char>((x = x * 1103515245 + 12345) >> 16);
    return s;
}

// Moves all of `text` from one end to the other, whatever it takes.
std::string transfer(stream& from, stream& to, std::string_view text,
                     std::size_t at_once = 1 << 20) {
    std::string got;
    std::string_view rest = text;
    for (int i = 0; i < 2000000 && got.size() < text.size(); ++i) {
        if (!rest.empty()) {
            auto const wrote = from.try_write(rest.substr(0, at_once));
            if (wrote.state == io_state::error)
                return "(write failed)";
            if (wrote.state == io_state::ok)
                rest.remove_prefix(wrote.count);
        } else {
            from.try_flush();
        }
        std::string const part = read(to);
        if (part == "(error)" || part == "(end)")
            return part;
        if (part != "(would block)")
            got += part;
    }
    return got;
}

} // namespace

TEST_CASE("both sides agree and talk", "[tls]") {
    auto const version = GENERATE(tls_version::tls_1_2, tls_version::tls_1_3);
    auto const piece =
        GENERATE(std::size_t{1}, std::size_t{7}, std::numeric_limits<std::size_t>::max());
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto b = make(server, client, "a.example", {.read_at_most = piece, .write_at_most = piece},
                  {.read_at_most = piece, .write_at_most = piece});
    if (version == tls_version::tls_1_2)
        SSL_set_max_proto_version(b.client->native(), TLS1_2_VERSION);
    REQUIRE(shake(b));
    CHECK(b.server->version() == (version == tls_version::tls_1_2 ? "TLSv1.2" : "TLSv1.3"));
    CHECK(b.client->version() == b.server->version());
    CHECK(b.server->server_name() == "a.example");
    CHECK(b.server->protocol() == "http/1.1");
    CHECK(b.client->protocol() == "http/1.1");

    CHECK(transfer(*b.client, *b.server, "GET / HTTP/1.1\r\n\r\n") == "GET / HTTP/1.1\r\n\r\n");
    CHECK(transfer(*b.server, *b.client, "HTTP/1.1 200 OK\r\n\r\n") == "HTTP/1.1 200 OK\r\n\r\n");
    std::string const up = pattern(200000), down = pattern(300001);
    CHECK((transfer(*b.client, *b.server, up) == up));
    CHECK((transfer(*b.server, *b.client, down) == down));
    CHECK((transfer(*b.server, *b.client, down, 1000) == down));
    CHECK(read(*b.server) == "(would block)");
    CHECK_FALSE(b.server->ready().holds_input);

    b.client->shutdown_send();
    CHECK(read(*b.server) == "(end)");
    CHECK(transfer(*b.server, *b.client, "after") == "after"); // half-closed
    b.server->shutdown_send();
    CHECK(read(*b.client) == "(end)");
    CHECK(b.server->failure() == tls_failure::none);
    CHECK(b.client->failure() == tls_failure::none);
}

TEST_CASE("small reads leave the rest of a record readable", "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto b = make(server, client);
    REQUIRE(shake(b));
    std::string const text = pattern(40000);
    REQUIRE(b.client->try_write(text).count == text.size());
    std::string got;
    while (got.size() < text.size()) {
        REQUIRE((b.server->ready().readable ||
                 b.server->ready().holds_input)); // else nobody would come again
        got += read(*b.server, 999);
    }
    CHECK((got == text));
    CHECK(read(*b.server, 999) == "(would block)");
    CHECK_FALSE(b.server->ready().holds_input);
}

TEST_CASE("whatever is read at a time, nothing is lost and nobody waits for what is there",
          "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto b = make(server, client, "a.example", {}, {.capacity = 1 << 20});
    REQUIRE(shake(b));
    std::string const text = pattern(900000);
    auto const most = GENERATE(std::size_t{100}, std::size_t{16384}, std::size_t{52000},
                               std::size_t{100000}, std::size_t{262144}, std::size_t{2000000});
    auto const brought =
        GENERATE(std::size_t{3000}, std::size_t{16500}, std::numeric_limits<std::size_t>::max());
    b.server_wire->set_read_at_most(brought);
    std::string_view rest = text;
    while (!rest.empty())
        rest.remove_prefix(b.client->try_write(rest).count);
    std::string got;
    for (std::size_t i = 0; i < 20000 && got.size() < text.size(); ++i) {
        REQUIRE((b.server->ready().readable || b.server->ready().holds_input));
        std::string const part = read(*b.server, most);
        if (part != "(would block)")
            got += part;
    }
    CHECK((got == text));
    CHECK(read(*b.server, most) == "(would block)");
    CHECK_FALSE(b.server->ready().holds_input);
}

TEST_CASE("records are gathered into one write below, and small pieces into one record", "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    struct counting final : stream {
        explicit counting(std::unique_ptr<stream> s) : stream(&s->ready()), below(std::move(s)) {}
        io_result try_read(std::span<std::byte> to) override { return below->try_read(to); }
        io_result try_write(std::span<boost::asio::const_buffer const> from) override {
            ++writes;
            return below->try_write(from);
        }
        void shutdown_send() override { below->shutdown_send(); }
        void close() noexcept override { below->close(); }
        void abort() noexcept override { below->abort(); }
        std::unique_ptr<stream> below;
        int writes = 0;
    };
    auto [s, c] = memory_stream::make({.capacity = 1 << 20});
    auto* const wire = s.get();
    auto counted = std::make_unique<counting>(std::move(s));
    auto* const count = counted.get();
    both b{std::make_unique<tls_stream>(std::move(counted), server),
           std::make_unique<tls_stream>(std::move(c), client, "a.example"), nullptr, nullptr};
    REQUIRE(shake(b));
    CHECK(count->writes == 1); // the tickets wait for the answer

    std::string const text = pattern(256 * 1024);
    CHECK(b.server->try_write(text).count == text.size());
    CHECK(count->writes == 2);
    CHECK((read(*b.client) == text));
    CHECK(SSL_get_session(b.client->native()) != nullptr);
    CHECK(SSL_SESSION_is_resumable(SSL_get_session(b.client->native())) == 1); // they came

    std::size_t const before = wire->written();
    boost::asio::const_buffer const pieces[] = {
        boost::asio::buffer("head", 4), boost::asio::buffer("", 0), boost::asio::buffer("body", 4),
        boost::asio::buffer("tail", 4)};
    CHECK(b.server->try_write(pieces).count == 12);
    CHECK(count->writes == 3);
    CHECK(wire->written() - before == 12 + 22);
    CHECK(read(*b.client) == "headbodytail");

    std::string const large = pattern(100000);
    boost::asio::const_buffer const head_and_body[] = {boost::asio::buffer("head", 4),
                                                       boost::asio::buffer(large)};
    CHECK(b.server->try_write(head_and_body).count == 100004);
    CHECK(count->writes == 4);
    CHECK((read(*b.client) == "head" + large));

    CHECK(b.server->try_write(pattern(600000)).count == tls_stream::write_limit);
}

TEST_CASE("tickets go out with the first read that finds nothing", "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto b = make(server, client);
    REQUIRE(shake(b));
    CHECK(b.server->held() != 0);
    CHECK(read(*b.client) == "(would block)");
    CHECK(SSL_SESSION_is_resumable(SSL_get_session(b.client->native())) == 0);
    CHECK(read(*b.server) == "(would block)");
    CHECK(b.server->held() == 0);
    CHECK(read(*b.client) == "(would block)");
    CHECK(SSL_SESSION_is_resumable(SSL_get_session(b.client->native())) == 1);
}

TEST_CASE("sessions are resumed within one context only", "[tls]") {
    tls_context const server(server_options(), true);
    tls_context const stranger(server_options(), true);
    tls_client_context const client(client_options());
    auto const version = GENERATE(TLS1_2_VERSION, TLS1_3_VERSION);
    auto first = make(server, client);
    SSL_set_max_proto_version(first.client->native(), version);
    REQUIRE(shake(first));
    CHECK(transfer(*first.server, *first.client, "x") == "x");
    SSL_SESSION* const session = SSL_get1_session(first.client->native());

    auto again = make(server, client);
    SSL_set_max_proto_version(again.client->native(), version);
    SSL_set_session(again.client->native(), session);
    REQUIRE(shake(again));
    CHECK(again.server->resumed());
    CHECK(again.server->server_name() == "a.example");
    CHECK(transfer(*again.client, *again.server, "y") == "y");

    auto other = make(stranger, client);
    SSL_set_max_proto_version(other.client->native(), version);
    SSL_set_session(other.client->native(), session);
    REQUIRE(shake(other));
    CHECK_FALSE(other.server->resumed());
    SSL_SESSION_free(session);

    auto options = server_options();
    options.tickets = 0;
    tls_context const without(options, true);
    auto plain = make(without, client);
    SSL_set_max_proto_version(plain.client->native(), version);
    REQUIRE(shake(plain));
    CHECK(transfer(*plain.server, *plain.client, "x") == "x");
    CHECK(SSL_SESSION_is_resumable(SSL_get_session(plain.client->native())) == 0);
}

TEST_CASE("ALPN: the server's order, and an alert where nothing is in common", "[tls]") {
    struct row {
        std::vector<std::string> client;
        std::optional<std::vector<std::string>> server;
        bool http;
        std::optional<std::string> chosen; // empty: refused
    };
    auto const r = GENERATE(values<row>({
        {{"http/1.1"}, {}, true, "http/1.1"},
        {{"http/1.0"}, {}, true, "http/1.0"},
        {{"http/1.0", "h2", "http/1.1"}, {}, true, "http/1.1"},
        {{}, {}, true, ""},
        {{"h2"}, {}, true, {}},
        {{"h2"}, {}, false, ""},
        {{"mqtt", "h2"}, {{"h2", "mqtt"}}, false, "h2"},
        {{"http/1.1"}, {{"mqtt"}}, true, {}},
        {{"http/1.1"}, std::vector<std::string>{}, true, ""},
    }));
    auto options = server_options();
    options.protocols = r.server;
    auto asked = client_options();
    asked.protocols = r.client;
    tls_context const server(options, r.http);
    tls_client_context const client(asked);
    auto b = make(server, client);
    CHECK(shake(b) == r.chosen.has_value());
    if (r.chosen) {
        CHECK(b.server->protocol() == *r.chosen);
        CHECK(b.client->protocol() == *r.chosen);
    } else {
        CHECK(b.server->failure() == tls_failure::no_common_protocol);
        CHECK(b.client->failure() == tls_failure::no_common_protocol); // told by the alert
    }
}

TEST_CASE("SNI chooses the certificate: exact, wildcard, else the first", "[tls]") {
    auto const one = made::sign({.common_name = "one", .names = "DNS:one.example"});
    auto const two =
        made::sign({.common_name = "two", .names = "DNS:two.example,DNS:*.two.example"});
    auto const exact = made::sign({.common_name = "exact", .names = "DNS:x.two.example"});
    auto const bare = made::sign({.common_name = "bare.example"});
    tls_context const server(
        {.certificate_pem = one.pem(),
         .key_pem = one.key_pem(),
         .certificates = {{.certificate_pem = two.pem(), .key_pem = two.key_pem()},
                          {.certificate_pem = exact.pem(), .key_pem = exact.key_pem()},
                          {.certificate_pem = bare.pem(), .key_pem = bare.key_pem()}}},
        true);
    tls_client_context const client({.verify = false});
    struct row {
        char const* name;
        char const* subject;
    };
    auto const r = GENERATE(row{"one.example", "one"}, row{"two.example", "two"},
                            row{"TWO.example", "two"}, row{"a.two.example", "two"},
                            row{"x.two.example", "exact"}, row{"a.b.two.example", "one"},
                            row{"other.example", "one"}, row{"bare.example", "bare.example"},
                            row{"127.0.0.1", "one"}, row{"two.example.", "two"});
    INFO(r.name);
    auto b = make(server, client, r.name);
    REQUIRE(shake(b));
    X509* const shown = SSL_get1_peer_certificate(b.client->native());
    char name[64] = {};
    X509_NAME_get_text_by_NID(X509_get_subject_name(shown), NID_commonName, name, sizeof name);
    X509_free(shown);
    CHECK(std::string(name) == r.subject);
    CHECK(b.server->protocol() == "http/1.1"); // whichever context it was
    CHECK(transfer(*b.server, *b.client, "x") == "x");
}

TEST_CASE("a client that knows the root alone gets the whole chain", "[tls]") {
    auto const with_root = GENERATE(false, true);
    auto options = server_options();
    if (with_root)
        options.certificate_pem += certificates().root.pem();
    tls_context const server(options, true);
    tls_client_context const client(client_options());
    auto b = make(server, client);
    SSL_set_max_proto_version(b.client->native(), TLS1_2_VERSION);
    REQUIRE(shake(b));
    CHECK(sk_X509_num(SSL_get_peer_cert_chain(b.client->native())) == 2); // a root is not sent
}

TEST_CASE("a client verifies chain, dates and name", "[tls]") {
    auto const& f = certificates();
    auto const old = made::sign(
        {.common_name = "old", .names = "DNS:a.example", .valid_from = -7200, .valid_until = -3600},
        &f.root);
    auto const early = made::sign(
        {.common_name = "early", .names = "DNS:a.example", .valid_from = 3600, .valid_until = 7200},
        &f.root);
    auto const self = made::sign({.common_name = "self", .names = "DNS:a.example"});
    auto const wild =
        made::sign({.common_name = "wild", .names = "DNS:*.w.example,DNS:part*.example"}, &f.root);
    auto const named = made::sign({.common_name = "a.example", .names = "DNS:b.example"}, &f.root);
    tls_options const good = server_options();
    auto const of = [](made::certificate const& c) {
        return tls_options{.certificate_pem = c.pem(), .key_pem = c.key_pem()};
    };
    struct row {
        char const* what;
        tls_options server;
        char const* host;
        bool ok;
    };
    std::vector<row> const rows{
        {"right", good, "a.example", true},
        {"another case, a final dot", good, "A.Example.", true},
        {"by address", good, "127.0.0.1", true},
        {"another name", good, "b.example", false},
        {"another address", good, "127.0.0.2", false},
        {"no intermediate", of(f.leaf), "a.example", false},
        {"not signed by anybody known", of(self), "a.example", false},
        {"expired", of(old), "a.example", false},
        {"not valid yet", of(early), "a.example", false},
        {"wildcard", of(wild), "x.w.example", true},
        {"wildcard, two labels", of(wild), "x.y.w.example", false},
        {"wildcard within a label", of(wild), "party.example", false},
        {"the common name counts for nothing", of(named), "a.example", false},
    };
    tls_client_context const strict(client_options());
    auto lax_options = client_options();
    lax_options.verify = false;
    tls_client_context const lax(lax_options);
    for (auto const& r : rows) {
        INFO(r.what);
        tls_context const server(r.server, true);
        auto b = make(server, strict, r.host);
        CHECK(shake(b) == r.ok);
        if (!r.ok) {
            CHECK(b.client->failure() == tls_failure::not_trusted);
            CHECK(b.client->failure_text().find("not trusted: ") != std::string::npos);
            CHECK(b.server->failure() == tls_failure::protocol); // the alert
        }
        auto unchecked = make(server, lax, r.host);
        CHECK(shake(unchecked));
    }
    auto renamed = client_options();
    renamed.name = "a.example";
    tls_client_context const other_name(renamed);
    tls_context const server(good, true);
    auto b = make(server, other_name, "10.0.0.1");
    CHECK(shake(b));
    CHECK(b.server->server_name() == "a.example");
    CHECK_THROWS_AS(make(server, strict, ""), std::invalid_argument);
}

TEST_CASE("old versions are refused", "[tls]") {
    auto options = server_options();
    options.min_version = tls_version::tls_1_3;
    tls_context const modern(options, true);
    tls_context const usual(server_options(), true);
    tls_client_context const client(client_options());
    {
        auto b = make(modern, client);
        SSL_set_max_proto_version(b.client->native(), TLS1_2_VERSION);
        CHECK_FALSE(shake(b));
        CHECK(b.server->failure() == tls_failure::protocol);
        CHECK(b.client->failure() == tls_failure::protocol);
    }
    {
        auto b = make(usual, client);
        SSL_set_security_level(b.client->native(), 0);
        SSL_set_min_proto_version(b.client->native(), TLS1_1_VERSION);
        SSL_set_max_proto_version(b.client->native(), TLS1_1_VERSION);
        SSL_set_cipher_list(b.client->native(), "ALL:@SECLEVEL=0");
        CHECK_FALSE(shake(b));
    }
    {
        auto b = make(usual, client);
        SSL_set_max_proto_version(b.client->native(), TLS1_2_VERSION);
        SSL_set_cipher_list(b.client->native(),
                            "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA"); // CBC
        CHECK_FALSE(shake(b));
    }
}

TEST_CASE("an end that TLS did not announce is an error", "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto b = make(server, client);
    SECTION("before the handshake") {
        b.client_wire->close();
        CHECK(b.server->try_handshake() == io_state::error);
        CHECK(b.server->failure() == tls_failure::truncated);
    }
    SECTION("within the handshake") {
        b.client->try_handshake();
        b.server->try_handshake();
        b.client_wire->close();
        CHECK(b.server->try_handshake() == io_state::error);
        CHECK(b.server->failure() == tls_failure::truncated);
    }
    SECTION("after what was written") {
        REQUIRE(shake(b));
        b.client->try_write("all there is");
        b.client_wire->shutdown_send();
        CHECK(read(*b.server) == "all there is");
        CHECK(read(*b.server) == "(error)");
        CHECK(read(*b.server) == "(error)");
        CHECK(b.server->failure() == tls_failure::truncated);
    }
    SECTION("within a record") {
        REQUIRE(shake(b));
        b.client_wire->set_capacity(20);
        b.client->try_write("half a record");
        b.client_wire->shutdown_send();
        CHECK(read(*b.server) == "(error)");
        CHECK(b.server->failure() == tls_failure::truncated);
    }
    SECTION("a reset") {
        REQUIRE(shake(b));
        b.client->try_write("lost");
        b.client->abort();
        CHECK(read(*b.server) == "(error)");
        CHECK(b.server->failure() == tls_failure::transport);
        CHECK(b.server->try_write("x").state == io_state::error);
    }
    SECTION("close says it") {
        REQUIRE(shake(b));
        b.client->try_write("all there is");
        b.client->close();
        CHECK(read(*b.server) == "all there is");
        CHECK(read(*b.server) == "(end)");
        CHECK(b.server->failure() == tls_failure::none);
    }
    SECTION("the server's close too, with the tickets in front") {
        REQUIRE(shake(b));
        CHECK(b.server->held() != 0);
        b.server->close();
        CHECK(read(*b.client) == "(end)");
        CHECK(b.client->failure() == tls_failure::none);
    }
    SECTION("the end waits until what was written is through") {
        REQUIRE(shake(b));
        b.server_wire->set_capacity(1000);
        std::string const text = pattern(5000);
        CHECK(b.server->try_write(text).count == text.size());
        b.server->shutdown_send();
        std::string got;
        for (int i = 0; i < 100; ++i) {
            std::string const part = read(*b.client);
            if (part == "(end)")
                break;
            if (part != "(would block)")
                got += part;
            b.server->try_flush();
        }
        CHECK((got == text));
        CHECK(read(*b.client) == "(end)");
        CHECK(b.client_wire->hung_up());
    }
}

TEST_CASE("bytes that were changed on the way end the stream", "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto b = make(server, client);
    REQUIRE(shake(b));
    b.client_wire->try_write(std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));
    CHECK(read(*b.server) == "(error)");
    CHECK(b.server->failure() == tls_failure::protocol);
    CHECK_FALSE(b.server->failure_text().empty());
    CHECK(read(*b.client) == "(error)"); // told by an alert
    CHECK(ERR_peek_error() == 0);        // nothing is left for whoever uses OpenSSL next
}

TEST_CASE("plain HTTP on a TLS port is known as such", "[tls]") {
    tls_context const server(server_options(), true);
    for (std::string const request :
         {"GET / HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.1\r\n", "P", "DELETE /"}) {
        auto [s, c] = memory_stream::make();
        auto* const wire = s.get();
        tls_stream layer(std::move(s), server);
        c->try_write(request);
        CHECK(layer.try_handshake() == io_state::error);
        CHECK(layer.failure() == tls_failure::plain_http);
        CHECK(wire->written() == 0); // no alert: the peer would not know what it is
        CHECK(layer.below().try_write("HTTP/1.1 400 Bad Request\r\n").count == 26);
    }
    auto [s, c] = memory_stream::make();
    tls_stream layer(std::move(s), server);
    c->try_write("\x01\x02\x03\x04\x05 something else");
    CHECK(layer.try_handshake() == io_state::error);
    CHECK(layer.failure() == tls_failure::protocol);
}

TEST_CASE("what is held for a slow reader is bounded", "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto b = make(server, client);
    REQUIRE(shake(b));
    CHECK(transfer(*b.server, *b.client, "x") == "x");
    b.server_wire->set_capacity(10000);
    std::string const text = pattern(1000000);
    std::string_view rest = text;
    std::string got;
    std::size_t most = 0, most_later = 0;
    for (int i = 0; i < 10000 && got.size() < text.size(); ++i) {
        auto const wrote = b.server->try_write(rest);
        if (wrote.state == io_state::ok) {
            rest.remove_prefix(wrote.count);
            (i == 0 ? most : most_later) = std::max(i == 0 ? most : most_later, b.server->held());
        } else if (wrote.state == io_state::would_block) {
            CHECK_FALSE(b.server->ready().writable); // the one who waits for it is woken
        }
        if (rest.empty())
            b.server->try_flush();
        std::string const part = read(*b.client, 3000);
        if (part != "(would block)")
            got += part;
    }
    CHECK((got == text));
    CHECK(most <= tls_stream::write_limit + 2000);
    CHECK(most_later <= 17000); // one record once the reader turned out to be slow
    CHECK(b.server->held() == 0);
}

TEST_CASE("answers to key updates are sent, and a flood of them stops the reading", "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto b = make(server, client);
    REQUIRE(shake(b));
    CHECK(transfer(*b.server, *b.client, "x") == "x");

    SECTION("one is answered with what is written next") {
        std::size_t const before = b.server_wire->written();
        SSL_key_update(b.client->native(), SSL_KEY_UPDATE_REQUESTED);
        CHECK(transfer(*b.client, *b.server, "new keys") == "new keys");
        CHECK(transfer(*b.server, *b.client, "new keys too") == "new keys too");
        CHECK(b.server_wire->written() - before == 12 + 22 + 27);
    }
    SECTION("a flood does not fill the memory") {
        b.server_wire->set_capacity(500); // the client does not read
        for (int i = 0; i < 3000; ++i) {
            SSL_key_update(b.client->native(), SSL_KEY_UPDATE_REQUESTED);
            b.client->try_write("x");
            std::string const part = read(*b.server);
            if (b.server->ready().read_needs_write)
                break;
        }
        CHECK(b.server->ready().read_needs_write);
        CHECK(b.server->held() <= tls_stream::owed_limit + 100);
        CHECK(read(*b.server) == "(would block)");
        CHECK(b.client_wire->unread() == 500);
        // Once the client reads again, so does the server, and nothing was lost.
        std::string got;
        for (int i = 0; i < 100; ++i) {
            CHECK(read(*b.client) == "(would block)");
            std::string const part = read(*b.server);
            if (part != "(would block)")
                got += part;
            b.client->try_flush();
        }
        CHECK(b.server->held() == 0);
        CHECK_FALSE(b.server->ready().read_needs_write);
        CHECK(transfer(*b.client, *b.server, "still here").ends_with("still here"));
    }
    SECTION("a burst within one read is bounded as well") {
        b.client_wire->set_capacity(1 << 20);
        for (int i = 0; i < 1000; ++i) {
            SSL_key_update(b.client->native(), SSL_KEY_UPDATE_REQUESTED);
            b.client->try_write("x");
        }
        b.server_wire->set_capacity(0);
        std::size_t reads = 0;
        while (reads < 1000 && read(*b.server) != "(would block)")
            ++reads;
        CHECK(reads < 1000);
        CHECK(b.server->ready().read_needs_write);
        CHECK(b.server->held() <
              tls_stream::owed_limit + 20 * 1024); // and what one read of the wire asked for
        CHECK(b.client_wire->written() > 50000);
    }
    SECTION("a burst that was broken off is gone on with") {
        b.client_wire->set_capacity(1 << 20);
        std::string sent = pattern(40000);
        b.client->try_write(sent);
        for (int i = 0; i < 1000; ++i) {
            SSL_key_update(b.client->native(), SSL_KEY_UPDATE_REQUESTED);
            b.client->try_write("x");
            sent += 'x';
        }
        std::string got;
        for (int i = 0; i < 3000 && got.size() < sent.size(); ++i) {
            REQUIRE((b.server->ready().readable || b.server->ready().holds_input));
            std::string const part = read(*b.server);
            if (part != "(would block)")
                got += part;
            read(*b.client);
        }
        CHECK((got == sent));
    }
    SECTION("while something was written that waits, reading goes on up to a bound") {
        b.server_wire->set_capacity(100);
        CHECK(b.server->try_write(pattern(10000)).count == 10000);
        SSL_key_update(b.client->native(), SSL_KEY_UPDATE_REQUESTED);
        CHECK(transfer(*b.client, *b.server, "upload") == "upload");
        CHECK(transfer(*b.client, *b.server, " goes on") == " goes on");
        CHECK_FALSE(b.server->ready().read_needs_write);
        for (int i = 0; i < 1000 && !b.server->ready().read_needs_write; ++i) {
            SSL_key_update(b.client->native(), SSL_KEY_UPDATE_REQUESTED);
            b.client->try_write("x");
            read(*b.server);
        }
        CHECK(b.server->ready().read_needs_write);
        CHECK(b.server->held() < 10000 + 500 + tls_stream::owed_limit + 100);
    }
}

TEST_CASE("renegotiation is refused", "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto b = make(server, client);
    SSL_set_max_proto_version(b.client->native(), TLS1_2_VERSION);
    REQUIRE(shake(b));
    // One side turns hostile: OpenSSL without our settings, its bytes carried by hand.
    auto const turn_hostile = [](tls_stream& s) {
        SSL_clear_options(s.native(), SSL_OP_NO_RENEGOTIATION);
        SSL_set_bio(s.native(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        REQUIRE(SSL_renegotiate(s.native()) == 1);
        SSL_do_handshake(s.native());
        ERR_clear_error();
        return made::text_of([&] {
            BIO* const out = SSL_get_wbio(s.native());
            BIO_up_ref(out);
            return out;
        }());
    };
    SECTION("asked for by the client") {
        std::string const hello = turn_hostile(*b.client);
        REQUIRE(hello.size() > 100);
        REQUIRE(b.client_wire->try_write(hello).count == hello.size());
        std::size_t const before = b.server_wire->written();
        CHECK(read(*b.server) == "(would block)");
        CHECK(b.server_wire->written() - before <
              100); // a warning, not the second flight of a handshake
        CHECK(b.server_wire->written() != before);
        CHECK(SSL_is_init_finished(b.server->native()) == 1);
        CHECK(b.server->try_write("still here").count == 10);
    }
    SECTION("asked for by the server") {
        std::string const request = turn_hostile(*b.server);
        REQUIRE(request.size() > 10);
        REQUIRE(b.server_wire->try_write(request).count == request.size());
        std::size_t const before = b.client_wire->written();
        CHECK(read(*b.client) == "(would block)");
        CHECK(b.client_wire->written() - before < 100);
        CHECK(SSL_is_init_finished(b.client->native()) == 1);
    }
}

TEST_CASE("every failure of the stream below ends the stream, at whichever operation it comes",
          "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    bool through = false;
    std::size_t n = 0;
    for (; n < 200 && !through; ++n) {
        auto b = make(server, client);
        b.server_wire->fail_after(n);
        through = shake(b) && transfer(*b.client, *b.server, "question") == "question" &&
                  transfer(*b.server, *b.client, "answer") == "answer";
        if (through)
            break;
        INFO("operation " << n);
        CHECK(b.server->failure() == tls_failure::transport);
        CHECK(read(*b.server) == "(error)");
        CHECK(b.server->try_write("x").state == io_state::error);
        b.server->shutdown_send();
        b.server->close();
    }
    CHECK(through);
    CHECK(n > 3);
}

TEST_CASE("TLS goes over TLS", "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto outer = make(server, client);
    REQUIRE(shake(outer));
    both inner{std::make_unique<tls_stream>(std::move(outer.server), server),
               std::make_unique<tls_stream>(std::move(outer.client), client, "a.example"), nullptr,
               nullptr};
    REQUIRE(shake(inner));
    std::string const text = pattern(300000);
    CHECK((transfer(*inner.server, *inner.client, text) == text));
    CHECK((transfer(*inner.client, *inner.server, text) == text));
}

TEST_CASE("errors that others left in OpenSSL's queue are not the stream's", "[tls]") {
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto const leave_one = [] { ERR_raise(ERR_LIB_EVP, ERR_R_PASSED_NULL_PARAMETER); };
    leave_one();
    auto b = make(server, client);
    leave_one();
    REQUIRE(shake(b));
    leave_one();
    CHECK(read(*b.client) == "(would block)");
    leave_one();
    CHECK(transfer(*b.server, *b.client, "x") == "x");
    leave_one();
    CHECK(transfer(*b.client, *b.server, "y") == "y");
    SECTION("an end is an end") {
        b.client->shutdown_send();
        leave_one();
        CHECK(read(*b.server) == "(end)");
        CHECK(b.server->failure() == tls_failure::none);
    }
    SECTION("a failure is named for what it is") {
        b.client_wire->try_write(std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));
        leave_one();
        CHECK(read(*b.server) == "(error)");
        CHECK(b.server->failure() == tls_failure::protocol);
        CHECK(b.server->failure_text().find("decryption failed") != std::string::npos);
    }
    SECTION("so is an end without a word") {
        b.client_wire->close();
        leave_one();
        CHECK(read(*b.server) == "(error)");
        CHECK(b.server->failure() == tls_failure::truncated);
    }
    ERR_clear_error();
}

TEST_CASE("a busy stream keeps its buffers until it pauses", "[tls]") {
    relais::testing::manual_clock clock;
    worker w({.time = &clock});
    worker::scoped_current on(w);
    tls_context const server(server_options(), true);
    tls_client_context const client(client_options());
    auto b = make(server, client);
    REQUIRE(shake(b));
    auto const gives_back = [&] {
        return (SSL_get_mode(b.server->native()) & SSL_MODE_RELEASE_BUFFERS) != 0;
    };
    auto const reads = [&](int count) {
        for (int i = 0; i < count; ++i)
            REQUIRE(transfer(*b.client, *b.server, "some bytes") == "some bytes");
    };
    for (int again = 0; again < 2; ++again) {
        reads(7);
        CHECK(gives_back());
        clock.advance(w, std::chrono::milliseconds(500));
        reads(1);
        CHECK_FALSE(gives_back());
        for (int i = 0; i < 10; ++i) { // reads keep it busy
            clock.advance(w, std::chrono::milliseconds(80));
            reads(1);
            CHECK_FALSE(gives_back());
        }
        clock.advance(w, std::chrono::milliseconds(300));
        CHECK(gives_back());
    }
    // A record of which a part is there, its head alone too, goes on when the rest comes.
    for (std::size_t const part : {1, 5, 6, 500}) {
        CAPTURE(part);
        reads(8);
        std::string const text(1000, 'p');
        b.client_wire->set_capacity(part);
        b.client->try_write(text);
        CHECK(read(*b.server) == "(would block)");
        clock.advance(w, std::chrono::milliseconds(300));
        b.client_wire->set_capacity(100000);
        b.client->try_flush();
        CHECK((read(*b.server) == text));
    }
}
