#include "catch.hpp"
#include "served.hpp"

#include <relais/middleware/respond.hpp>
#include <relais/middleware/websocket_origin.hpp>

#include <string>

namespace {

using namespace relais;
using relais::testing::serve;

std::string websocket(std::string const& more = "") {
    return "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
           more;
}

std::string why_not(websocket_origin_stage const& s) {
    try {
        s.prepare();
    } catch (startup_error const& e) {
        return e.what();
    }
    return "";
}

} // namespace

TEST_CASE("pages of other sites open no WebSockets", "[websocket_origin]") {
    auto const chain =
        websocket_origin({"https://abc.com", "http://localhost:3000"}) | respond(200, "in");
    struct row {
        char const* fields;
        unsigned status;
    };
    for (auto const& r :
         {row{"Origin: https://abc.com\r\n", 200}, row{"Origin: http://localhost:3000\r\n", 200},
          row{"Origin: https://evil.com\r\n", 403},
          row{"Origin: https://abc.com.evil.com\r\n", 403}, row{"Origin: http://abc.com\r\n", 403},
          row{"Origin: https://abc.com/\r\n", 403}, row{"Origin: null\r\n", 403},
          row{"Origin:\r\n", 403},
          row{"Origin: https://abc.com\r\nOrigin: https://abc.com\r\n", 403},
          row{"Origin: https://evil.com\r\nOrigin: https://abc.com\r\n", 403}, row{"", 403}}) {
        INFO(r.fields);
        CHECK(serve(chain, "GET", "/", websocket(r.fields)).status == r.status);
        // Everything else goes on.
        CHECK(serve(chain, "GET", "/", r.fields).status == 200);
    }
}

TEST_CASE("programs without an origin are let in where that is asked for", "[websocket_origin]") {
    auto const chain =
        websocket_origin({.origins = {"https://abc.com"}, .allow_missing = true}) | respond(200);
    CHECK(serve(chain, "GET", "/", websocket()).status == 200);
    CHECK(serve(chain, "GET", "/", websocket("Origin: https://abc.com\r\n")).status == 200);
    CHECK(serve(chain, "GET", "/", websocket("Origin: https://evil.com\r\n")).status == 403);
    CHECK(serve(chain, "GET", "/", websocket("Origin:\r\n")).status == 403);
}

TEST_CASE("origins that no browser sends are refused at start", "[websocket_origin]") {
    CHECK(why_not(websocket_origin(websocket_origin_options{})) ==
          "websocket_origin(): nobody is allowed: write websocket_origin({\"https://abc.com\"})");
    CHECK(why_not(websocket_origin({"https://abc.com/"})) ==
          "websocket_origin(): \"https://abc.com/\" ends in a slash, which no origin does: write "
          "\"https://abc.com\"");
    CHECK(why_not(websocket_origin({"*"})) == "websocket_origin(): \"*\" is no origin: origins are "
                                              "compared as a whole, write each one out");
    CHECK(why_not(websocket_origin({"null"})).find("cannot be allowed") != std::string::npos);
    CHECK(why_not(websocket_origin({"https://abc.com"})).empty());
    CHECK(why_not(websocket_origin({.origins = {}, .allow_missing = true})).empty());
}
