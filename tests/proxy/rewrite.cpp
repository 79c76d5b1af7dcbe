#include "catch.hpp"
#include "proxied.hpp"

#include <relais/proxy/rewrite.hpp>
#include <relais/route/routes.hpp>

using namespace relais;
using namespace relais::testing;

namespace {

// `at("/tomcat/") | proxy_to("http://127.0.0.1:8080/app/")` for a client of https://gate.example.
rewrite_sides const tomcat{.secure = false,
                           .authority = "127.0.0.1:8080",
                           .sent_host = "gate.example",
                           .path = "/app/",
                           .client_secure = true,
                           .client_authority = "gate.example",
                           .client_path = "/tomcat/"};

rewrite_sides with_paths(std::string_view upstreams, std::string_view clients) {
    auto made = tomcat;
    made.path = upstreams;
    made.client_path = clients;
    return made;
}

std::string location(std::string_view value, rewrite_sides const& between = tomcat) {
    std::string made = "what was there before";
    auto const changed = rewrite_location(value, between, made);
    CHECK(changed == (changed && made != value));
    return changed ? made : std::string(value);
}

std::string refresh(std::string_view value, rewrite_sides const& between = tomcat) {
    std::string made;
    return rewrite_refresh(value, between, made) ? made : std::string(value);
}

std::string cookie(std::string_view value, rewrite_sides const& between = tomcat,
                   std::string_view domain = {}) {
    std::string made;
    return rewrite_cookie(value, between, domain, made) ? made : std::string(value);
}

} // namespace

TEST_CASE("rewriting: absolute URLs that name the upstream") {
    auto const [from, to] = GENERATE(table<char const*, char const*>({
        // by its address and by the Host that it was sent
        {"http://127.0.0.1:8080/app/a?b#c", "https://gate.example/tomcat/a?b#c"},
        {"http://gate.example/app/a", "https://gate.example/tomcat/a"},
        {"http://gate.example:80/app/a", "https://gate.example/tomcat/a"},
        // by what X-Forwarded-Proto told it
        {"https://gate.example/app/a", "https://gate.example/tomcat/a"},
        {"https://gate.example:443/app/a", "https://gate.example:443/tomcat/a"},
        {"https://127.0.0.1:8080/app/a", "https://gate.example/tomcat/a"},
        // in any case
        {"HTTP://127.0.0.1:8080/app/A", "https://gate.example/tomcat/A"},
        {"hTTp://GATE.example/app/", "https://gate.example/tomcat/"},
        // without a scheme
        {"//127.0.0.1:8080/app/a", "//gate.example/tomcat/a"},
        {"//gate.example/app/a", "//gate.example/tomcat/a"},
        {"//gate.example:80/app/a", "//gate.example/tomcat/a"},
        // the folder itself, nothing, a query alone
        {"http://127.0.0.1:8080/app", "https://gate.example/tomcat"},
        {"http://127.0.0.1:8080/app?x", "https://gate.example/tomcat?x"},
        {"http://127.0.0.1:8080", "https://gate.example"},
        {"http://127.0.0.1:8080?/app/", "https://gate.example?/app/"},
        // not below its path: the host is the client's nevertheless
        {"http://127.0.0.1:8080/login", "https://gate.example/login"},
        {"http://gate.example/application", "https://gate.example/application"},
        {"http://127.0.0.1:8080//app/a", "https://gate.example//app/a"},
        // other places
        {"http://gate.example:8080/app/a", "http://gate.example:8080/app/a"},
        {"https://gate.example:80/app/a", "https://gate.example:80/app/a"},
        {"http://127.0.0.1/app/a", "http://127.0.0.1/app/a"},
        {"http://127.0.0.10:8080/app/a", "http://127.0.0.10:8080/app/a"},
        {"http://127.0.0.1:80800/app/a", "http://127.0.0.1:80800/app/a"},
        {"http://127.0.0.1:8080@evil.example/app/", "http://127.0.0.1:8080@evil.example/app/"},
        {"http://a@127.0.0.1:8080/app/", "http://a@127.0.0.1:8080/app/"},
        {"http://127.0.0.1:8080\\@evil.example/app/", "http://127.0.0.1:8080\\@evil.example/app/"},
        {"http://other.example/app/a", "http://other.example/app/a"},
        {"http://sub.gate.example/app/a", "http://sub.gate.example/app/a"},
        {"//other.example/app/a", "//other.example/app/a"},
        {"ftp://127.0.0.1:8080/app/a", "ftp://127.0.0.1:8080/app/a"},
        {"http:/app/a", "http:/app/a"},
        {"http:127.0.0.1:8080/app/a", "http:127.0.0.1:8080/app/a"},
        {"mailto:a@gate.example", "mailto:a@gate.example"},
        {"http://", "http://"},
        {"http:///app/a", "http:///app/a"},
        {"//", "//"},
        {"///app/a", "///app/a"},
    }));
    CAPTURE(from);
    CHECK(location(from) == to);
}

TEST_CASE("rewriting: paths") {
    auto const [upstreams, clients, from, to] =
        GENERATE(table<char const*, char const*, char const*, char const*>({
            {"/app/", "/tomcat/", "/app/a", "/tomcat/a"},
            {"/app/", "/tomcat/", "/app/a?/app/#/app/", "/tomcat/a?/app/#/app/"},
            {"/app/", "/tomcat/", "/app/", "/tomcat/"},
            {"/app/", "/tomcat/", "/app", "/tomcat"},
            {"/app/", "/tomcat/", "/app#a", "/tomcat#a"},
            {"/app/", "/tomcat/", "/App/a", "/App/a"},
            {"/app/", "/tomcat/", "/apple", "/apple"},
            {"/app/", "/tomcat/", "/", "/"},
            {"/app/", "/tomcat/", "app/a", "app/a"},
            {"/app/", "/tomcat/", "../app/a", "../app/a"},
            {"/app/", "/tomcat/", "?/app/", "?/app/"},
            {"/app/", "/tomcat/", "#/app/", "#/app/"},
            {"/app/", "/tomcat/", "", ""},
            {"/app/", "/tomcat/", "/app//a", "/tomcat/a"},
            {"/", "/tomcat/", "/", "/tomcat/"},
            {"/", "/tomcat/", "/a", "/tomcat/a"},
            {"/", "/tomcat/", "/app/a", "/tomcat/app/a"},
            {"/", "/tomcat/", "/tomcatalog", "/tomcat/tomcatalog"},
            // an upstream that knows where it is
            {"/", "/tomcat/", "/tomcat/a", "/tomcat/a"},
            {"/", "/tomcat/", "/tomcat", "/tomcat"},
            {"/app/", "/app/v1/", "/app/v1/a", "/app/v1/a"},
            {"/app/", "/app/v1/", "/app/a", "/app/v1/a"},
            {"/app/v1/", "/app/", "/app/v1/a", "/app/a"},
            {"/app/v1/", "/app/", "/app/a", "/app/a"},
            {"/app/", "/app/", "/app/a", "/app/a"},
            // prefixes without a slash at their end, as nginx has them
            {"/", "/tomcat", "/a", "/tomcat/a"},
            {"/", "/tomcat", "/", "/tomcat"},
            {"/app", "/tomcat", "/app/a", "/tomcat/a"},
            {"/app", "/tomcat", "/apple", "/tomcatle"},
            {"/app", "/tomcat/", "/app/a", "/tomcat/a"},
            {"/page", "/exact", "/page", "/exact"},
            {"/app/", "/", "/app/a", "/a"},
            {"/app/", "/", "/app/", "/"},
            {"/app/", "/", "/app", "/"},
            {"/app", "/", "/app/a", "/a"},
            // what would become another host
            {"/app/", "/", "/app//evil.example/", "/evil.example/"},
            {"/app/", "/", "/app///evil.example/", "/app///evil.example/"},
            {"/app/", "/", "/app/\\evil.example/", "/app/\\evil.example/"},
            {"/app/", "/", "/app/\t/evil.example/", "/app/\t/evil.example/"},
            {"/app", "/", "/app//evil.example/", "/app//evil.example/"},
            {"/", "/tomcat/", "/\\evil.example/", "/\\evil.example/"},
            {"/", "/tomcat/", "//evil.example/", "//evil.example/"},
            // encoded
            {"/a%20b/", "/c%2Fd/", "/a%20b/e%2Ff", "/c%2Fd/e%2Ff"},
            {"/app/", "/tomcat/", "/app/\xc3\xa4", "/tomcat/\xc3\xa4"},
            // nothing is replaced
            {"", "", "/app/a", "/app/a"},
            {"", "", "http://127.0.0.1:8080/app/a", "https://gate.example/app/a"},
            {"", "", "http://gate.example", "https://gate.example"},
        }));
    CAPTURE(upstreams, clients, from);
    CHECK(location(from, with_paths(upstreams, clients)) == to);
}

TEST_CASE("rewriting: an upstream whose Host is its own, and ports that a scheme has") {
    rewrite_sides between{.secure = true,
                          .authority = "App.internal",
                          .sent_host = "App.internal",
                          .path = "/",
                          .client_secure = false,
                          .client_authority = "gate.example:8080",
                          .client_path = "/app/"};
    CHECK(location("https://app.internal/a", between) == "http://gate.example:8080/app/a");
    CHECK(location("https://app.internal:443/a", between) == "http://gate.example:8080/app/a");
    CHECK(location("https://app.internal:/a", between) == "http://gate.example:8080/app/a");
    CHECK(location("http://app.internal/a", between) == "http://gate.example:8080/app/a");
    CHECK(location("https://app.internal:80/a", between) == "https://app.internal:80/a");
    CHECK(location("//app.internal/a", between) == "//gate.example:8080/app/a");
    // X-Forwarded-Host told it.
    CHECK(location("http://gate.example:8080/a", between) == "http://gate.example:8080/app/a");
    CHECK(location("http://gate.example/a", between) == "http://gate.example/a");
    // A step up to https is meant.
    between.secure = false;
    CHECK(location("https://gate.example:8080/a", between) == "https://gate.example:8080/a");
}

TEST_CASE("rewriting: IPv6") {
    auto between = tomcat;
    between.authority = "[::1]:8080";
    between.client_authority = between.sent_host = "[2001:DB8::1]";
    CHECK(location("http://[::1]:8080/app/a", between) == "https://[2001:DB8::1]/tomcat/a");
    CHECK(location("http://[2001:db8::1]/app/a", between) == "https://[2001:DB8::1]/tomcat/a");
    CHECK(location("http://[2001:db8::1]:80/app/a", between) == "https://[2001:DB8::1]/tomcat/a");
    CHECK(location("http://[::1]/app/a", between) == "http://[::1]/app/a");
    CHECK(location("http://[::1:8080/app/a", between) == "http://[::1:8080/app/a");
    CHECK(location("http://[::1]8080/app/a", between) == "http://[::1]8080/app/a");
}

TEST_CASE("rewriting: a client that did not say whom it asked for") {
    auto between = tomcat;
    between.client_authority = {};
    between.sent_host = between.authority;
    CHECK(location("http://127.0.0.1:8080/app/a?b", between) == "/tomcat/a?b");
    CHECK(location("http://127.0.0.1:8080?b", between) == "/?b");
    CHECK(location("//127.0.0.1:8080", between) == "/");
    CHECK(location("/app/a", between) == "/tomcat/a");
    CHECK(location("http://127.0.0.1:8080//evil.example/", between) ==
          "http://127.0.0.1:8080//evil.example/");
    CHECK(location("http://other.example/app/a", between) == "http://other.example/app/a");
    between.path = {};
    CHECK(location("http://127.0.0.1:8080/app/a", between) == "/app/a");
}

TEST_CASE("rewriting: Refresh") {
    auto const [from, to] = GENERATE(table<char const*, char const*>({
        {"5; url=http://127.0.0.1:8080/app/a", "5; url=https://gate.example/tomcat/a"},
        {"0;URL=/app/a", "0;URL=/tomcat/a"},
        {" 1.5 , Url = '/app/a' ; x", " 1.5 , Url = '/tomcat/a' ; x"},
        {"5; url=\"/app/a'b\"", "5; url=\"/tomcat/a'b\""},
        {"5; url='/app/a", "5; url='/tomcat/a"},
        {"; url=/app/a", "; url=/tomcat/a"},
        {"5; url=http://other.example/app/", "5; url=http://other.example/app/"},
        {"5; url=", "5; url="},
        {"5; url='", "5; url='"},
        {"5; url", "5; url"},
        {"5;", "5;"},
        {"5", "5"},
        {"", ""},
        {"5 url=/app/a", "5 url=/app/a"},
        {"/app/a", "/app/a"},
    }));
    CAPTURE(from);
    CHECK(refresh(from) == to);
}

TEST_CASE("rewriting: paths of cookies") {
    auto const [from, to] = GENERATE(table<char const*, char const*>({
        {"JSESSIONID=A1; Path=/app; HttpOnly", "JSESSIONID=A1; Path=/tomcat; HttpOnly"},
        {"a=b; Path=/app/", "a=b; Path=/tomcat/"},
        {"a=b;path=/app/c;Secure", "a=b;path=/tomcat/c;Secure"},
        {"a=b; Secure;  PATH  =  /app/c  ; SameSite=Lax",
         "a=b; Secure;  PATH  =  /tomcat/c  ; SameSite=Lax"},
        {"a=b; Path=\"/app/c\"; Max-Age=5", "a=b; Path=\"/tomcat/c\"; Max-Age=5"},
        {"a=b; Path=/app; Path=/app/c", "a=b; Path=/tomcat; Path=/tomcat/c"},
        {"a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/app/; HttpOnly",
         "a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/tomcat/; HttpOnly"},
        // nothing of the upstream's
        {"a=b; Path=/", "a=b; Path=/"},
        {"a=b; Path=/apple", "a=b; Path=/apple"},
        {"a=b; Path=/tomcat/", "a=b; Path=/tomcat/"},
        {"a=b; Path=", "a=b; Path="},
        {"a=b; Path", "a=b; Path"},
        {"a=b; Path=app/", "a=b; Path=app/"},
        {"a=b", "a=b"},
        {"a=b;", "a=b;"},
        {";", ";"},
        {"", ""},
        {"Path=/app/", "Path=/app/"},
        {"a=b; XPath=/app/; My-Path=/app/", "a=b; XPath=/app/; My-Path=/app/"},
        // quoted values, for those who honour quotes
        {"a=\"b; Path=/app/\"; Path=/app/", "a=\"b; Path=/app/\"; Path=/tomcat/"},
        {"a=\"b\\\"; Path=/app/\"; Path=/app/", "a=\"b\\\"; Path=/app/\"; Path=/tomcat/"},
        {"a=\"b; Path=/app/", "a=\"b; Path=/tomcat/"},
        {"a=\"b; Path=\"/app/\"", "a=\"b; Path=\"/tomcat/\""},
        {"a=\"\"; Path=/app/", "a=\"\"; Path=/tomcat/"},
        {"a; Path=/app/", "a; Path=/tomcat/"},
        // names that promise something
        {"__Secure-a=b; Secure; Path=/app/", "__Secure-a=b; Secure; Path=/tomcat/"},
    }));
    CAPTURE(from);
    CHECK(cookie(from) == to);
}

TEST_CASE("rewriting: a cookie whose name promises the path / keeps it") {
    auto const root = with_paths("/", "/tomcat/");
    CHECK(cookie("a=b; Path=/", root) == "a=b; Path=/tomcat/");
    CHECK(cookie("a=b; Path=/app", root) == "a=b; Path=/tomcat/app");
    CHECK(cookie("__Host-a=b; Secure; Path=/", root) == "__Host-a=b; Secure; Path=/");
    CHECK(cookie(" __host-a=b; Secure; Path=/", root) == " __host-a=b; Secure; Path=/");
    CHECK(cookie("__Hosta=b; Path=/", root) == "__Hosta=b; Path=/tomcat/");
}

TEST_CASE("rewriting: domains of cookies") {
    rewrite_sides const between{.authority = "app.internal.example:8080",
                                .sent_host = "app.internal.example:8080",
                                .client_authority = "gate.example:8443"};
    auto const [from, taken_off, replaced] = GENERATE(table<char const*, char const*, char const*>({
        {"a=b; Domain=app.internal.example; Path=/", "a=b; Path=/",
         "a=b; Domain=public.example; Path=/"},
        {"a=b; Path=/; domain=.APP.internal.example", "a=b; Path=/",
         "a=b; Path=/; domain=public.example"},
        {"a=b;Domain = \"internal.example\" ;Secure", "a=b;Secure",
         "a=b;Domain = \"public.example\" ;Secure"},
        {"a=b; Domain=gate.example", "a=b; Domain=gate.example", "a=b; Domain=gate.example"},
        {"a=b; Domain=example", "a=b; Domain=example", "a=b; Domain=example"},
        {"a=b; Domain=other.example", "a=b; Domain=other.example", "a=b; Domain=other.example"},
        {"a=b; Domain=p.internal.example", "a=b; Domain=p.internal.example",
         "a=b; Domain=p.internal.example"},
        {"a=b; Domain=x.app.internal.example", "a=b; Domain=x.app.internal.example",
         "a=b; Domain=x.app.internal.example"},
        {"a=b; Domain=", "a=b; Domain=", "a=b; Domain="},
        {"a=b; Domain=.", "a=b; Domain=.", "a=b; Domain=."},
        {"a=b; Domain", "a=b; Domain", "a=b; Domain"},
        {"Domain=app.internal.example", "Domain=app.internal.example",
         "Domain=app.internal.example"},
    }));
    CAPTURE(from);
    CHECK(cookie(from, between) == taken_off);
    CHECK(cookie(from, between, "public.example") == replaced);
}

TEST_CASE("rewriting: an address has no domains above it") {
    CHECK(cookie("a=b; Domain=127.0.0.1") == "a=b");
    CHECK(cookie("a=b; Domain=0.0.1") == "a=b; Domain=0.0.1");
    auto between = tomcat;
    between.authority = "[::1]:8080";
    CHECK(cookie("a=b; Domain=[::1]", between) == "a=b");
}

TEST_CASE("rewriting: values that nobody means") {
    std::string const ends[] = {
        "",  " ",    "\t",      ";",         "=",      "\"", "\xff\xfe", "http://127.0.0.1:8080",
        "/", "/app", "; Path=", "; Domain=", "5; url="};
    std::string const all_of = std::string(100'000, 'x') + std::string(1000, ';');
    for (auto const& before : ends)
        for (auto const& middle : {std::string(), std::string(" "), all_of, std::string(5000, '/')})
            for (auto const& after : ends) {
                auto const value = before + middle + after;
                location(value);
                refresh(value);
                cookie(value);
            }
    CHECK(location("/app/" + all_of) == "/tomcat/" + all_of);
    CHECK(cookie("a=" + all_of + "; Path=/app/") == "a=" + all_of + "; Path=/tomcat/");
}

namespace {

awaitable<> by_https(exchange& x, exchange::next next) {
    x.request.set_secure(true);
    return next(x);
}

// The gateway in front of an application at /app/, for a client of https://gate.example.
struct gate {
    explicit gate(proxy_options options = {})
        : client(http() | by_https |
                 routes(at("/tomcat/") | proxy_to(upstream.url() + "/app/", options),
                        at("/c/d e/") | proxy_to(upstream.url() + "/app/", options),
                        at(pattern("^/p")) | proxy_to(upstream.url(), options))) {}

    // What becomes of these fields of an answer.
    std::string answered(std::string const& fields, std::string const& target = "/tomcat/a",
                         std::string const& host = "Host: gate.example\r\n") {
        client.send("GET " + target + " HTTP/1." + (host.empty() ? "0" : "1") + "\r\n" + host +
                    "\r\n");
        if (auto fresh = upstream.accept())
            by = std::move(fresh);
        REQUIRE(by);
        asked = by->take();
        by->send("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nDate: x\r\n" + fields + "\r\n");
        client.run();
        auto const got = client.take_received();
        auto const begin = got.find("Date: x\r\n") + 9;
        return got.substr(begin, got.find("Content-Length: 0") - begin);
    }
    std::string own() const { return upstream.url().substr(7); }

    scripted_server upstream{transport::tcp};
    session client;
    proxied::peer by;
    std::string asked;
};

} // namespace

TEST_CASE("rewriting: the fields of an answer, and no others") {
    gate g;
    auto const at_home = "http://" + g.own() + "/app/a\r\n";
    CHECK(g.answered("X-Before: " + at_home + "Location: " + at_home +
                     "Content-Location: /app/b\r\n" +
                     "refresh: 5; url=http://gate.example/app/c\r\nSet-Cookie: a=b; Path=/app\r\n" +
                     "set-cookie: c=d; Domain=127.0.0.1; Path=/app/c\r\nSet-Cookie: e=f\r\n" +
                     "X-Behind: " + at_home) ==
          "X-Before: " + at_home +
              "Location: https://gate.example/tomcat/a\r\nContent-Location: /tomcat/b\r\n"
              "refresh: 5; url=https://gate.example/tomcat/c\r\nSet-Cookie: a=b; Path=/tomcat\r\n"
              "set-cookie: c=d; Path=/tomcat/c\r\nSet-Cookie: e=f\r\n" +
              "X-Behind: " + at_home);
    CHECK(g.asked.starts_with("GET /app/a HTTP/1.1\r\nHost: gate.example\r\n"));
    // The next one on the connection, with nothing to rewrite.
    CHECK(g.answered("X: y\r\nLocation: a\r\n") == "X: y\r\nLocation: a\r\n");
    CHECK(g.answered("Location: /app/" + std::string(20'000, 'x') + "\r\n") ==
          "Location: /tomcat/" + std::string(20'000, 'x') + "\r\n");
}

TEST_CASE("rewriting: the prefix as the path has it, a pattern, a client without a Host") {
    gate g;
    CHECK(g.answered("Location: /app/a\r\n", "/c//d%20e/x") == "Location: /c/d%20e/a\r\n");
    CHECK(g.answered("Location: http://" + g.own() + "/app/a\r\nSet-Cookie: a=b; Path=/app\r\n",
                     "/p") ==
          "Location: https://gate.example/app/a\r\nSet-Cookie: a=b; Path=/app\r\n");
    CHECK(g.answered("Location: http://" + g.own() + "/app/a\r\n", "/tomcat/a", "") ==
          "Location: /tomcat/a\r\n");
}

TEST_CASE("rewriting: an upstream that gets its own Host") {
    gate g({.preserve_host = false});
    CHECK(g.answered("Location: http://" + g.own() + "/app/a\r\n") ==
          "Location: https://gate.example/tomcat/a\r\n");
    CHECK(g.asked.starts_with("GET /app/a HTTP/1.1\r\nHost: " + g.own() + "\r\n"));
}

TEST_CASE("rewriting: a terminal without routes") {
    scripted_server upstream(transport::tcp);
    session client(http() | proxy_to(upstream.url() + "/app/"));
    client.send(get);
    auto by = upstream.accept();
    REQUIRE(by);
    by->send("HTTP/1.1 204 No\r\nLocation: /app/a\r\nSet-Cookie: a=b; Path=/app\r\n\r\n");
    client.run();
    CHECK(has_line(client.received(), "Location: /a"));
    CHECK(has_line(client.received(), "Set-Cookie: a=b; Path=/"));
}

TEST_CASE("rewriting: a Unix socket has no address of its own") {
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    p.answer(up, "HTTP/1.1 201 Made\r\nContent-Length: 0\r\nLocation: http://localhost/callback\r\n"
                 "Content-Location: //a.example/b\r\n\r\n");
    CHECK(has_line(p.got(), "Location: http://localhost/callback"));
}

TEST_CASE("rewriting: the handshake of a WebSocket too") {
    gate g;
    g.client.send(
        "GET /tomcat/ws HTTP/1.1\r\nHost: gate.example\r\nConnection: Upgrade\r\nUpgrade: "
        "websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    g.by = g.upstream.accept();
    REQUIRE(g.by);
    g.by->send(
        "HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSet-Cookie: a=b; Path=/app\r\n\r\n");
    g.client.run();
    CHECK(g.client.received().starts_with("HTTP/1.1 101 "));
    CHECK(has_line(g.client.received(), "Set-Cookie: a=b; Path=/tomcat"));
}

TEST_CASE("rewriting: options") {
    std::string const sent = "Location: /app/a\r\nSet-Cookie: a=b; Path=/app; Domain=127.0.0.1\r\n";
    SECTION("no locations") {
        CHECK(gate({.rewrite_location = false}).answered(sent) ==
              "Location: /app/a\r\nSet-Cookie: a=b; Path=/tomcat\r\n");
    }
    SECTION("no cookies") {
        CHECK(gate({.rewrite_cookies = false}).answered(sent) ==
              "Location: /tomcat/a\r\nSet-Cookie: a=b; Path=/app; Domain=127.0.0.1\r\n");
    }
    SECTION("a domain") {
        CHECK(gate({.cookie_domain = "example"}).answered(sent) ==
              "Location: /tomcat/a\r\nSet-Cookie: a=b; Path=/tomcat; Domain=example\r\n");
    }
}
