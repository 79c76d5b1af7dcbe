#include "catch.hpp"
#include "served.hpp"

#include <relais/core/report.hpp>
#include <relais/middleware/cors.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/route/routes.hpp>

#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace relais;
using relais::testing::serve;

constexpr char from_abc[] = "Origin: https://abc.com\r\n";
constexpr char from_evil[] = "Origin: https://evil.com\r\n";

std::string why_not(cors_options options) {
    try {
        cors(std::move(options)).prepare();
    } catch (startup_error const& e) {
        return e.what();
    }
    return "";
}

std::string preflight(std::string const& origin, std::string const& more = "") {
    return "Origin: " + origin + "\r\nAccess-Control-Request-Method: PUT\r\n" + more;
}

awaitable<> throwing(exchange&) {
    throw std::runtime_error("a mistake");
    co_return;
}

awaitable<> too_large(exchange&) {
    throw exchange_error(end_reason::body_too_large);
    co_return;
}

awaitable<> misused(exchange&) {
    throw stage_misuse("misused");
    co_return;
}

// An upstream that has opinions of its own.
auto opinionated() {
    return respond(200, "data",
                   {{"access-control-allow-origin", "*"},
                    {"Access-Control-Allow-Credentials", "true"},
                    {"Access-Control-Expose-Headers", "X-Secret"},
                    {"Vary", "Accept-Encoding"},
                    {"X-Other", "1"}});
}

} // namespace

TEST_CASE("an allowed origin may read responses", "[cors]") {
    auto const chain =
        cors({.origins = {"http://localhost:3000", "https://abc.com"}}) | respond(200, "data");
    auto const answer = serve(chain, "GET", "/", from_abc);
    CHECK(answer.status == 200);
    CHECK(answer["Access-Control-Allow-Origin"] == "https://abc.com");
    CHECK(answer["Access-Control-Allow-Credentials"] == "(none)");
    CHECK(answer["Access-Control-Allow-Methods"] == "(none)");
    CHECK(answer["Vary"] == "Origin");
    CHECK(serve(chain, "POST", "/",
                "Origin: http://localhost:3000\r\n")["Access-Control-Allow-Origin"] ==
          "http://localhost:3000");
}

TEST_CASE("other origins are served without leave to read", "[cors]") {
    auto const chain = cors({.origins = {"https://abc.com"}, .credentials = true}) | opinionated();
    for (char const* fields :
         {"", from_evil, "Origin: null\r\n", "Origin: http://abc.com\r\n",
          "Origin: https://abc.com.evil.com\r\n", "Origin: https://abc.com/\r\n",
          "Origin: https://ABC.com\r\n", "Origin: https://abc.com:443\r\n",
          "Origin: https://abc.com https://evil.com\r\n", "Origin: https://sub.abc.com\r\n",
          "Origin: https://abc.com\r\nOrigin: https://abc.com\r\n", "Origin:\r\n"}) {
        INFO(fields);
        auto const answer = serve(chain, "GET", "/", fields);
        CHECK(answer.status == 200);
        CHECK(answer["Access-Control-Allow-Origin"] == "(none)");
        CHECK(answer["Access-Control-Allow-Credentials"] == "(none)");
        CHECK(answer["Access-Control-Expose-Headers"] == "(none)");
        CHECK(answer.all("Vary") == std::vector<std::string>{"Accept-Encoding", "Origin"});
        CHECK(answer["X-Other"] == "1");
    }
}

TEST_CASE("what the upstream says about origins is replaced", "[cors]") {
    auto const chain =
        cors({.origins = {"https://abc.com"}, .expose = {"X-Total", "ETag"}, .credentials = true}) |
        opinionated();
    auto const answer = serve(chain, "GET", "/", from_abc);
    CHECK(answer["Access-Control-Allow-Origin"] == "https://abc.com");
    CHECK(answer["Access-Control-Allow-Credentials"] == "true");
    CHECK(answer["Access-Control-Expose-Headers"] == "X-Total, ETag");
    auto const vary = [](field_list fields) {
        return serve(cors({.origins = {"https://abc.com"}}) | respond(200, "", std::move(fields)),
                     "GET", "/")
            .all("Vary");
    };
    CHECK(vary({{"Vary", "accept, origin"}}) == std::vector<std::string>{"accept, origin"});
    CHECK(vary({{"Vary", "*"}}) == std::vector<std::string>{"*"});
    CHECK(vary({{"Vary", "X-Origin"}}) == std::vector<std::string>{"X-Origin", "Origin"});
}

TEST_CASE("preflight requests are answered before inner stages", "[cors]") {
    auto const chain =
        cors({.origins = {"https://abc.com"}, .credentials = true}) | stage(throwing);
    auto const answer =
        serve(chain, "OPTIONS", "/x",
              preflight("https://abc.com", "Access-Control-Request-Headers: x-a,content-type\r\n"));
    CHECK(answer.status == 204);
    CHECK(answer["Access-Control-Allow-Origin"] == "https://abc.com");
    CHECK(answer["Access-Control-Allow-Credentials"] == "true");
    CHECK(answer["Access-Control-Allow-Methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE");
    CHECK(answer["Access-Control-Allow-Headers"] == "x-a,content-type");
    CHECK(answer["Access-Control-Max-Age"] == "600");
    CHECK(answer["Vary"] ==
          "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    CHECK(answer.body.empty());

    for (char const* origin : {"https://evil.com", "null", "https://abc.com/",
                               "https://abc.com\r\nOrigin: https://abc.com"}) {
        INFO(origin);
        auto const refused = serve(chain, "OPTIONS", "/x", preflight(origin));
        CHECK(refused.status == 403);
        CHECK(refused["Access-Control-Allow-Origin"] == "(none)");
        CHECK(refused["Access-Control-Allow-Methods"] == "(none)");
        CHECK(refused["Vary"] ==
              "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    }
    // These are no preflight requests.
    auto const plain = cors({.origins = {"https://abc.com"}}) | respond(200, "options");
    CHECK(serve(plain, "OPTIONS", "/", from_abc).body == "options");
    CHECK(serve(plain, "OPTIONS", "/", "Access-Control-Request-Method: PUT\r\n").body == "options");
    CHECK(serve(plain, "GET", "/", preflight("https://abc.com")).body == "options");
}

TEST_CASE("a preflight is told the fields of the policy", "[cors]") {
    auto const strict = cors({.origins = {"https://abc.com"},
                              .methods = {verb::get, verb::delete_},
                              .headers = {"X-Token", "Content-Type"},
                              .max_age = std::chrono::seconds(5)}) |
                        respond(200);
    auto const asked = preflight("https://abc.com", "Access-Control-Request-Headers: X-Evil\r\n");
    auto const answer = serve(strict, "OPTIONS", "/", asked);
    CHECK(answer["Access-Control-Allow-Methods"] == "GET, DELETE");
    CHECK(answer["Access-Control-Allow-Headers"] == "X-Token, Content-Type");
    CHECK(answer["Access-Control-Max-Age"] == "5");
    auto const odd = cors({.origins = {"https://abc.com"}}) | respond(200);
    CHECK(serve(odd, "OPTIONS", "/",
                preflight(
                    "https://abc.com",
                    "Access-Control-Request-Headers: a\"b\r\n"))["Access-Control-Allow-Headers"] ==
          "(none)");
    CHECK(serve(odd, "OPTIONS", "/",
                preflight("https://abc.com"))["Access-Control-Allow-Headers"] == "(none)");
}

TEST_CASE("everybody may read, without credentials", "[cors]") {
    auto const chain = cors({.origins = {"*"}}) | opinionated();
    auto const answer = serve(chain, "GET", "/", from_evil);
    CHECK(answer["Access-Control-Allow-Origin"] == "*");
    CHECK(answer["Access-Control-Allow-Credentials"] == "(none)");
    CHECK(answer.all("Vary") == std::vector<std::string>{"Accept-Encoding", "Origin"});
    CHECK(serve(chain, "GET", "/", "Origin: null\r\n")["Access-Control-Allow-Origin"] == "(none)");
    auto const ready =
        serve(chain, "OPTIONS", "/",
              preflight("https://evil.com", "Access-Control-Request-Headers: x-a\r\n"));
    CHECK(ready.status == 204);
    CHECK(ready["Access-Control-Allow-Headers"] == "(none)");
    CHECK(serve(chain, "OPTIONS", "/", preflight("null")).status == 403);
}

TEST_CASE("errors of the gateway carry the fields too", "[cors]") {
    set_report_function([](std::string_view) {});
    auto const policy = cors({.origins = {"https://abc.com"}});
    struct row {
        relais::testing::served answer;
        unsigned status;
    };
    for (auto const& [answer, status] : std::vector<row>{
             {serve(policy | routes(), "GET", "/", from_abc), 404},
             {serve(policy | routes(at("/").method(verb::put) | respond(200)), "GET", "/",
                    from_abc),
              405},
             {serve(policy | stage(throwing), "GET", "/", from_abc), 500},
             {serve(policy | stage(too_large), "GET", "/", from_abc), 413},
             {serve(policy | stage(misused), "GET", "/", from_abc), 500},
         }) {
        CHECK(answer.status == status);
        CHECK(answer["Access-Control-Allow-Origin"] == "https://abc.com");
        CHECK(answer["Vary"] == "Origin");
    }
    set_report_function(nullptr);
}

TEST_CASE("a policy that cannot be meant is refused at start", "[cors]") {
    struct row {
        cors_options options;
        std::string why;
    };
    for (auto const& [options, why] : std::vector<row>{
             {{}, "nobody is allowed: write .origins = {\"https://abc.com\"}"},
             {{.origins = {"*"}, .credentials = true},
              "\"*\" cannot go together with .credentials: write the origins out"},
             {{.origins = {"*", "https://abc.com"}},
              "\"*\" lets everybody in: write it alone or leave it out"},
             {{.origins = {"null"}},
              "\"null\" is the origin of every sandboxed page and cannot be allowed: leave it out"},
             {{.origins = {"https://abc.com/"}},
              "\"https://abc.com/\" ends in a slash, which no origin does: write "
              "\"https://abc.com\""},
             {{.origins = {"https://abc.com/app"}},
              "\"https://abc.com/app\" has a path, which no origin does: write "
              "\"https://abc.com\""},
             {{.origins = {"abc.com"}},
              "\"abc.com\" is no origin: write it with its scheme, as in \"https://abc.com\""},
             {{.origins = {""}},
              "\"\" is no origin: write it with its scheme, as in \"https://abc.com\""},
             {{.origins = {"https://"}},
              "\"https://\" has no host: write it as in \"https://abc.com\""},
             {{.origins = {"https://:80"}},
              "\"https://:80\" has no host: write it as in \"https://abc.com\""},
             {{.origins = {"https://*.abc.com"}},
              "\"https://*.abc.com\" is no origin: origins are compared as a whole, write each one "
              "out"},
             {{.origins = {"https://ABC.com"}},
              "\"https://ABC.com\" has capital letters: browsers send origins in lower case"},
             {{.origins = {"https://abc.com:443"}},
              "\"https://abc.com:443\" has the default port, which browsers leave out: write "
              "\"https://abc.com\""},
             {{.origins = {"http://abc.com:80"}},
              "\"http://abc.com:80\" has the default port, which browsers leave out: write "
              "\"http://abc.com\""},
             {{.origins = {"https://a b"}},
              "\"https://a b\" has a character that no origin has: names beyond ASCII are sent in "
              "their \"xn--\" form"},
             {{.origins = {"https://abc.com"}, .methods = {verb::unknown}},
              "verb::unknown is no method: leave it out"},
             {{.origins = {"https://abc.com"}, .headers = {"X-A, X-B"}},
              "\"X-A, X-B\" is no name of a field: write each name as a string of its own"},
             {{.origins = {"https://abc.com"}, .expose = {""}},
              "\"\" is no name of a field: write each name as a string of its own"},
             {{.origins = {"https://abc.com"}, .max_age = std::chrono::seconds(-1)},
              ".max_age is negative: write 0 to have browsers ask every time"},
         }) {
        CHECK(why_not(options) == "cors(): " + why);
    }
    CHECK(why_not({.origins = {"https://abc.com", "http://localhost:3000", "http://[::1]:8080",
                               "http://[::1]", "capacitor://localhost",
                               "https://xn--caf-dma.example", "chrome-extension://abcdef"}})
              .empty());
    CHECK(why_not({.origins = {"*"}, .headers = {"*"}}).empty());
}
