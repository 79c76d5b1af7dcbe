#include "catch.hpp"

#include <relais/route/match.hpp>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace relais;
using outcome = route_match::outcome;

// The rule that wins, as it is written, or what happens instead.
std::string winner(route_table const& table, std::string_view path, std::string_view host = {},
                   verb method = verb::get) {
    auto const match = table.find(path, host, method);
    switch (match.what) {
    case outcome::found: return table.rules()[match.rule].describe();
    case outcome::redirect: return "301 " + table.rules()[match.rule].describe();
    case outcome::not_found: return "404";
    case outcome::method_not_allowed: return "405 " + std::string(table.allow(match));
    case outcome::path_too_long: return "414";
    case outcome::too_complex: return "400";
    }
    return "?";
}

struct row {
    std::string path, expected;
    std::string host{};
    verb method = verb::get;
};

void check_rows(route_table const& table, std::vector<row> const& rows) {
    CHECK(table.problems().empty());
    for (auto const& r : rows) {
        INFO(r.path << " " << r.host << " " << r.method);
        CHECK(winner(table, r.path, r.host, r.method) == r.expected);
    }
}

} // namespace

TEST_CASE("rules win in nginx's order", "[route]") {
    // Each row was asked of nginx 1.22 as well, with locations in the place of rules.
    route_table const table({
        "/",
        "/docs",
        "/docs/deep/",
        exact("/docs/exact"),
        prefix("/images/"),
        "/images/raw/",
        prefix("/img"),
        "/img/deep",
        pattern(R"(\.php$)"),
        pattern(R"(\.(gif|jpg|jpeg)$)", icase),
        pattern(R"(^/docs/.*\.gif$)"),
        exact("/"),
    });
    std::string const php = R"x(at(pattern(R"(\.php$)")))x";
    std::string const gif = R"x(at(pattern(R"(\.(gif|jpg|jpeg)$)", icase)))x";
    check_rows(table, {
                          {"/", R"(at(exact("/")))"},
                          {"/x", R"(at("/"))"},
                          {"/doc", R"(at("/"))"},
                          {"/docs", R"(at("/docs"))"},
                          {"/docsx", R"(at("/docs"))"},
                          {"/docs/", R"(at("/docs"))"},
                          {"/docs/exact", R"(at(exact("/docs/exact")))"},
                          {"/docs/exact/", R"(at("/docs"))"},
                          {"/docs/exactly", R"(at("/docs"))"},
                          {"/docs/deep/x", R"(at("/docs/deep/"))"},
                          {"/docs/x.gif", gif},
                          {"/docs/x.GIF", gif},
                          {"/docs/deep/x.php", php},
                          {"/docs/x.PHP", R"(at("/docs"))"},
                          {"/x.php", php},
                          {"/x.php/y", R"(at("/"))"},
                          {"/images/x.gif", R"(at(prefix("/images/")))"},
                          {"/images/x.php", R"(at(prefix("/images/")))"},
                          {"/img/x.php", R"(at(prefix("/img")))"},
                          {"/img/deep/x.php", php},
                          {"/img/deep/x", R"(at("/img/deep"))"},
                          {"/images/raw/x.gif", gif},
                          {"/images/raw/x", R"(at("/images/raw/"))"},
                      });
}

TEST_CASE("the first pattern in the order written wins", "[route]") {
    route_table const table({pattern("b"), pattern("a"), pattern("^/a"), "/ab"});
    check_rows(table, {
                          {"/ab", R"x(at(pattern(R"(b)")))x"},
                          {"/ba", R"x(at(pattern(R"(b)")))x"},
                          {"/a", R"x(at(pattern(R"(a)")))x"},
                          {"/c", "404"},
                      });
}

TEST_CASE("a path that lacks only the final slash is redirected", "[route]") {
    // Asked of nginx 1.22 too: patterns do not come before it, exact and prefix rules of that very path do.
    route_table const table({
        "/tomcat/",
        pattern("^/tomcat$"),
        prefix("/caret/"),
        exact("/exact/"),
        "/has/",
        "/has",
        "/hasx/",
        exact("/hasx"),
        "/strong/",
        prefix("/strong"),
        "/deep/er/",
        "/",
        "/a/",
        "/a-b/",
        "/a.b/",
        "/a/b/c/",
    });
    check_rows(table, {
                          {"/tomcat", R"(301 at("/tomcat/"))"},
                          {"/tomcat/", R"(at("/tomcat/"))"},
                          {"/tomcat/x", R"(at("/tomcat/"))"},
                          {"/tomcatx", R"(at("/"))"},
                          {"/caret", R"(301 at(prefix("/caret/")))"},
                          {"/exact", R"(at("/"))"},
                          {"/exact/", R"(at(exact("/exact/")))"},
                          {"/has", R"(at("/has"))"},
                          {"/hasx", R"(at(exact("/hasx")))"},
                          {"/hasx/", R"(at("/hasx/"))"},
                          {"/strong", R"(at(prefix("/strong")))"},
                          {"/deep", R"(at("/"))"},
                          {"/deep/", R"(at("/"))"},
                          {"/deep/er", R"(301 at("/deep/er/"))"},
                          {"/a", R"(301 at("/a/"))"},
                          {"/a-b", R"(301 at("/a-b/"))"},
                          {"/a.b", R"(301 at("/a.b/"))"},
                          {"/a/b/c", R"(301 at("/a/b/c/"))"},
                          {"/a/b", R"(at("/a/"))"},
                          {"/", R"(at("/"))"},
                      });
    route_table const alone({"/only/"});
    check_rows(
        alone,
        {{"/only", R"(301 at("/only/"))"}, {"/", "404"}, {"/onl", "404"}, {"/onlyx", "404"}});
    route_table const with_method({matcher("/m/").method(verb::get)});
    check_rows(with_method,
               {{"/m", R"(301 at("/m/").method(GET))"}, {"/m", "405 GET, HEAD", "", verb::post}});
}

TEST_CASE("the length of what a prefix took is told", "[route]") {
    route_table const table({"/", "/tomcat/", prefix("/img"), exact("/x"), pattern("php")});
    CHECK(table.find("/tomcat/a", "", verb::get).length == 8);
    CHECK(table.find("/a", "", verb::get).length == 1);
    CHECK(table.find("/img/a", "", verb::get).length == 4);
    CHECK(table.find("/x", "", verb::get).length == 2);
    CHECK(table.find("/a.php", "", verb::get).length == route_match::no_prefix);
    CHECK(table.find("/tomcat", "", verb::get).length == route_match::no_prefix);
    CHECK(table.find("/img/a", "", verb::get).kind == route_kind::strong_prefix);
    CHECK(table.find("/a.php", "", verb::get).kind == route_kind::pattern);
}

TEST_CASE("a request sees the rules of one host", "[route]") {
    route_table const table({
        "/",
        exact("/health"),
        matcher("/").host("a.example"),
        matcher("/api/").host("A.Example", "b.example"),
        matcher("/").host("*.example"),
        exact("/only").host("c.example"),
        matcher("/").host("*.deep.example"),
        pattern("php$").host("a.example"),
        matcher("/").host("[::1]"),
    });
    std::string const a = R"(at("/").host("a.example"))";
    std::string const any = R"(at("/"))";
    std::string const wild = R"(at("/").host("*.example"))";
    check_rows(table, {
                          {"/", any},
                          {"/x.php", any, "other.org"},
                          {"/", any, "example"},
                          {"/", any, "notexample"},
                          {"/", any, "10.0.0.1"},
                          {"/health", R"(at(exact("/health")))"},
                          {"/", a, "a.example"},
                          {"/", a, "a.example."},
                          {"/health", a, "a.example"},
                          {"/api/x", R"(at("/api/").host("a.example", "b.example"))", "a.example"},
                          {"/api/x", R"(at("/api/").host("a.example", "b.example"))", "b.example"},
                          {"/", "404", "b.example"},
                          {"/x.php", R"x(at(pattern(R"(php$)")).host("a.example"))x", "a.example"},
                          {"/x.php", wild, "d.example"},
                          {"/", wild, "d.example"},
                          {"/", wild, "x.a.example"},
                          {"/", wild, "deep.example"},
                          {"/", R"(at("/").host("*.deep.example"))", "x.deep.example"},
                          {"/", R"(at("/").host("*.deep.example"))", "y.x.deep.example"},
                          {"/", "404", "c.example"},
                          {"/only", R"(at(exact("/only")).host("c.example"))", "c.example"},
                          {"/", R"(at("/").host("::1"))", "::1"},
                          {"/", any, ".example"},
                          {"/", any, "."},
                      });
    route_table const hosts_only({matcher("/").host("a.example")});
    check_rows(hosts_only, {{"/", "404"},
                            {"/", "404", "b.example"},
                            {"/", R"(at("/").host("a.example"))", "a.example"}});
}

TEST_CASE("the path decides before the method", "[route]") {
    route_table const table({
        "/",
        matcher("/admin/").method(verb::get),
        matcher("/api").method(verb::get, verb::post),
        matcher("/api").method(verb::delete_),
        matcher("/rest").method(verb::put),
        matcher("/rest"),
        matcher("/head").method(verb::get),
        matcher("/head").method(verb::head),
        exact("/post").method(verb::post),
        pattern("x$").method(verb::get),
        pattern("x$").method(verb::patch),
        pattern("^/abc/x").method(verb::post),
    });
    check_rows(table, {
                          {"/admin/", R"(at("/admin/").method(GET))"},
                          {"/admin/", R"(at("/admin/").method(GET))", "", verb::head},
                          {"/admin/", "405 GET, HEAD", "", verb::delete_},
                          {"/admin/", "405 GET, HEAD", "", verb::options},
                          {"/admin/", "405 GET, HEAD", "", verb::unknown},
                          {"/api", R"(at("/api").method(GET, POST))", "", verb::post},
                          {"/api", R"(at("/api").method(DELETE))", "", verb::delete_},
                          {"/api", "405 DELETE, GET, HEAD, POST", "", verb::put},
                          {"/rest", R"(at("/rest").method(PUT))", "", verb::put},
                          {"/rest", R"(at("/rest"))", "", verb::get},
                          {"/rest", R"(at("/rest"))", "", verb::unknown},
                          {"/head", R"(at("/head").method(HEAD))", "", verb::head},
                          {"/head", R"(at("/head").method(GET))", "", verb::get},
                          {"/post", "405 POST", "", verb::get},
                          {"/x", R"x(at(pattern(R"(x$)")).method(PATCH))x", "", verb::patch},
                          {"/abc/x", "405 GET, HEAD, PATCH", "", verb::post},
                          {"/y", R"(at("/"))", "", verb::delete_},
                      });
    CHECK(table.allow(table.find("/", "", verb::get)).empty());
}

TEST_CASE("patterns see the ends of the path only", "[route]") {
    route_table const table(
        {pattern("^/b"), pattern("c$"), pattern("^/only$"), pattern("é", icase)});
    check_rows(table, {
                          {"/a\n/b", "404"},
                          {"/c\nd", "404"},
                          {"/only\n", "404"},
                          {"/b", R"x(at(pattern(R"(^/b)")))x"},
                          {"/only", R"x(at(pattern(R"(^/only$)")))x"},
                          {"/\xc3\xa9", "at(pattern(R\"(\xc3\xa9)\", icase))"},
                      });
}

TEST_CASE("a hostile path does not stall a pattern, and does not pass it", "[route]") {
    std::string const many_a = "/" + std::string(2000, 'a') + "!";
    for (char const* expression : {"(a*)*b", "([a-z]+)*[0-9]$", "(((a*)*)*)*$x", "(.*)(.*)(.*)x",
                                   "(?:a?){30}a{30}[0-9]", "(a)(?=.*\\1.*b)", "(a|b|ab)*c"}) {
        INFO(expression);
        route_table const table({"/", pattern(expression)});
        CHECK(table.problems().empty());
        CHECK(winner(table, many_a) == "400");
        CHECK(table.find(many_a, "", verb::get).rule == 1);
        CHECK(table.find(many_a, "", verb::get).reason() == end_reason::bad_target);
        CHECK(winner(table, "/") != "400");
    }
    // What ordinary patterns take for a long path is within the limit.
    route_table const usual({"/", pattern(R"(\.php$)"), pattern(R"(^/api/v[0-9]+/(.*)/edit$)"),
                             pattern(R"(\.(?:png|jpe?g|gif|css|js)$)", icase)});
    CHECK(winner(usual, many_a) == R"(at("/"))");
}

TEST_CASE("what people write is asked to the end about a path with a token in it", "[route]") {
    // Each of them takes the square of the longest segment.
    for (auto const* expression : {R"(\w+\.(js|css)$)", R"([^/]+\.php$)", "[^/]+$"}) {
        INFO(expression);
        route_table const table({"/", pattern(expression)});
        std::string const token(800, 'a');
        CHECK(winner(table, "/" + token + "/") == R"(at("/"))");
        CHECK(winner(table, "/" + token + "/x.js") != "400");
    }
}

TEST_CASE("patterns are not asked about more of a path than they may see", "[route]") {
    route_table const table({"/", exact("/e"), prefix("/s/"), pattern(R"(\.php$)")});
    std::string const most = "/" + std::string(pattern_path_limit - 5, 'a') + ".php";
    REQUIRE(most.size() == pattern_path_limit);
    CHECK(winner(table, most) == R"x(at(pattern(R"(\.php$)")))x");
    CHECK(winner(table, "/a" + most.substr(1)) == "414");
    CHECK(table.find("/a" + most.substr(1), "", verb::get).reason() == end_reason::target_too_long);
    CHECK(winner(table, "/s" + most) == R"(at(prefix("/s/")))");
    route_table const without({"/"});
    CHECK(winner(without, most + most) == R"(at("/"))");
}

TEST_CASE("outcomes have reasons", "[route]") {
    route_match match;
    CHECK(match.reason() == end_reason::not_found);
    match.what = outcome::method_not_allowed;
    CHECK(match.reason() == end_reason::method_not_allowed);
    match.what = outcome::found;
    CHECK(match.reason() == end_reason::completed);
    match.what = outcome::redirect;
    CHECK(match.reason() == end_reason::completed);
}

TEST_CASE("an empty table finds nothing", "[route]") {
    route_table const table;
    CHECK(winner(table, "/") == "404");
    CHECK(winner(table, "/", "a.example") == "404");
    table.check();
    CHECK(table.explain("/", "", verb::get) == "GET \"/\": 404, because no rule fits\n");
}

TEST_CASE("mistakes in rules are sentences at start", "[route]") {
    struct mistake {
        std::vector<matcher> rules;
        std::vector<std::string> problems;
    };
    auto const duplicate = [](char const* numbers) {
        return std::string(": the rules ") + numbers +
               " are for the same requests: keep one, or give them hosts or methods of their own";
    };
    std::string const decoded = "paths are decoded before routes are asked: write \"%";
    std::string const dots =
        "dot segments are removed before routes are asked: write the path without";
    std::vector<mistake> const rows{
        {{""}, {R"(at(""): a path begins with a slash: write at("/") for all of them)"}},
        {{"api"}, {R"(at("api"): a path begins with a slash: write "/api")"}},
        {{exact("")},
         {R"(at(exact("")): a path begins with a slash: write at("/") for all of them)"}},
        {{prefix("x/")}, {R"(at(prefix("x/")): a path begins with a slash: write "/x/")"}},
        {{"http://a/"}, {R"(at("http://a/"): a path begins with a slash: write "/http://a/")"}},
        {{"/a//b"},
         {R"(at("/a//b"): repeated slashes are merged before routes are asked: write one)"}},
        {{"/a?b=1"},
         {R"(at("/a?b=1"): routes see the path only: write it without the query and the fragment)"}},
        {{"/a#b"},
         {R"(at("/a#b"): routes see the path only: write it without the query and the fragment)"}},
        {{"/a/../b"}, {R"(at("/a/../b"): )" + dots}},
        {{"/./b"}, {R"(at("/./b"): )" + dots}},
        {{exact("/a/..")}, {R"(at(exact("/a/..")): )" + dots}},
        {{exact("/.")}, {R"(at(exact("/.")): )" + dots}},
        {{"/a%20b"}, {R"(at("/a%20b"): )" + decoded + R"(20" as the character it stands for)"}},
        {{"/a%2fb"},
         {R"(at("/a%2fb"): what stays encoded has upper-case digits: write "%2F", not "%2f")"}},
        {{"/a\nb"},
         {"at(\"/a\nb\"): control bytes stay encoded in paths: write \"%0A\", not the byte"}},
        {{pattern("")},
         {R"x(at(pattern(R"()")): an empty pattern fits every path: write at("/"))x"}},
        {{matcher("/").host("")},
         {R"(at("/").host(""): "" is no host: write a name or "*." and a name)"}},
        {{matcher("/").host(".a")},
         {R"(at("/").host(".a"): ".a" is no host: write a name or "*." and a name)"}},
        {{matcher("/").host("*.")},
         {R"(at("/").host("*."): "*." is no host: write a name or "*." and a name)"}},
        {{matcher("/").host("*")},
         {R"(at("/").host("*"): "*" is no host: a wildcard is the first label: "*.example.com")"}},
        {{matcher("/").host("a.*")},
         {R"(at("/").host("a.*"): "a.*" is no host: a wildcard is the first label: "*.example.com")"}},
        {{matcher("/").host("a.b:80")},
         {R"(at("/").host("a.b:80"): "a.b:80" is no host: write it without the port)"}},
        {{matcher("/").host("a/b")},
         {R"(at("/").host("a/b"): "a/b" is no host: write the name alone, without a scheme or a path)"}},
        {{matcher("/").host("caf\xc3\xa9")},
         {"at(\"/\").host(\"caf\xc3\xa9\"): \"caf\xc3\xa9\" is no host: write it as it is sent, in "
          "its \"xn--\" form"}},
        {{matcher("/").host("a b")},
         {R"(at("/").host("a b"): "a b" is no host: it has a character that no host has, write it without)"}},
        {{matcher("/").method(verb::unknown)},
         {R"(at("/").method(): verb::unknown is no method: leave .method() out to take every method)"}},
        {{"/a", "/a"}, {R"(at("/a"))" + duplicate("1 and 2")}},
        {{exact("/a"), "/", exact("/a")}, {R"(at(exact("/a")))" + duplicate("1 and 3")}},
        {{pattern("a"), pattern("a")}, {R"x(at(pattern(R"(a)")))x" + duplicate("1 and 2")}},
        {{"/a", prefix("/a")},
         {R"(at(prefix("/a")): prefix("/a") and "/a" are the same place: keep one of them)"}},
        {{matcher("/a").method(verb::get, verb::put), matcher("/a").method(verb::put)},
         {R"(at("/a").method(PUT))" + duplicate("1 and 2")}},
        {{matcher("/a").host("a", "b"), matcher("/a").host("b")},
         {R"(at("/a").host("b"))" + duplicate("1 and 2")}},
        {{matcher("/a").host("A"), matcher("/a").host("a")},
         {R"(at("/a").host("a"))" + duplicate("1 and 2")}},
        // several at once
        {{"a", "/b", ""},
         {R"(at("a"): a path begins with a slash: write "/a")",
          R"(at(""): a path begins with a slash: write at("/") for all of them)"}},
        // and what is none
        {{"/", exact("/"), pattern("/"), pattern("/", icase)}, {}},
        {{"/a", matcher("/a").host("a"), matcher("/a").host("*.a")}, {}},
        {{"/a", matcher("/a").method(verb::get)}, {}},
        {{matcher("/a").method(verb::get), matcher("/a").method(verb::head)}, {}},
        {{"/.", "/..", "/.git", exact("/..."), "/a.", "/100%", "/%2F", "/a%0A/", "/a b",
          "/caf\xc3\xa9", "/%zz"},
         {}},
        {{matcher("/").host("a_b.c"), matcher("/").host("[::1]"), matcher("/").host("fe80::2"),
          matcher("/").host("a.b."), matcher("/").host("1.2.3.4")},
         {}},
    };
    for (auto const& r : rows) {
        route_table const table(r.rules);
        CHECK(table.problems() == r.problems);
        if (r.problems.empty()) {
            CHECK_NOTHROW(table.check());
        } else {
            CHECK_THROWS_AS(table.check(), startup_error);
        }
    }
    route_table const bad({pattern("(a"), pattern("[z-a]"), pattern("*")});
    REQUIRE(bad.problems().size() == 3);
    CHECK(bad.problems()[0].starts_with(
        R"x(at(pattern(R"((a)")): the regular expression does not compile behind "(a": )x"));
    // A rule with a mistake is not in the table.
    route_table const partly({"b", "/a"});
    CHECK(winner(partly, "/a") == R"(at("/a"))");
    CHECK(partly.find("/a", "", verb::get).rule == 1);
}

TEST_CASE("a table says why", "[route]") {
    route_table const table({
        "/",
        "/tomcat/",
        prefix("/img/"),
        exact("/x"),
        pattern(R"(\.php$)"),
        matcher("/m").method(verb::get),
        matcher("/m").method(verb::post),
        matcher("/").host("a.example"),
    });
    struct told {
        std::string path, host, sentence;
        verb method = verb::get;
    };
    std::string const php = R"x(at(pattern(R"(\.php$)")))x";
    std::vector<told> const rows{
        {"/x", "", R"(GET "/x": at(exact("/x")) wins: it is equal to the path)"},
        {"/x", "", R"(  at("/") fits, but is no exact rule)"},
        {"/x", "", "  " + php + " was not asked"},
        {"/y", "",
         R"(GET "/y": at("/") wins: it is the longest prefix that fits, and no pattern does)"},
        {"/y", "", R"(  at("/tomcat/") does not fit)"},
        {"/y", "", R"(  at(exact("/x")) is not equal to the path)"},
        {"/y", "", "  " + php + " does not fit"},
        {"/y", "", "  1 rule of other hosts: a request sees the rules of one host only"},
        {"/tomcat/a", "", R"(  at("/") fits, but is shorter)"},
        {"/img/a.php", "",
         R"(GET "/img/a.php": at(prefix("/img/")) wins: it is the longest prefix that fits, and has patterns left out)"},
        {"/img/a.php", "", "  " + php + " was not asked"},
        {"/a.php", "", "GET \"/a.php\": " + php + " wins: it is the first pattern that fits"},
        {"/a.php", "",
         R"(  at("/") fits, but patterns come first: prefix("...") would have left them out)"},
        {"/tomcat", "",
         R"(GET "/tomcat": 301 to "/tomcat/", because at("/tomcat/") lacks only the final slash)"},
        {"/tomcat", "", R"(  at("/") fits, but the missing slash comes first)"},
        {"/tomcat", "", "  " + php + " was not asked"},
        {"/m", "", R"(  at("/m").method(POST) is for other methods)"},
        {"/m", "",
         R"(PUT "/m": 405, because at("/m").method(GET) wins by its path and allows GET, HEAD, POST only)",
         verb::put},
        {"/x", "A.Example",
         R"(GET "/x" at "A.Example": at("/").host("a.example") wins: it is the longest prefix that fits, and no pattern does)"},
        {"/x", "a.example", "  7 rules of other hosts: a request sees the rules of one host only"},
        {"/" + std::string(3000, 'a'), "",
         "because " + php + " has to be asked, and patterns see at most 2048 bytes of a path"},
    };
    for (auto const& r : rows) {
        auto const said = table.explain(r.path, r.host, r.method);
        INFO(said);
        CHECK(said.find(r.sentence + "\n") != said.npos);
    }
    route_table const one({matcher("/a").host("a.example")});
    CHECK(one.explain("/a", "", verb::get).starts_with("GET \"/a\": 404, because no rule fits\n"));
    route_table const slow({pattern("(a*)*b")});
    CHECK(slow.explain("/" + std::string(99, 'a'), "", verb::get)
              .find("400, because at(pattern(R\"((a*)*b)\")) did not come to an end") !=
          std::string::npos);
}

TEST_CASE("look-ups agree with the plainest reading of the rules", "[route]") {
    std::mt19937 random(7);
    auto const path = [&random](std::size_t pieces) {
        static char const* const all[] = {"/a", "/b", "a", "-", ".", "/", "/ab"};
        std::string made = "/";
        for (; pieces != 0; --pieces) {
            std::string_view piece = all[random() % std::size(all)];
            if (made.back() == '/' && piece.front() == '/')
                piece.remove_prefix(1);
            made += piece;
        }
        return made;
    };
    for (int round = 0; round < 300; ++round) {
        std::vector<matcher> rules;
        std::vector<std::string> seen;
        for (int i = 0; i < 12; ++i) {
            auto const text = path(random() % 4);
            bool const is_exact = random() % 4 == 0;
            auto const key = (is_exact ? "=" : "") + text;
            if (text.find("/./") != text.npos || text.find("/../") != text.npos ||
                (is_exact && (text.ends_with("/.") || text.ends_with("/.."))) ||
                std::find(seen.begin(), seen.end(), key) != seen.end())
                continue;
            seen.push_back(key);
            rules.push_back(is_exact            ? exact(text)
                            : random() % 4 == 0 ? prefix(text)
                                                : matcher(text));
        }
        rules.push_back(pattern("b$"));
        route_table const table(rules);
        REQUIRE(table.problems().empty());
        for (int i = 0; i < 60; ++i) {
            auto const asked = path(random() % 5);
            std::string expected = "404";
            matcher const* longest = nullptr;
            bool here = false, redirect = false;
            for (auto const& m : rules) {
                if (m.kind() == route_kind::exact && m.text() == asked)
                    expected = m.describe();
                if (m.kind() == route_kind::exact || m.kind() == route_kind::pattern)
                    continue;
                here |= m.text() == asked;
                if (asked.starts_with(m.text()) &&
                    (longest == nullptr || m.text().size() > longest->text().size()))
                    longest = &m;
            }
            if (expected == "404" && !here)
                for (auto const& m : rules)
                    if (m.kind() != route_kind::exact && m.text() == asked + "/") {
                        expected = "301 " + m.describe();
                        redirect = true;
                    }
            if (expected == "404" && !redirect) {
                if (longest != nullptr)
                    expected = longest->describe();
                if ((longest == nullptr || longest->kind() != route_kind::strong_prefix) &&
                    asked.ends_with('b'))
                    expected = rules.back().describe();
            }
            INFO(asked);
            REQUIRE(winner(table, asked) == expected);
        }
    }
}
