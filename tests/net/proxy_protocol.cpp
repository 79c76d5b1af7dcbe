#include "as_client.hpp"
#include "catch.hpp"

#include <relais/net/proxy_protocol.hpp>
#include <relais/testing/session.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

using namespace relais;
using relais::testing::as_client;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

std::string const signature = "\r\n\r\n\0\r\nQUIT\n"s;

std::string v2(char command, char family, std::string const& content) {
    auto s = signature + command + family;
    s += static_cast<char>(content.size() >> 8);
    s += static_cast<char>(content.size());
    return s + content;
}

std::string const four = "\x0a\x00\x00\x01\xc0\x00\x02\x07\x10\x01\x01\xbb"s;
std::string const six = "\x20\x01\x0d\xb8"s + std::string(11, '\0') + "\x01" + "\x20\x01\x0d\xb8"s +
                        std::string(11, '\0') + "\x02" + "\x10\x01\x01\xbb";

proxy_header_result parse(std::string_view text, proxy_header& into) {
    return parse_proxy_header(std::as_bytes(std::span(text)), 4096, into);
}

bool is_wrong(std::string const& text) {
    proxy_header h;
    return !parse(text, h).sentence.empty();
}

// What came out: addresses, or why not.
std::string outcome(std::string const& text) {
    proxy_header h;
    auto const r = parse(text, h);
    if (!r.sentence.empty())
        return "(wrong)";
    if (r.missing != 0)
        return "(more)";
    return std::to_string(r.size) + " " +
           (h.source ? h.source->to_string() + " " + h.destination->to_string() : "(own)");
}

// Says who came, and what the first bytes behind the header are.
awaitable<> tell(connection& c) {
    std::byte room[100];
    auto const got = c.downstream().try_read(room);
    auto const text = std::string(c.client_address()) + " " + std::to_string(c.local_port()) + " " +
                      std::string(reinterpret_cast<char const*>(room), got.count);
    c.downstream().try_write(std::string_view(text));
    co_return;
}

} // namespace

TEST_CASE("headers of version 1", "[proxy_protocol]") {
    CHECK(outcome("PROXY TCP4 10.0.0.1 192.0.2.7 4097 443\r\n") ==
          "40 10.0.0.1:4097 192.0.2.7:443");
    CHECK(outcome("PROXY TCP4 10.0.0.1 192.0.2.7 4097 443\r\nGET /") ==
          "40 10.0.0.1:4097 192.0.2.7:443");
    CHECK(outcome("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n") == "36 [2001:db8::1]:0 [::1]:65535");
    CHECK(outcome("PROXY UNKNOWN\r\n") == "15 (own)");
    CHECK(outcome("PROXY UNKNOWN ffff::1 what ever 1 2\r\n") == "37 (own)");
    std::string const longest = "PROXY UNKNOWN " + std::string(107 - 16, 'x') + "\r\n";
    CHECK(outcome(longest) == "107 (own)");
    CHECK(is_wrong("PROXY UNKNOWN " + std::string(108 - 16, 'x') + "\r\n"));
    CHECK(is_wrong("PROXY UNKNOWN " + std::string(200, 'x')));
    for (auto const* wrong : {"PROXY TCP4 10.0.0.1 192.0.2.7 4097 443\n",
                              "PROXY TCP4 10.0.0.1 192.0.2.7 4097\r\n",
                              "PROXY TCP4 10.0.0.1 192.0.2.7 4097 443 1\r\n",
                              "PROXY TCP4 10.0.0.1 192.0.2.7 4097 443 \r\n",
                              "PROXY TCP4  10.0.0.1 192.0.2.7 4097 443\r\n",
                              "PROXY TCP4 10.0.0.1 192.0.2.7 4097 65536\r\n",
                              "PROXY TCP4 10.0.0.1 192.0.2.7 4097 0443\r\n",
                              "PROXY TCP4 10.0.0.1 192.0.2.7 +1 443\r\n",
                              "PROXY TCP4 10.0.0.1 192.0.2.7 -1 443\r\n",
                              "PROXY TCP4 ::1 ::1 4097 443\r\n",
                              "PROXY TCP6 10.0.0.1 192.0.2.7 4097 443\r\n",
                              "PROXY TCP6 fe80::1%lo ::1 4097 443\r\n",
                              "PROXY UDP4 10.0.0.1 192.0.2.7 4097 443\r\n",
                              "PROXY tcp4 10.0.0.1 192.0.2.7 4097 443\r\n",
                              "proxy UNKNOWN\r\n ",
                              "PROXY UNKNOWNx\r\n",
                              "PROXY \r\nPROXY \r\n",
                              "PROXY\nUNKNOWN\r\n..",
                              "GET / HTTP/1.1\r\n",
                              "\x16\x03\x01"}) {
        INFO(wrong);
        CHECK(is_wrong(wrong));
    }
}

TEST_CASE("headers of version 2", "[proxy_protocol]") {
    CHECK(outcome(v2('\x21', '\x11', four)) == "28 10.0.0.1:4097 192.0.2.7:443");
    CHECK(outcome(v2('\x21', '\x21', six)) == "52 [2001:db8::1]:4097 [2001:db8::2]:443");
    CHECK(outcome(v2('\x20', '\x00', "")) == "16 (own)");
    CHECK(outcome(v2('\x20', '\x11', four)) == "28 (own)"); // LOCAL: what it says is not used
    CHECK(outcome(v2('\x21', '\x00', "")) == "16 (own)");
    CHECK(outcome(v2('\x21', '\x12', four)) == "28 (own)"); // datagrams
    CHECK(outcome(v2('\x21', '\x31', std::string(216, 'p'))) == "232 (own)");
    CHECK(outcome(v2('\x21', '\x11', four + "\x02\x00\x03"s + "a.b")) ==
          "34 10.0.0.1:4097 192.0.2.7:443");
    for (auto const& wrong :
         {v2('\x11', '\x11', four), v2('\x31', '\x11', four), v2('\x22', '\x11', four),
          v2('\x21', '\x11', four.substr(1)), v2('\x21', '\x21', four), v2('\x21', '\x41', four),
          v2('\x21', '\x13', four), v2('\x21', '\x11', four + "\x02"s),
          v2('\x21', '\x11', four + "\x02\x00"s),
          v2('\x21', '\x11', four + "\x02\x00\x04"s + "a.b"),
          v2('\x21', '\x11', four + std::string(4096, 'x')),
          "\r\n\r\n\0\r\nQUIT\r"s + v2('\x21', '\x11', four).substr(12)})
        CHECK(is_wrong(wrong));

    proxy_header h;
    parse(v2('\x21', '\x11',
             four + "\x04\x00\x02"s + "##" + "\x02\x00\x03"s + "a.b" + "\xe0\x00\x00"s),
          h);
    REQUIRE(h.values.size() == 2); // NOOP is padding
    CHECK(*h.find(2) == "a.b");
    CHECK(h.find(0xe0)->empty());
    CHECK(h.find(4) == nullptr);
}

TEST_CASE("a header in pieces asks for no byte behind it", "[proxy_protocol]") {
    for (auto const& whole :
         {"PROXY TCP4 10.0.0.1 192.0.2.7 4097 443\r\n"s, "PROXY UNKNOWN\r\n"s,
          v2('\x21', '\x11', four), v2('\x21', '\x21', six + "\x02\x00\x03"s + "a.b")})
        for (std::size_t i = 0; i < whole.size(); ++i) {
            proxy_header h;
            auto const r = parse(whole.substr(0, i), h);
            CAPTURE(whole, i);
            CHECK(r.sentence.empty());
            CHECK(r.missing > 0);
            CHECK(i + r.missing <= whole.size());
        }
}

TEST_CASE("headers that are made are those that are read", "[proxy_protocol]") {
    auto const at = [](char const* ip, std::uint16_t port) {
        return socket_address(boost::asio::ip::make_address(ip), port);
    };
    for (auto const version : {proxy_version::v1, proxy_version::v2}) {
        auto const four_bytes = make_proxy_header(version, at("10.0.0.1", 1), at("10.0.0.2", 2));
        CHECK(outcome(four_bytes) == std::to_string(four_bytes.size()) + " 10.0.0.1:1 10.0.0.2:2");
        auto const six_bytes = make_proxy_header(version, at("::1", 1), at("2001:db8::2", 443));
        CHECK(outcome(six_bytes) ==
              std::to_string(six_bytes.size()) + " [::1]:1 [2001:db8::2]:443");
        for (auto const& unknown :
             {make_proxy_header(version, socket_address(), at("10.0.0.2", 2)),
              make_proxy_header(version, socket_address::unix_path("/a"), at("10.0.0.2", 2))})
            CHECK(outcome(unknown) == std::to_string(unknown.size()) + " (own)");
        auto const up = make_proxy_header(version, at("::1", 1), at("10.0.0.2", 2));
        CHECK(outcome(up) == std::to_string(up.size()) + " [::1]:1 10.0.0.2:2");
        auto const down = make_proxy_header(version, at("10.0.0.2", 2), at("::1", 1));
        CHECK(outcome(down) == std::to_string(down.size()) + " 10.0.0.2:2 [::1]:1");
    }
    CHECK(make_proxy_header(proxy_version::v1, at("::1", 1), at("10.0.0.2", 2)) ==
          "PROXY TCP6 ::1 ::ffff:10.0.0.2 1 2\r\n");
    CHECK(make_proxy_header(proxy_version::v1, at("10.0.0.1", 4097), at("192.0.2.7", 443)) ==
          "PROXY TCP4 10.0.0.1 192.0.2.7 4097 443\r\n");
    CHECK(make_proxy_header(proxy_version::v2, at("10.0.0.1", 4097), at("192.0.2.7", 443)) ==
          v2('\x21', '\x11', four));
}

TEST_CASE("who is trusted says who connects", "[proxy_protocol]") {
    auto const chain = as_client("10.0.0.5") | proxy_protocol({.trusted = {"10.0.0.0/8"}}) | tell;
    for (std::string const& header : {"PROXY TCP4 192.0.2.9 192.0.2.7 4097 443\r\n"s,
                                      v2('\x21', '\x11', "\xc0\x00\x02\x09"s + four.substr(4))}) {
        testing::session whole(chain);
        whole.send(header + "hello");
        CHECK(whole.received() == "192.0.2.9 443 hello");
        testing::session pieces(chain);
        for (char const c : header)
            pieces.send(std::string(1, c));
        CHECK(pieces.received() == "192.0.2.9 443 ");
    }
    testing::session own(chain);
    own.send("PROXY UNKNOWN\r\n");
    CHECK(own.received() == "10.0.0.5 443 ");
}

TEST_CASE("a connection without a header in order is closed", "[proxy_protocol]") {
    auto const chain =
        as_client("10.0.0.5") | proxy_protocol({.trusted = {"10.0.0.0/8"}, .timeout = 2s}) | tell;
    SECTION("something else") {
        testing::session s(chain);
        s.send("GET / HTTP/1.1\r\n\r\n");
        CHECK(s.received().empty());
        CHECK(s.ended());
    }
    SECTION("nothing for too long, or never all of it") {
        auto const part = GENERATE("", "PROXY TCP4 10.0");
        testing::session s(chain);
        s.send(part);
        s.advance(1900ms);
        CHECK_FALSE(s.ended());
        s.advance(300ms);
        CHECK(s.ended());
        CHECK(s.received().empty());
    }
    SECTION("an end in the middle") {
        testing::session s(chain);
        s.send("PROXY TCP4 10.0");
        s.shutdown_send();
        CHECK(s.ended());
        CHECK(s.received().empty());
    }
}

TEST_CASE("who is not trusted says nothing about addresses", "[proxy_protocol]") {
    std::string const header = "PROXY TCP4 192.0.2.9 192.0.2.7 4097 443\r\n";
    testing::session refused(as_client("11.0.0.5") | proxy_protocol({.trusted = {"10.0.0.0/8"}}) |
                             tell);
    refused.send(header);
    CHECK(refused.ended());
    CHECK(refused.received().empty());
    testing::session passed(as_client("11.0.0.5") |
                            proxy_protocol({.trusted = {"10.0.0.0/8"}, .others = true}) |
                            stage([](connection& c, connection::next next) -> awaitable<> {
                                co_await c.downstream().readable(1s);
                                co_await next(c);
                            }) |
                            tell);
    passed.send(header);
    CHECK(passed.received() == "11.0.0.5 443 " + header);
}

TEST_CASE("options of proxy_protocol that cannot be right", "[proxy_protocol]") {
    auto const why = [](proxy_protocol_options o) -> std::string {
        try {
            proxy_protocol(std::move(o)).prepare();
        } catch (startup_error const& e) {
            return e.what();
        }
        return "";
    };
    CHECK(why({}).find("nobody is trusted") != std::string::npos);
    CHECK(why({.trusted = {"10.0.0"}}).find("\"10.0.0\" is no address") != std::string::npos);
    CHECK(why({.trusted = {"::1"}, .timeout = 0s}).find(".timeout") != std::string::npos);
    CHECK(why({.trusted = {"::1"}, .max_size = 10}).find(".max_size") != std::string::npos);
    CHECK(why({.trusted = {"::1"}}).empty());
}
