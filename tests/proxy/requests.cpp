#include "catch.hpp"
#include "proxied.hpp"

#include <relais/route/routes.hpp>

using namespace relais;
using namespace relais::testing;
using namespace std::string_literals;

namespace {

// The head and what is there of the body, as the upstream got it.
std::string forwarded(std::string const& request, proxy_options options = {}) {
    proxied p(std::move(options));
    auto up = p.ask(request);
    return up ? up->take() : "(nothing) " + p.got();
}

std::string with(std::string const& fields) {
    return "GET / HTTP/1.1\r\nHost: a.example\r\n" + fields + "\r\n";
}

std::size_t lines_of(std::string const& message, std::string const& name) {
    std::size_t count = 0;
    auto head = message.substr(0, message.find("\r\n\r\n") + 2);
    for (auto at = head.find("\r\n"); at != head.npos && at + 2 < head.size();
         at = head.find("\r\n", at + 2))
        count +=
            equal_ignoring_case(std::string_view(head).substr(at + 2, name.size() + 1), name + ":");
    return count;
}

} // namespace

TEST_CASE("forwarding: a request as a whole") {
    CHECK(forwarded("GET /a/b?c=d HTTP/1.1\r\nHost: A.example:8080\r\nuser-agent: x\r\nX-B: 1\r\n"
                    "Accept: */*\r\nX-B: 2\r\n\r\n") ==
          "GET /a/b?c=d HTTP/1.1\r\nHost: A.example:8080\r\nuser-agent: x\r\nX-B: 1\r\n"
          "Accept: */*\r\nX-B: 2\r\nX-Real-IP: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\n"
          "X-Forwarded-Proto: http\r\nX-Forwarded-Host: A.example:8080\r\nX-Forwarded-Port: "
          "443\r\n\r\n");
}

TEST_CASE("forwarding: Host") {
    CHECK(has_line(forwarded(get), "Host: a.example"));
    proxy_options upstreams;
    upstreams.preserve_host = false;
    auto got = forwarded(get, upstreams);
    CHECK(has_line(got, "Host: localhost")); // of a Unix socket
    CHECK(lines_of(got, "Host") == 1);
    CHECK(has_line(got, "X-Forwarded-Host: a.example"));
    // A client of HTTP/1.0 may send none.
    CHECK(has_line(forwarded("GET / HTTP/1.0\r\n\r\n"), "Host: localhost"));
    // The authority of an absolute target is in its place.
    got = forwarded("GET http://B.example:81/x HTTP/1.1\r\nHost: b.example:81\r\n\r\n");
    CHECK(got.starts_with("GET /x HTTP/1.1\r\nHost: B.example:81\r\n"));
    CHECK(lines_of(got, "Host") == 1);
}

TEST_CASE("forwarding: fields that end here") {
    for (auto line :
         {"Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
          "TE: trailers", "Trailer: X", "HTTP2-Settings: AAMAAABkAAQ", "Upgrade: h2c",
          "Proxy-Authorization: Basic eDp5", "Proxy: http://evil.example", "under_score: x",
          "PROXY: http://evil.example", "Proxy-Authenticate: Basic"}) {
        CAPTURE(line);
        auto name = std::string(line).substr(0, std::string(line).find(':'));
        CHECK(lines_of(forwarded(with(line + "\r\n"s)), name) == 0);
    }
    auto got = forwarded(
        with("X-Hop: 1\r\nConnection: close, x-hop ,X-Other\r\nX-Other: 2\r\nX-End: 3\r\n"));
    CHECK(lines_of(got, "X-Hop") == 0);
    CHECK(lines_of(got, "X-Other") == 0);
    CHECK(lines_of(got, "Connection") == 0);
    CHECK(has_line(got, "X-End: 3"));
}

TEST_CASE("forwarding: fields that a client cannot have removed") {
    auto const name = GENERATE(
        values<std::string>({"Authorization", "Cookie", "Content-Length", "Host", "X-Request-Id"}));
    CAPTURE(name);
    auto got = forwarded("POST / HTTP/1.1\r\nHost: a.example\r\nAuthorization: x\r\nCookie: x=y\r\n"
                         "X-Request-Id: 7\r\nContent-Length: 2\r\nConnection: " +
                         name + "\r\n\r\nxy");
    for (auto line : {"Host: a.example", "Authorization: x", "Cookie: x=y", "X-Request-Id: 7",
                      "Content-Length: 2"})
        CHECK(has_line(got, line));
    CHECK(content_of(got) == "xy");
    // What tells of the client is ours, nominated or not.
    for (auto ours : {"X-Forwarded-For", "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host",
                      "X-Forwarded-Port"})
        CHECK(lines_of(forwarded(with("Connection: "s + ours + "\r\n")), ours) == 1);
}

TEST_CASE("forwarding: what a client claims to be is overwritten") {
    auto const claims =
        "X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: https\r\n"
        "X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nForwarded: for=6.6.6.6\r\n"s;
    struct row {
        forwarded_fields how;
        std::vector<std::string> lines;
        std::size_t xs, forwardeds;
    };
    auto const r = GENERATE(values<row>({
        {forwarded_fields::none, {}, 0, 0},
        {forwarded_fields::x_forwarded,
         {"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http"},
         1,
         0},
        {forwarded_fields::rfc7239,
         {"Forwarded: for=192.0.2.1;proto=http;host=\"a.example\""},
         0,
         1},
        {forwarded_fields::both,
         {"X-Real-IP: 192.0.2.1", "Forwarded: for=192.0.2.1;proto=http;host=\"a.example\""},
         1,
         1},
    }));
    proxy_options o;
    o.forwarded = r.how;
    auto got = forwarded(with(claims), o);
    CHECK(got.find("6.6.6.6") == got.npos);
    CHECK(got.find("evil") == got.npos);
    for (auto const& line : r.lines)
        CHECK(has_line(got, line));
    for (auto x : {"X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
                   "X-Forwarded-Port"})
        CHECK(lines_of(got, x) == r.xs);
    CHECK(lines_of(got, "Forwarded") == r.forwardeds);
}

TEST_CASE("forwarding: what a stage sets is sent, and only once") {
    scripted_server upstream;
    auto stage = [](exchange& x, exchange::next next) -> awaitable<> {
        x.set_client_address("2001:db8::7");
        x.request.set("X-Forwarded-Proto", "https");
        x.request.set("X-Hop", "set here");
        x.request.erase("Accept");
        return next(x);
    };
    proxy_options o;
    o.forwarded = forwarded_fields::both;
    session client(http() | stage | proxy_to(upstream.url(), o));
    client.send(with("Connection: X-Hop\r\nX-Hop: the client's\r\nAccept: x\r\n"));
    auto up = upstream.accept();
    REQUIRE(up);
    auto got = up->take();
    CHECK(has_line(got, "X-Real-IP: 2001:db8::7"));
    CHECK(has_line(got, "X-Forwarded-Proto: https"));
    CHECK(lines_of(got, "X-Forwarded-Proto") == 1);
    CHECK(got.find("Forwarded: for=\"[2001:db8::7]\";proto=") != got.npos);
    CHECK(has_line(got, "X-Hop: set here"));
    CHECK(lines_of(got, "X-Hop") == 1);
    CHECK(lines_of(got, "Accept") == 0);
}

TEST_CASE("forwarding: Via and loops") {
    CHECK(lines_of(forwarded(get), "Via") == 0);
    proxy_options o;
    o.via = "edge";
    CHECK(has_line(forwarded(get, o), "Via: 1.1 edge"));
    CHECK(has_line(forwarded("GET / HTTP/1.0\r\n\r\n", o), "Via: 1.0 edge"));
    auto got = forwarded(with("Via: 1.0 fred, 1.1 edges (edge)\r\n"), o);
    CHECK(got.find("\r\nVia: 1.0 fred, 1.1 edges (edge)\r\nVia: 1.1 edge\r\n") != got.npos);
    for (auto hops :
         {"1.1 edge", "1.0 fred, 1.1 edge", "HTTP/1.1 edge (comment)", "1.1 edge ,1.0 x"})
        CHECK(forwarded(with("Via: "s + hops + "\r\n"), o).starts_with("(nothing) HTTP/1.1 508 "));
    CHECK(forwarded(with("Via: 1.1 a\r\nVia: 1.1 edge\r\n"), o)
              .starts_with("(nothing) HTTP/1.1 508 "));
}

TEST_CASE("forwarding: Max-Forwards") {
    auto options = [](std::string const& fields) {
        return "OPTIONS / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
    };
    auto here = forwarded(options("Max-Forwards: 0\r\n"));
    CHECK(here.starts_with("(nothing) HTTP/1.1 204 "));
    CHECK(here.find("\r\nAllow: GET, ") != here.npos);
    auto got = forwarded(options("Max-Forwards: 7\r\n"));
    CHECK(has_line(got, "Max-Forwards: 6"));
    CHECK(lines_of(got, "Max-Forwards") == 1);
    CHECK(lines_of(forwarded(options("")), "Max-Forwards") == 0);
    CHECK(forwarded("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("OPTIONS * HTTP/1.1\r\n"));
}

TEST_CASE("forwarding: the target") {
    auto target = [](std::string const& raw, path_form form = path_form::canonical) {
        proxy_options o;
        o.path = form;
        auto got = forwarded("GET " + raw + " HTTP/1.1\r\nHost: a\r\n\r\n", o);
        return got.substr(0, got.find(" HTTP/"));
    };
    CHECK(target("/a/./b/../c//d?x=[1]&y=%zz") == "GET /a/c/d?x=[1]&y=%zz");
    CHECK(target("/a%2fb%41") == "GET /a%2FbA");
    CHECK(target("/a?") == "GET /a?");
    CHECK(target("/a/./b/../c//d?x", path_form::as_sent) == "GET /a/./b/../c//d?x");
    CHECK(target("http://a/") == "GET /");
    CHECK(target("http://a") == "GET /");
}

TEST_CASE("forwarding: a prefix is replaced by the path of the URL") {
    scripted_server upstream;
    auto to = [&](std::string const& path) { return "http://" + upstream.where() + ":" + path; };
    auto const [target, sent] = GENERATE(table<char const*, char const*>({
        {"/keep/x?q", "/keep/x?q"},
        {"/app/x/y?q=1", "/x/y?q=1"},
        {"/app/", "/"},
        {"/deep/x", "/a/b/x"},
        {"/deep/%2e%2e/app/x", "/x"},
        {"/deep/x%20y", "/a/b/x%20y"},
    }));
    session client(http() | routes(at("/keep/") | proxy_to("http://" + upstream.where()),
                                   at("/app/") | proxy_to(to("/")),
                                   at("/deep/") | proxy_to(to("/a/b/"))));
    client.send("GET "s + target + " HTTP/1.1\r\nHost: a\r\n\r\n");
    auto up = upstream.accept();
    REQUIRE(up);
    CHECK(up->take().starts_with("GET "s + sent + " HTTP/1.1\r\n"));
}

TEST_CASE("forwarding: bodies") {
    // Of a known length, with the head and behind it.
    CHECK(content_of(forwarded(post("hello"))) == "hello");
    CHECK(has_line(forwarded(post("")), "Content-Length: 0"));
    CHECK(lines_of(forwarded(get), "Content-Length") == 0);
    proxied p;
    auto text = post("hello, world");
    auto up = p.ask(text.substr(0, text.size() - 7));
    REQUIRE(up);
    CHECK(content_of(up->take()) == "hello");
    p.client.send(", wo");
    CHECK(up->take() == ", wo");
    p.client.send("rld");
    CHECK(up->take() == "rld");
    p.answer(up, ok("done"));
    CHECK(content_of(p.got()) == "done");

    // In chunks: made anew, extensions and trailers dropped.
    p.client.send(
        "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n03;x=y\r\nabc\r\n");
    auto got = up->take();
    CHECK(has_line(got, "Transfer-Encoding: chunked"));
    CHECK(lines_of(got, "Content-Length") == 0);
    CHECK(content_of(got) == "3\r\nabc\r\n");
    for (char c : "2\r\nde\r\n1\r\nf\r\n0\r\nX-Sum: 1\r\n\r\n"s)
        p.client.send(std::string(1, c));
    CHECK(up->take() == "1\r\nd\r\n1\r\ne\r\n1\r\nf\r\n0\r\n\r\n");
    p.answer(up, ok("done"));
    CHECK(content_of(p.got()) == "done");
    CHECK_FALSE(p.client.saw_end());
}

TEST_CASE("forwarding: Expect") {
    auto const ask =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"s;
    proxied p;
    auto up = p.ask(ask);
    REQUIRE(up);
    auto got = up->take();
    CHECK(has_line(got, "Expect: 100-continue"));
    CHECK(content_of(got).empty());
    CHECK(p.got().empty()); // nobody says 100 but the upstream
    SECTION("that says go on") {
        p.answer(up, "HTTP/1.1 100 Continue\r\n\r\n");
        CHECK(p.got() == "HTTP/1.1 100 Continue\r\n\r\n");
        p.client.send("hello");
        CHECK(up->take() == "hello");
        p.answer(up, ok("thanks"));
        CHECK(content_of(p.got()) == "thanks");
        CHECK_FALSE(p.client.saw_end());
    }
    SECTION("that refuses") {
        p.answer(up, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        got = p.got();
        CHECK(got.starts_with("HTTP/1.1 413 "));
        CHECK(has_line(got, "Connection: close")); // nobody knows whether the body comes
        CHECK(p.client.saw_end());
        CHECK((up->saw_end() || up->saw_reset()));
    }
    SECTION("of a client that does not wait") {
        p.client.send("hello");
        CHECK(up->take() == "hello");
        p.answer(up, ok("thanks"));
        CHECK(content_of(p.got()) == "thanks");
        CHECK_FALSE(p.client.saw_end());
    }
}

TEST_CASE("forwarding: a path that a stage sets is sent, also where paths go as they came") {
    auto form = GENERATE(path_form::canonical, path_form::as_sent);
    auto change = [](exchange& x, exchange::next next) -> awaitable<> {
        x.request.set_path("/inside/%61");
        return next(x);
    };
    scripted_server upstream;
    session client(http() | change | proxy_to(upstream.url(), {.path = form}));
    client.send("GET /outside?q=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    auto up = upstream.accept();
    REQUIRE(up);
    CHECK(up->take().starts_with("GET /inside/a?q=1 HTTP/1.1\r\n"));
}
