#include "catch.hpp"
#include "served.hpp"

#include <relais/middleware/redirect.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/route/routes.hpp>

#include <string>
#include <vector>

namespace {

using namespace relais;
using relais::testing::serve;

template <class Stage>
std::string why_not(Stage const& s) {
    try {
        s.prepare();
    } catch (startup_error const& e) {
        return e.what();
    }
    return "";
}

} // namespace

TEST_CASE("respond answers always the same", "[respond]") {
    auto const plain = serve(stage(respond(200, "ok\n")), "GET", "/");
    CHECK(plain.status == 200);
    CHECK(plain.body == "ok\n");
    CHECK(plain["Content-Type"] == "text/plain; charset=utf-8");
    auto const empty = serve(stage(respond(204)), "GET", "/");
    CHECK(empty.status == 204);
    CHECK(empty["Content-Type"] == "(none)");
    CHECK(empty["Content-Length"] == "(none)");
    auto const more = serve(stage(respond(status::service_unavailable, "{}",
                                          {{"content-type", "application/json"},
                                           {"Retry-After", "60"},
                                           {"Set-Cookie", "a=1"},
                                           {"Set-Cookie", "b=2"}})),
                            "POST", "/");
    CHECK(more.status == 503);
    CHECK(more["Content-Type"] == "application/json");
    CHECK(more["Retry-After"] == "60");
    CHECK(more.all("Set-Cookie") == std::vector<std::string>{"a=1", "b=2"});
    auto const head = serve(stage(respond(200, "ok\n")), "HEAD", "/");
    CHECK(head.body.empty());
    CHECK(head["Content-Length"] == "3");
}

TEST_CASE("answers that cannot be sent are refused at start", "[respond]") {
    CHECK(why_not(respond(101)) ==
          "respond(101): it is no final status: write one from 200 to 599");
    CHECK(why_not(respond(600)) ==
          "respond(600): it is no final status: write one from 200 to 599");
    CHECK(why_not(respond(204, "x")) ==
          "respond(204): this status has no content: leave the body out or write 200");
    CHECK(why_not(respond(304, "x")) ==
          "respond(304): this status has no content: leave the body out or write 200");
    CHECK(why_not(respond(200, "x", {{"Content-Length", "1"}})) ==
          "respond(200): \"Content-Length\" belongs to the connection: leave it out");
    CHECK(why_not(respond(200, "x", {{"transfer-encoding", "chunked"}})) ==
          "respond(200): \"transfer-encoding\" belongs to the connection: leave it out");
    CHECK(why_not(respond(200, "x", {{"X-A", "a\r\nb"}})).starts_with("respond(200): "));
    CHECK(why_not(respond(200, "x", {{"X A", "a"}})).starts_with("respond(200): "));
    CHECK(why_not(respond(299, "x", {{"X-A", "a"}})).empty());
}

TEST_CASE("redirect sends clients elsewhere", "[redirect]") {
    auto const fixed = serve(stage(redirect("https://new.example/x?y")), "GET", "/a?b");
    CHECK(fixed.status == 302);
    CHECK(fixed["Location"] == "https://new.example/x?y");
    CHECK(serve(stage(redirect(std::string("/moved"), 308)), "POST", "/").status == 308);
    struct row {
        char const *to, *target, *location;
    };
    for (auto const& r :
         {row{"https://new.example", "/a/b?c=d", "https://new.example/a/b?c=d"},
          row{"https://new.example/", "/a/b", "https://new.example/a/b"},
          row{"https://new.example/n", "/", "https://new.example/n/"},
          row{"https://new.example", "//evil.example/x", "https://new.example/evil.example/x"},
          row{"/", "//evil.example", "/evil.example"}, row{"/n", "/a%20b?", "/n/a%20b?"}}) {
        INFO(r.to << " " << r.target);
        CHECK(serve(stage(redirect({.to = r.to, .status = 301, .keep_path = true})), "GET",
                    r.target)["Location"] == r.location);
    }
    // Under a prefix, what follows it.
    auto const app =
        routes(at("/old/") | redirect({.to = "https://new.example", .keep_path = true}),
               at("/bare") | redirect({.to = "https://new.example", .keep_path = true}),
               at("/in/") | redirect({.to = "/out/", .keep_path = true}));
    CHECK(serve(app, "GET", "/old/x?y")["Location"] == "https://new.example/x?y");
    CHECK(serve(app, "GET", "/old/")["Location"] == "https://new.example");
    CHECK(serve(app, "GET", "/bare/x")["Location"] == "https://new.example/x");
    CHECK(serve(app, "GET", "/bare.evil.example/x")["Location"] ==
          "https://new.example/.evil.example/x");
    CHECK(serve(app, "GET", "/bare@evil.example/x")["Location"] ==
          "https://new.example/@evil.example/x");
    CHECK(serve(app, "GET", "/in/x")["Location"] == "/out/x");
}

TEST_CASE("redirections that go nowhere are refused at start", "[redirect]") {
    CHECK(why_not(redirect("/x", 200)) == "redirect(\"/x\"): the status is no redirection to one "
                                          "place: write 301, 302, 303, 307 or 308");
    CHECK(why_not(redirect("/x", 304)).find("no redirection") != std::string::npos);
    CHECK(why_not(redirect("x")) == "redirect(\"x\"): write a path that begins with a slash, or a "
                                    "whole URL, \"https://new.example/\"");
    CHECK(why_not(redirect("")).find("begins with a slash") != std::string::npos);
    CHECK(why_not(redirect("/a b")).find("percent-encode") != std::string::npos);
    CHECK(why_not(redirect("/a\r\nX: y")).find("percent-encode") != std::string::npos);
    CHECK(why_not(redirect({.to = "/a?b", .keep_path = true})).find("cannot be appended") !=
          std::string::npos);
    CHECK(why_not(redirect("/a?b#c", 307)).empty());
    CHECK(why_not(redirect_to_https({.port = 0})).starts_with("redirect_to_https(): "));
    CHECK(why_not(redirect_to_https()).empty());
}

TEST_CASE("redirect_to_https keeps host, path and query", "[redirect]") {
    auto const chain = stage(redirect_to_https());
    struct row {
        char const *method, *target, *host;
        unsigned status;
        char const* location;
    };
    for (auto const& r :
         {row{"GET", "/", "a.example", 301, "https://a.example/"},
          row{"HEAD", "/x", "a.example", 301, "https://a.example/x"},
          row{"POST", "/x?y=z", "a.example:80", 308, "https://a.example/x?y=z"},
          row{"PUT", "/x?", "A.Example:8080", 308, "https://a.example/x?"},
          row{"GET", "//evil/../a%7eb", "a.example", 301, "https://a.example/a~b"},
          row{"GET", "/", "[::1]:80", 301, "https://[::1]/"},
          row{"GET", "http://b.example/q", "b.example", 301, "https://b.example/q"}}) {
        INFO(r.target << " " << r.host);
        auto const answer = serve(chain, r.method, r.target, "", r.host);
        CHECK(answer.status == r.status);
        CHECK(answer["Location"] == r.location);
    }
    CHECK(serve(stage(redirect_to_https({.port = 8443})), "GET", "/x", "",
                "a.example:8080")["Location"] == "https://a.example:8443/x");
}
