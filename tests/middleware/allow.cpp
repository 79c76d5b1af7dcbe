#include "as_client.hpp"
#include "catch.hpp"
#include "served.hpp"

#include <relais/middleware/allow.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/testing/session.hpp>

#include <string>
#include <string_view>

using namespace relais;
using relais::testing::as_client;

namespace {

std::string const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

// The status that a client gets, "closed" where it gets none.
template <class Chain>
std::string answer(Chain const& chain) {
    testing::session s(chain);
    s.send(request);
    return s.received().empty() ? (s.ended() ? "closed" : "open") : s.received().substr(9, 3);
}

} // namespace

TEST_CASE("requests of other addresses are answered 403", "[allow]") {
    auto const rules =
        deny({"10.0.0.66", "2001:db8:bad::/48"}) | allow({"10.0.0.0/8", "2001:db8::/32"});
    auto const asks = [&](char const* address) {
        return answer(as_client(address) | http() | rules | respond(200, "in"));
    };
    CHECK(asks("10.0.0.1") == "200");
    CHECK(asks("10.0.0.66") == "403");
    CHECK(asks("11.0.0.1") == "403");
    CHECK(asks("2001:db8::1") == "200");
    CHECK(asks("2001:db8:bad::1") == "403");
    CHECK(asks("::1") == "403");
    CHECK(answer(as_client("unix:") | http() | allow({"unix:"}) | respond(200)) == "200");
    CHECK(answer(as_client("unix:") | http() | allow({"10.0.0.1"}) | respond(200)) == "403");
}

TEST_CASE("connections of other addresses are closed before they say a word", "[allow]") {
    auto const asks = [&](char const* address) {
        return answer(as_client(address) | deny({"10.0.0.66"}) | allow({"10.0.0.0/8"}) | http() |
                      respond(200, "in"));
    };
    CHECK(asks("10.0.0.1") == "200");
    CHECK(asks("10.0.0.66") == "closed");
    CHECK(asks("11.0.0.1") == "closed");
    testing::session silent(as_client("11.0.0.1") | allow({"10.0.0.0/8"}) | http() | respond(200));
    CHECK(silent.ended());
}

TEST_CASE("on requests it is the address that an outer stage has found out", "[allow]") {
    auto const says = [](exchange& x, exchange::next next) -> awaitable<> {
        x.set_client_address("192.0.2.1");
        return next(x);
    };
    CHECK(answer(as_client("10.0.0.1") | http() | says | allow({"192.0.2.0/24"}) | respond(200)) ==
          "200");
    CHECK(answer(as_client("10.0.0.1") | http() | says | allow({"10.0.0.0/8"}) | respond(200)) ==
          "403");
}

TEST_CASE("rules that cannot be right are refused at start", "[allow]") {
    CHECK_THROWS_WITH(allow({}).prepare(),
                      "allow(): no addresses are given: write allow({\"10.0.0.0/8\"})");
    CHECK_THROWS_WITH(deny({}).prepare(),
                      "deny(): no addresses are given: write deny({\"192.0.2.7\"})");
    CHECK_THROWS_WITH(deny({"example.org"}).prepare(),
                      "deny(): \"example.org\" is no address; ranges are written as 10.0.0.0/8, "
                      "192.0.2.7, 2001:db8::/32, unix: or all");
}
