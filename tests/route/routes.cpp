#include "catch.hpp"
#include "served.hpp"

#include <relais/middleware/respond.hpp>
#include <relais/route/routes.hpp>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace relais;
using relais::testing::serve;

// Says which branch it ends and how much of the path its prefix took.
auto told(std::string name) {
    return stage([name](exchange& x) -> awaitable<> {
        auto const taken = x.matched_prefix();
        x.respond(200,
                  name + " " + (taken == std::string_view::npos ? "-" : std::to_string(taken)));
        co_return;
    });
}

awaitable<> stamp(exchange& x, exchange::next next) {
    co_await next(x);
    x.response.set("X-Stamp", "1");
}

// A terminal that replaces the prefix, as proxies do.
class replacing {
public:
    awaitable<> operator()(exchange& x) const {
        x.respond(204);
        co_return;
    }
    void prepare_at(matcher const& rule) const {
        if (rule.kind() == route_kind::pattern)
            throw startup_error("replacing() has no prefix to replace");
    }
};

class failing {
public:
    awaitable<> operator()(exchange& x) const {
        x.respond(204);
        co_return;
    }
    void prepare() const { throw startup_error("failing() fails"); }
};

std::string why_not(routes const& r) {
    try {
        r.prepare();
    } catch (startup_error const& e) {
        return e.what();
    }
    return "";
}

} // namespace

TEST_CASE("requests go to the branch they belong to", "[routes]") {
    auto const app = routes(at("/") | told("root"), at("/tomcat/") | stamp | told("tomcat"),
                            at(exact("/x")) | told("x"), at(prefix("/img")) | told("img"),
                            at(pattern(R"(\.php$)")) | told("php"), at("/a b/") | told("space"),
                            at("/api").method(verb::post) | told("post"),
                            at("/api").method(verb::get) | told("get"),
                            at("/").host("other.example") | told("other"));
    struct row {
        char const *method, *target;
        unsigned status;
        char const *body, *host = "a.example";
    };
    for (auto const& r : std::vector<row>{
             {"GET", "/", 200, "root 1"},
             {"GET", "/tomcat/x", 200, "tomcat 8"},
             {"GET", "//tomcat/./y/../x?q=/x", 200, "tomcat 8"},
             {"GET", "/%74omcat/", 200, "tomcat 8"},
             {"GET", "/tomcat%2Fx", 200, "root 1"},
             {"GET", "/x", 200, "x 2"},
             {"GET", "/x/../x", 200, "x 2"},
             {"GET", "/img.php", 200, "img 4"},
             {"GET", "/a.php?x=1", 200, "php -"},
             {"GET", "/a?x=.php", 200, "root 1"},
             {"GET", "/a%20b/c", 200, "space 5"},
             {"POST", "/api", 200, "post 4"},
             {"GET", "/api", 200, "get 4"},
             {"GET", "/tomcat/", 200, "other 1", "OTHER.example:8080"},
             {"GET", "/..", 400, nullptr},
             {"GET", "/a/..%2Fb", 400, nullptr},
         }) {
        INFO(r.method << " " << r.target);
        auto const answer = serve(app, r.method, r.target, "", r.host);
        CHECK(answer.status == r.status);
        if (r.body != nullptr)
            CHECK(answer.body == r.body);
    }
    CHECK(serve(app, "GET", "/tomcat/x")["X-Stamp"] == "1");
    CHECK(serve(app, "GET", "/x")["X-Stamp"] == "(none)");
}

TEST_CASE("what no branch answers is answered by the routes", "[routes]") {
    auto const app = routes(at("/tomcat/") | told("tomcat"), at("/a b/") | told("space"),
                            at("/m").method(verb::get, verb::put) | told("m"),
                            at(pattern("(a*)*b")) | told("never"));
    CHECK(serve(app, "GET", "/c").status == 404);
    auto const wrong = serve(app, "DELETE", "/m");
    CHECK(wrong.status == 405);
    CHECK(wrong["Allow"] == "GET, HEAD, PUT");
    CHECK(serve(app, "HEAD", "/m").status == 200);
    CHECK(serve(app, "GET", "/" + std::string(100, 'a')).status == 400);
    CHECK(serve(app, "GET", "/" + std::string(3000, 'c')).status == 414);

    auto const moved = serve(app, "GET", "/tomcat");
    CHECK(moved.status == 301);
    CHECK(moved["Location"] == "/tomcat/");
    CHECK(serve(app, "GET", "/tomcat?a=b&c=?")["Location"] == "/tomcat/?a=b&c=?");
    CHECK(serve(app, "GET", "/tomcat?")["Location"] == "/tomcat/?");
    CHECK(serve(app, "POST", "//x/../tomcat")["Location"] == "/tomcat/");
    CHECK(serve(app, "GET", "/a%20b")["Location"] == "/a%20b/");
    CHECK(serve(routes(), "GET", "/").status == 404);
}

TEST_CASE("routes nest", "[routes]") {
    auto const inner = routes(at("/api/v1/") | told("v1"), at("/api/") | told("api"));
    auto const app = routes(at("/api/") | stamp | inner, at("/") | told("root"));
    auto const answer = serve(app, "GET", "/api/v1/x");
    CHECK(answer.body == "v1 8");
    CHECK(answer["X-Stamp"] == "1");
    CHECK(serve(app, "GET", "/x").body == "root 1");
}

TEST_CASE("branches are added while requests are served", "[routes]") {
    auto app = routes(at("/") | told("root"));
    auto const copy = app;
    CHECK(serve(copy, "GET", "/new").body == "root 1");
    app.add(at("/new") | stamp | told("new"));
    CHECK(serve(copy, "GET", "/new").body == "new 4");
    CHECK(app.explain("/new").starts_with("GET \"/new\": at(\"/new\") wins"));

    // The server has started: mistakes are thrown and leave all as it was.
    CHECK_THROWS_AS(app.add(at("/new") | told("again")), startup_error);
    CHECK_THROWS_AS(app.add(at("no") | told("no")), startup_error);
    CHECK_THROWS_AS(app.add(at("/f") | failing()), startup_error);
    CHECK_THROWS_AS(app.add(at(pattern("f")) | replacing()), startup_error);
    CHECK(serve(copy, "GET", "/f").body == "root 1");
    CHECK(serve(copy, "GET", "/new").body == "new 4");

    auto empty = routes();
    empty.add(at("/a") | told("a"));
    empty.add(at("/b") | told("b"));
    CHECK(serve(empty, "GET", "/a").body == "a 2");
    CHECK(serve(empty, "GET", "/b").body == "b 2");
}

TEST_CASE("look-ups run while branches are added", "[routes]") {
    auto app = routes(at("/") | told("root"));
    app.prepare();
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 2; ++i)
        readers.emplace_back([&app, &done, &wrong] {
            while (!done)
                if (!app.explain("/x").starts_with("GET \"/x\": at(\"/\") wins"))
                    ++wrong;
        });
    for (int i = 0; i < 50; ++i)
        app.add(at("/n" + std::to_string(i)) | told("n"));
    done = true;
    for (auto& t : readers)
        t.join();
    CHECK(wrong == 0);
    CHECK(app.explain("/n49").starts_with("GET \"/n49\": at(\"/n49\") wins"));
}

TEST_CASE("mistakes in routes are told at start, all at once", "[routes]") {
    CHECK(why_not(routes(at("/") | told("a"))).empty());
    CHECK(why_not(routes(at("a") | told("a"), at("/b") | told("b"), at("/b") | told("b"))) ==
          "at(\"a\"): a path begins with a slash: write \"/a\"\n"
          "at(\"/b\"): the rules 2 and 3 are for the same requests: keep one, or give them hosts "
          "or methods of their own");
    CHECK(why_not(routes(at("/") | failing(), at("/x").host("a.b") | stamp | failing())) ==
          "at(\"/\"): failing() fails\nat(\"/x\").host(\"a.b\"): failing() fails");
    CHECK(why_not(routes(at("/p/") | replacing(), at(prefix("/q/")) | replacing(),
                         at(exact("/r")) | replacing()))
              .empty());
    CHECK(why_not(routes(at(pattern("p")) | stamp | replacing())) ==
          "at(pattern(R\"(p)\")): replacing() has no prefix to replace");
    // The stages of a nested one are told of their own rule.
    CHECK(why_not(routes(at("/") | routes(at(pattern("p")) | replacing()))) ==
          "at(\"/\"): at(pattern(R\"(p)\")): replacing() has no prefix to replace");
}

TEST_CASE("branches are told to load their files anew", "[routes]") {
    struct loading {
        explicit loading(std::string w) : why(std::move(w)) {}
        std::string why;
        std::shared_ptr<int> count = std::make_shared<int>();
        awaitable<> operator()(exchange& x, exchange::next next) const { return next(x); }
        void reload() const {
            if (!why.empty())
                throw startup_error(why);
            ++*count;
        }
    };
    loading const fine("");
    routes all(at("/a") | loading("no file") | told("a"), at("/b") | fine | told("b"));
    all.add(at("/c") | loading("no folder") | told("c"));
    all.add(at("/d") | routes(at("/d/e") | fine | told("e")));
    auto const chain = http() | all;
    CHECK(chain.reload() == std::vector<std::string>{"at(\"/a\"): no file\nat(\"/c\"): no folder"});
    CHECK(*fine.count == 2);
}

TEST_CASE("routes explain themselves", "[routes]") {
    auto const app = routes(at("/tomcat/") | told("t"), at("/m").method(verb::put) | told("m"),
                            at("/").host("b.example") | told("b"));
    CHECK(app.explain("/tomcat/./x?y=1")
              .starts_with(
                  "GET \"/tomcat/x\": at(\"/tomcat/\") wins: it is the longest prefix that fits"));
    CHECK(app.explain("/x", "b.example")
              .starts_with("GET \"/x\" at \"b.example\": at(\"/\").host(\"b.example\") wins"));
    CHECK(app.explain("/m", "", verb::get).starts_with("GET \"/m\": 405"));
    CHECK(app.explain("/../x") == "\"/../x\": 400, because the path climbs over the root\n");
}
