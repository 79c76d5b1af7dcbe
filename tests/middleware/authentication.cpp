#include "catch.hpp"
#include "served.hpp"

#include <relais/middleware/basic_auth.hpp>
#include <relais/middleware/bearer_auth.hpp>
#include <relais/middleware/impl/credentials.hpp>

#include <string>
#include <vector>

namespace {

using namespace relais;
using relais::testing::serve;

// Says who came in and what the upstream would see.
awaitable<> greet(exchange& x) {
    auto const* who = x.state.find<authenticated>();
    x.respond(200, (who != nullptr ? who->name : "(nobody)") + "|" +
                       std::string(x.request["Authorization"]));
    co_return;
}

std::string basic(char const* encoded) {
    return "Authorization: Basic " + std::string(encoded) + "\r\n";
}

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

TEST_CASE("base64 is decoded strictly", "[auth]") {
    struct row {
        char const *text, *decoded;
    };
    for (auto const& r : {row{"", ""}, row{"Zg==", "f"}, row{"Zm8=", "fo"}, row{"Zm9v", "foo"},
                          row{"Zm9vYg==", "foob"}, row{"Zm9vYmE=", "fooba"},
                          row{"Zm9vYmFy", "foobar"}, row{"/+8=", "\xff\xef"}})
        CHECK(detail::decode_base64(r.text) == r.decoded);
    for (char const* bad : {"Z", "Zg", "Zg=", "Zm8", "Zh==", "Zm9=", "Zm9v=", "====", "Zg==Zg==",
                            "Z===", "Zm 9v", "Zm9-", "Zm9_", "=Zg=", "Zm9v\n"}) {
        INFO(bad);
        CHECK(!detail::decode_base64(bad));
    }
}

TEST_CASE("basic_auth lets those in whom it knows", "[auth]") {
    auto const chain =
        basic_auth({.users = {{"alice", "secret"}, {"bob", "a:b"}, {"caf\xc3\xa9", "p"}}}) |
        stage(greet);
    CHECK(serve(chain, "GET", "/", basic("YWxpY2U6c2VjcmV0")).body ==
          "alice|Basic YWxpY2U6c2VjcmV0");
    CHECK(serve(chain, "GET", "/", basic("Ym9iOmE6Yg==")).body == "bob|Basic Ym9iOmE6Yg==");
    CHECK(serve(chain, "GET", "/", basic("Y2Fmw6k6cA==")).body == "caf\xc3\xa9|Basic Y2Fmw6k6cA==");
    CHECK(serve(chain, "GET", "/", "Authorization: bAsIc   YWxpY2U6c2VjcmV0\r\n").status == 200);
    struct row {
        char const *what, *fields;
    };
    for (auto const& r : std::vector<row>{
             {"nothing", ""},
             {"a wrong password", "Authorization: Basic YWxpY2U6U2VjcmV0\r\n"},
             {"an empty password", "Authorization: Basic YWxpY2U6\r\n"},
             {"no password", "Authorization: Basic YWxpY2U=\r\n"},
             {"another's password", "Authorization: Basic YWxpY2U6YTpi\r\n"},
             {"the colon elsewhere", "Authorization: Basic Ym9iOmE6Yjo=\r\n"},
             {"user and password joined otherwise", "Authorization: Basic Ym9iYTpi\r\n"},
             {"a control byte", "Authorization: Basic YWxpY2U6c2VjcmV0AA==\r\n"},
             {"no padding", "Authorization: Basic YWxpY2U6U2VjcmV0Zg\r\n"},
             {"another scheme", "Authorization: Bearer YWxpY2U6c2VjcmV0\r\n"},
             {"no scheme", "Authorization: YWxpY2U6c2VjcmV0\r\n"},
             {"the scheme alone", "Authorization: Basic\r\n"},
             {"more after it", "Authorization: Basic YWxpY2U6c2VjcmV0 x\r\n"},
             {"a longer scheme", "Authorization: Basics YWxpY2U6c2VjcmV0\r\n"},
             {"twice",
              "Authorization: Basic YWxpY2U6c2VjcmV0\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n"},
             {"another field", "Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n"},
         }) {
        INFO(r.what);
        auto const answer = serve(chain, "GET", "/", r.fields);
        CHECK(answer.status == 401);
        CHECK(answer["WWW-Authenticate"] == "Basic realm=\"restricted\", charset=\"UTF-8\"");
    }
}

TEST_CASE("basic_auth asks a function", "[auth]") {
    auto const chain = basic_auth({.users = {{"alice", "secret"}},
                                   .verify =
                                       [](std::string_view user, std::string_view password) {
                                           return user == "carol" && password == "x:y";
                                       },
                                   .realm = "a \"b\" \\",
                                   .forward = false}) |
                       stage(greet);
    CHECK(serve(chain, "GET", "/", basic("Y2Fyb2w6eDp5")).body == "carol|");
    CHECK(serve(chain, "GET", "/", basic("YWxpY2U6c2VjcmV0")).body == "alice|");
    auto const answer = serve(chain, "GET", "/", basic("Y2Fyb2w6eDp6"));
    CHECK(answer.status == 401);
    CHECK(answer["WWW-Authenticate"] == R"(Basic realm="a \"b\" \\", charset="UTF-8")");
}

TEST_CASE("bearer_auth takes tokens that it knows", "[auth]") {
    auto const chain =
        bearer_auth({.tokens = {"s3cr3t-t0ken", "other=="}, .realm = "api"}) | stage(greet);
    CHECK(serve(chain, "GET", "/", "Authorization: Bearer s3cr3t-t0ken\r\n").body ==
          "(nobody)|Bearer s3cr3t-t0ken");
    CHECK(serve(chain, "GET", "/", "Authorization: bearer other==\r\n").status == 200);
    auto const nothing = serve(chain, "GET", "/");
    CHECK(nothing.status == 401);
    CHECK(nothing["WWW-Authenticate"] == "Bearer realm=\"api\"");
    CHECK(serve(chain, "GET", "/", basic("YWxpY2U6c2VjcmV0"))["WWW-Authenticate"] ==
          "Bearer realm=\"api\"");
    CHECK(serve(chain, "GET", "/?access_token=s3cr3t-t0ken").status == 401);
    for (char const* token : {"s3cr3t-t0ke", "s3cr3t-t0kenx", "S3cr3t-t0ken", "other",
                              "other===", "a b", "s3cr3t-t0ken, x", "\"s3cr3t-t0ken\""}) {
        INFO(token);
        auto const answer =
            serve(chain, "GET", "/", "Authorization: Bearer " + std::string(token) + "\r\n");
        CHECK(answer.status == 401);
        CHECK(answer["WWW-Authenticate"] == "Bearer realm=\"api\", error=\"invalid_token\"");
    }
    CHECK(serve(chain, "GET", "/",
                "Authorization: Bearer other==\r\nAuthorization: Bearer other==\r\n")
              .status == 401);
}

TEST_CASE("bearer_auth asks a function", "[auth]") {
    auto const verify = [](std::string_view token) -> std::optional<std::string> {
        if (token == "anonymous")
            return "";
        if (token == "of-dave")
            return "dave";
        return {};
    };
    auto const chain = bearer_auth({.verify = verify, .forward = false}) | stage(greet);
    CHECK(serve(chain, "GET", "/", "Authorization: Bearer of-dave\r\n").body == "dave|");
    CHECK(serve(chain, "GET", "/", "Authorization: Bearer anonymous\r\n").body == "(nobody)|");
    CHECK(serve(chain, "GET", "/", "Authorization: Bearer of-eve\r\n").status == 401);
}

TEST_CASE("authentication that lets everybody or nobody in is refused at start", "[auth]") {
    CHECK(why_not(basic_auth({})) == "basic_auth(): nobody is known: write .users = {{\"alice\", "
                                     "\"secret\"}} or give it a .verify");
    CHECK(why_not(basic_auth({.users = {{"", "x"}}})).find("would let anybody in") !=
          std::string::npos);
    CHECK(why_not(basic_auth({.users = {{"x", ""}}})).find("would let anybody in") !=
          std::string::npos);
    CHECK(
        why_not(basic_auth({.users = {{"a:b", "x"}}})) ==
        "basic_auth(): the user \"a:b\" has a colon in the name, which ends it: take another name");
    CHECK(why_not(basic_auth({.users = {{"a", "x\n"}}})).find("control byte") != std::string::npos);
    CHECK(why_not(basic_auth({.users = {{"a", "x"}}, .realm = "a\r\nb"})).find("the realm") !=
          std::string::npos);
    CHECK(why_not(basic_auth({.users = {{"a", "x"}}})).empty());
    CHECK(why_not(basic_auth({.verify = [](auto, auto) { return true; }})).empty());
    CHECK(why_not(bearer_auth({})) ==
          "bearer_auth(): no token is known: write .tokens = {\"...\"} or give it a .verify");
    CHECK(why_not(bearer_auth({.tokens = {""}})).find("a token is empty") != std::string::npos);
    CHECK(why_not(bearer_auth({.tokens = {"a b"}})).find("a token is empty") != std::string::npos);
    CHECK(why_not(bearer_auth({.tokens = {"="}})).find("a token is empty") != std::string::npos);
    CHECK(why_not(bearer_auth({.tokens = {"x"}, .realm = "\n"})).find("the realm") !=
          std::string::npos);
    CHECK(why_not(bearer_auth({.tokens = {"aZ09-._~+/=="}})).empty());
}
