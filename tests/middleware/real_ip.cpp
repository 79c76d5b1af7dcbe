#include "as_client.hpp"
#include "catch.hpp"
#include "served.hpp"

#include <relais/middleware/allow.hpp>
#include <relais/middleware/real_ip.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/testing/session.hpp>

#include <string>

using namespace relais;
using relais::testing::as_client;

namespace {

// What stages behind it see.
awaitable<> tell(exchange& x) {
    std::string text = std::string(x.client_address()) + "|" + std::string(x.request.scheme());
    for (auto const name : {"X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host",
                            "X-Forwarded-Port"})
        text += "|" + std::string(x.request[name]);
    x.respond(200, text + "\n");
    co_return;
}

std::string seen(std::string const& peer, std::string const& fields,
                 real_ip_options options = {.trusted = {"10.0.0.0/8", "2001:db8::/32"}}) {
    testing::session s(as_client(peer) | http() | real_ip(std::move(options)) | stage(tell));
    s.send("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n");
    auto const at = s.received().find("\r\n\r\n");
    REQUIRE(at != std::string::npos);
    auto const body = s.received().substr(at + 4);
    return body.substr(0, body.find('\n'));
}

std::string client(std::string const& list) {
    auto const text = seen("10.0.0.1", "X-Forwarded-For: " + list + "\r\n");
    return text.substr(0, text.find('|'));
}

} // namespace

TEST_CASE("the client is the first from the right that is not trusted", "[real_ip]") {
    CHECK(client("192.0.2.1") == "192.0.2.1");
    CHECK(client("192.0.2.1, 10.0.0.2") == "192.0.2.1");
    CHECK(client("1.1.1.1, 192.0.2.1") == "192.0.2.1"); // what it claims itself
    CHECK(client("1.1.1.1,192.0.2.1 ,10.1.2.3,  10.0.0.2") == "192.0.2.1");
    CHECK(client("10.0.0.3, 10.0.0.2") == "10.0.0.3"); // all are trusted: the farthest
    CHECK(client("2001:DB9:0::1, 2001:db8::7") == "2001:db9::1");
    CHECK(client("192.0.2.1:4711") == "192.0.2.1");
    CHECK(client("[2001:db9::1]:4711") == "2001:db9::1");
    CHECK(client("[2001:db9::1]") == "2001:db9::1");
    CHECK(client("::ffff:192.0.2.1") == "192.0.2.1");
    CHECK(client("1.1.1.1, unknown, 10.0.0.2") == "10.0.0.2"); // what is left of it is not known
    CHECK(client("unknown") == "10.0.0.1");
    CHECK(client(",,") == "10.0.0.1");
    CHECK(client("") == "10.0.0.1");
    CHECK(client("\"1.1.1.1, 192.0.2.1") == "192.0.2.1"); // an open quote hides nothing
    CHECK(client("[, 192.0.2.1") == "192.0.2.1");
    CHECK(client("[") == "10.0.0.1");
    CHECK(client("1.1.1.1%eth0") == "10.0.0.1");
}

TEST_CASE("the way goes on to the upstream with the peer behind it", "[real_ip]") {
    CHECK(seen("10.0.0.1", "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 192.0.2.1\r\n"
                           "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n"
                           "X-Forwarded-Port: 443\r\n") ==
          "192.0.2.1|https|1.1.1.1, 192.0.2.1, 10.0.0.1||https|shop.example|443");
    CHECK(seen("10.0.0.1", "X-Forwarded-Proto: HTTPS\r\n") == "10.0.0.1|https|||HTTPS||");
    CHECK(seen("10.0.0.1", "X-Forwarded-Proto: gopher\r\n") == "10.0.0.1|http|||gopher||");
    CHECK(seen("10.0.0.1", "") == "10.0.0.1|http|||||");
}

TEST_CASE("nobody else is believed", "[real_ip]") {
    CHECK(seen("11.0.0.1",
               "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
               "X-Forwarded-Host: a\r\nForwarded: for=192.0.2.1\r\n") == "11.0.0.1|http|||||");
    CHECK(seen("10.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n", {.trusted = {"10.0.0.2"}}) ==
          "10.0.0.1|http|||||");
}

TEST_CASE("Forwarded, and fields with one address", "[real_ip]") {
    real_ip_options const rfc7239{.trusted = {"10.0.0.0/8", "2001:db8::1"}, .field = "forwarded"};
    CHECK(seen("10.0.0.1",
               "Forwarded: for=1.1.1.1, FOR=\"192.0.2.1:80\";proto=https;by=10.0.0.9\r\n"
               "Forwarded: proto=http ; for=10.0.0.7\r\n",
               rfc7239) ==
          "192.0.2.1|http||for=1.1.1.1, FOR=\"192.0.2.1:80\";proto=https;by=10.0.0.9, proto=http ; "
          "for=10.0.0.7, for=10.0.0.1|||");
    CHECK(seen("2001:db8::1", "Forwarded: for=\"[2001:db9::1]:80\"\r\n", rfc7239) ==
          "2001:db9::1|http||for=\"[2001:db9::1]:80\", for=\"[2001:db8::1]\"|||");
    CHECK(seen("10.0.0.1", "Forwarded: for=_hidden\r\n", rfc7239).substr(0, 9) == "10.0.0.1|");
    CHECK(seen("10.0.0.1", "Forwarded: by=1.1.1.1\r\n", rfc7239).substr(0, 9) == "10.0.0.1|");
    CHECK(seen("10.0.0.1", "Forwarded: for=\"1.1.1.1, for=192.0.2.1\r\n", rfc7239).substr(0, 10) ==
          "192.0.2.1|");
    real_ip_options const single{.trusted = {"10.0.0.0/8"}, .field = "CF-Connecting-IP"};
    CHECK(seen("10.0.0.1", "CF-Connecting-IP: 192.0.2.1\r\nX-Forwarded-For: 1.1.1.1\r\n", single)
              .substr(0, 10) == "192.0.2.1|");
}

TEST_CASE("options of real_ip that cannot be right", "[real_ip]") {
    CHECK_THROWS_WITH(real_ip({}).prepare(),
                      "real_ip(): nobody is trusted, so nothing would be taken: write .trusted = "
                      "{\"10.0.0.0/8\"} with the addresses of the proxies in front");
    CHECK_THROWS_WITH(real_ip({.trusted = {"all"}, .field = "a b"}).prepare(),
                      "real_ip(): \"a b\" is no name of a field: write X-Forwarded-For, Forwarded "
                      "or X-Real-IP");
}
