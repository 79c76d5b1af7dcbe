#include "catch.hpp"

#include <relais/http/framing.hpp>

#include <string>
#include <vector>

using namespace relais;
using namespace std::string_literals;

namespace {

struct request {
    std::string bytes;
    request_line line;
    fields head;
    request_facts facts;

    explicit request(std::string b, gate_options const& options = {}) : bytes(std::move(b)) {
        head_parser parser;
        auto const r = parser.parse(bytes, line, head);
        INFO(bytes);
        INFO(r.sentence);
        REQUIRE(r.state == parse_state::complete);
        facts = examine_request(line, head, options);
    }
};

std::string post(std::string const& fields, char const* version = "1.1") {
    return "POST /x HTTP/"s + version + "\r\nHost: a\r\n" + fields + "\r\n";
}

std::string get(std::string const& target, std::string const& host = "a",
                char const* method = "GET") {
    return method + " "s + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n";
}

struct response {
    std::string bytes;
    status_line line;
    fields head;
    response_facts facts;

    response(std::string b, verb method, bool upgrade = false) : bytes(std::move(b)) {
        head_parser parser(default_response_limits);
        INFO(bytes);
        REQUIRE(parser.parse(bytes, line, head).state == parse_state::complete);
        facts = examine_response(line, head, method, upgrade);
    }
};

} // namespace

TEST_CASE("request framing that is refused", "[framing]") {
    auto const bad = end_reason::bad_request;
    auto const unknown = end_reason::coding_not_implemented;
    struct row {
        char const* name;
        std::string fields;
        end_reason why;
        char const* version = "1.1";
    };
    for (auto const& r : std::vector<row>{
             {"Content-Length, then Transfer-Encoding",
              "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", bad},
             {"Transfer-Encoding, then Content-Length",
              "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", bad},
             {"both, with a length of 0", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
              bad},
             {"both, the coding unknown", "Transfer-Encoding: gzip\r\nContent-Length: 0\r\n", bad},
             {"coding: gzip", "Transfer-Encoding: gzip\r\n", unknown},
             {"coding: identity", "Transfer-Encoding: identity\r\n", unknown},
             {"coding: gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", unknown},
             {"coding: gzip, then chunked in another line",
              "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", unknown},
             {"coding: chunked, identity", "Transfer-Encoding: chunked, identity\r\n", bad},
             {"coding: chunked, then identity in another line",
              "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", bad},
             {"coding: chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n", bad},
             {"coding: chunked twice",
              "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", bad},
             {"coding: ,chunked", "Transfer-Encoding: ,chunked\r\n", bad},
             {"coding: chunked,", "Transfer-Encoding: chunked,\r\n", bad},
             {"coding: quoted", "Transfer-Encoding: \"chunked\"\r\n", bad},
             {"coding: in single quotes", "Transfer-Encoding: 'chunked'\r\n", unknown},
             {"coding: xchunked", "Transfer-Encoding: xchunked\r\n", unknown},
             {"coding: chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n", bad},
             {"coding: chunked with an empty parameter", "Transfer-Encoding: chunked ;\r\n", bad},
             {"coding: unknown, with a quoted comma", "Transfer-Encoding: x;a=\"b,chunked\"\r\n",
              unknown},
             {"coding: a quote that does not end", "Transfer-Encoding: x;a=\"b, chunked\r\n", bad},
             {"coding: chunked and another word", "Transfer-Encoding: chunked x\r\n", bad},
             {"coding: an empty value", "Transfer-Encoding:\r\n", bad},
             {"coding: in HTTP/1.0", "Transfer-Encoding: chunked\r\n", bad, "1.0"},
             {"length: two lines", "Content-Length: 5\r\nContent-Length: 6\r\n", bad},
             {"length: two equal lines", "Content-Length: 5\r\ncontent-length: 5\r\n", bad},
             {"length: a list", "Content-Length: 5, 5\r\n", bad},
             {"length: empty", "Content-Length:\r\n", bad},
             {"length: plus", "Content-Length: +5\r\n", bad},
             {"length: minus", "Content-Length: -5\r\n", bad},
             {"length: hex", "Content-Length: 0x5\r\n", bad},
             {"length: an inner space", "Content-Length: 1 5\r\n", bad},
             {"length: a fraction", "Content-Length: 5.0\r\n", bad},
             {"length: 2^63", "Content-Length: 9223372036854775808\r\n", bad},
             {"length: 2^64 + 5", "Content-Length: 18446744073709551621\r\n", bad},
             {"length: 40 digits", "Content-Length: 1000000000000000000000000000000000000005\r\n",
              bad},
             {"length: bad in HTTP/1.0", "Content-Length: 5,5\r\n", bad, "1.0"},
         }) {
        INFO(r.name);
        request const x(post(r.fields, r.version));
        CHECK(x.facts.rejected);
        CHECK(word_of(x.facts.rejected.why) == word_of(r.why));
        CHECK(x.facts.rejected.closes);
        CHECK_FALSE(x.facts.keep_alive);
        CHECK_FALSE(std::string(x.facts.rejected.sentence).empty());
    }
}

TEST_CASE("request framing that is right", "[framing]") {
    struct row {
        char const* name;
        std::string fields;
        body_framing body;
        char const* version = "1.1";
    };
    for (auto const& r : std::vector<row>{
             {"none", "", {framing_kind::none, 0}},
             {"a length", "Content-Length: 5\r\n", {framing_kind::length, 5}},
             {"a length of 0 is no body", "Content-Length: 0\r\n", {framing_kind::none, 0}},
             {"leading zeros", "Content-Length: 0005\r\n", {framing_kind::length, 5}},
             {"the longest",
              "Content-Length: 9223372036854775807\r\n",
              {framing_kind::length, 9223372036854775807u}},
             {"chunked", "Transfer-Encoding: chunked\r\n", {framing_kind::chunked, 0}},
             {"chunked, in any case",
              "transfer-encoding: \t CHUNKed \r\n",
              {framing_kind::chunked, 0}},
             {"a length in HTTP/1.0", "Content-Length: 5\r\n", {framing_kind::length, 5}, "1.0"},
         }) {
        INFO(r.name);
        request const x(post(r.fields, r.version));
        CHECK_FALSE(x.facts.rejected);
        CHECK(x.facts.body == r.body);
    }
}

TEST_CASE("Host", "[framing]") {
    auto const why = [](std::string const& head) { return request(head).facts.rejected.why; };
    CHECK(why("GET / HTTP/1.1\r\n\r\n") == end_reason::bad_host);
    CHECK(why("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n") == end_reason::bad_host);
    CHECK(why("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n") == end_reason::bad_host);
    CHECK(why("GET / HTTP/1.0\r\nHost:\r\n\r\n") == end_reason::bad_host);
    CHECK(request("GET / HTTP/1.1\r\n\r\n").facts.rejected.closes);
    struct row {
        std::string host;
        bool good;
        std::string name;
        unsigned port = 0;
    };
    for (auto const& r : std::vector<row>{
             {"a", true, "a"},
             {"Example.COM:8080", true, "Example.COM", 8080},
             {"example.com.", true, "example.com."},
             {"under_score", true, "under_score"},
             {"127.0.0.1:80", true, "127.0.0.1", 80},
             {"a:", true, "a"},
             {"a:65535", true, "a", 65535},
             {"[::1]", true, "::1"},
             {"[::1]:443", true, "::1", 443},
             {"[::]", true, "::"},
             {"[2001:db8::8:800:200c:417a]", true, "2001:db8::8:800:200c:417a"},
             {"[1:2:3:4:5:6:7:8]", true, "1:2:3:4:5:6:7:8"},
             {"[1:2:3:4:5:6:7::]", true, "1:2:3:4:5:6:7::"},
             {"[::ffff:192.0.2.1]", true, "::ffff:192.0.2.1"},
             {"[1:2:3:4:5:6:192.0.2.1]", true, "1:2:3:4:5:6:192.0.2.1"},
             {"caf%C3%A9", true, "caf%C3%A9"},
             {"a!$&'()*+,;=~b", true, "a!$&'()*+,;=~b"},
             {"", false, ""},
             {":80", false, ""},
             {"a b", false, ""},
             {"a/b", false, ""},
             {"a?b", false, ""},
             {"a#b", false, ""},
             {"a\\b", false, ""},
             {"user@a", false, ""},
             {"a:b", false, ""},
             {"a:80:80", false, ""},
             {"a:-1", false, ""},
             {"a:+80", false, ""},
             {"a:0", false, ""},
             {"a:65536", false, ""},
             {"a:4294967376", false, ""},
             {"a:80 ,b", false, ""},
             {"a%", false, ""},
             {"a%4", false, ""},
             {"a%zz", false, ""},
             {"\xc3\xa9", false, ""},
             {"a\"b", false, ""},
             {"<a>", false, ""},
             {"a|b", false, ""},
             {"::1", false, ""},
             {"[]", false, ""},
             {"[::1", false, ""},
             {"[::1]x", false, ""},
             {"[::1]80", false, ""},
             {"[1:2:3:4:5:6:7]", false, ""},
             {"[1:2:3:4:5:6:7:8:9]", false, ""},
             {"[1:2:3:4:5:6:7:8::]", false, ""},
             {"[1::2::3]", false, ""},
             {"[:1::2]", false, ""},
             {"[1::2:]", false, ""},
             {"[:::1]", false, ""},
             {"[12345::]", false, ""},
             {"[g::]", false, ""},
             {"[fe80::1%25eth0]", false, ""},
             {"[::ffff:192.0.2]", false, ""},
             {"[::ffff:192.0.2.256]", false, ""},
             {"[::ffff:192.0.2.01]", false, ""},
             {"[::ffff:192.0.2.1.1]", false, ""},
             {"[::192.0.2.1:1]", false, ""},
             {"[1:2:3:4:5:6:7:192.0.2.1]", false, ""},
             {"[192.0.2.1]", false, ""},
             {"[v1.a]", false, ""},
             {"[a]", false, ""},
         }) {
        CAPTURE(r.host);
        request const x(get("/", r.host));
        CHECK(word_of(x.facts.rejected.why) ==
              word_of(r.good ? end_reason::completed : end_reason::bad_host));
        CHECK(x.facts.host.host == r.name);
        CHECK(x.facts.host.port == r.port);
        if (r.good) {
            CHECK(x.facts.authority == r.host);
            CHECK(x.facts.host.ipv6 == (r.host[0] == '['));
        }
    }
    request const old("GET / HTTP/1.0\r\n\r\n");
    CHECK_FALSE(old.facts.rejected);
    CHECK(old.facts.authority.empty());
}

TEST_CASE("the forms of a target", "[framing]") {
    struct row {
        char const* name;
        std::string head;
        end_reason why;
        target_form form = target_form::origin;
        std::string authority = {}, path = {}, query = {};
        bool has_query = false;
    };
    auto const ok = end_reason::completed;
    auto const bad = end_reason::bad_target;
    for (auto const& r : std::vector<row>{
             {"origin", get("/a/b"), ok, target_form::origin, "a", "/a/b", "", false},
             {"origin with a query", get("/a?b=c?d"), ok, target_form::origin, "a", "/a", "b=c?d",
              true},
             {"origin with an empty query", get("/?"), ok, target_form::origin, "a", "/", "", true},
             {"origin with two slashes", get("//b/c"), ok, target_form::origin, "a", "//b/c", "",
              false},
             {"absolute", get("http://a/b?c"), ok, target_form::absolute, "a", "/b", "c", true},
             {"absolute: its authority replaces Host", get("HTTP://A:80/b", "a"), ok,
              target_form::absolute, "A:80", "/b", "", false},
             {"absolute, https, the default port in Host", get("https://a/", "a:443"), ok,
              target_form::absolute, "a", "/", "", false},
             {"absolute without a path", get("http://a"), ok, target_form::absolute, "a", "/", "",
              false},
             {"absolute, a query without a path", get("http://a?b"), ok, target_form::absolute, "a",
              "/", "b", true},
             {"absolute, IPv6", get("http://[::1]:81/b", "[::1]:81"), ok, target_form::absolute,
              "[::1]:81", "/b", "", false},
             {"absolute without a path, OPTIONS", get("http://a", "a", "OPTIONS"), ok,
              target_form::absolute, "a", "*", "", false},
             {"absolute, HTTP/1.0 without Host", "GET http://a/b HTTP/1.0\r\n\r\n", ok,
              target_form::absolute, "a", "/b", "", false},
             {"absolute: no Host", "GET http://a/b HTTP/1.1\r\n\r\n", end_reason::bad_host},
             {"absolute: another Host", get("http://a/", "b"), end_reason::bad_host},
             {"absolute: another port", get("http://a:81/", "a"), end_reason::bad_host},
             {"absolute: the port of another scheme", get("https://a/", "a:80"),
              end_reason::bad_host},
             {"absolute: an empty Host", get("http://a/", ""), end_reason::bad_host},
             {"absolute: another scheme", get("ftp://a/"), bad},
             {"absolute: no slashes", get("http:a/"), bad},
             {"absolute: no authority", get("http:///b"), bad},
             {"absolute: a user", get("http://u@a/"), bad},
             {"absolute: a bad port", get("http://a:b/"), bad},
             {"asterisk", get("*", "a", "OPTIONS"), ok, target_form::asterisk, "a", "*", "", false},
             {"asterisk outside OPTIONS", get("*"), bad},
             {"asterisk and more", get("*/x", "a", "OPTIONS"), bad},
             {"authority outside CONNECT", get("a:80"), bad},
             {"a name alone", get("a"), bad},
             {"a query alone", get("?a"), bad},
             {"a fragment", get("/a#b"), bad},
             {"a fragment after the query", get("/a?b#c"), bad},
             {"a fragment, absolute", get("http://a/#b"), bad},
         }) {
        INFO(r.name);
        request const x(r.head);
        CHECK(word_of(x.facts.rejected.why) == word_of(r.why));
        if (r.why != ok)
            continue;
        CHECK(x.facts.form == r.form);
        CHECK(x.facts.authority == r.authority);
        CHECK(x.facts.path == r.path);
        CHECK(x.facts.query == r.query);
        CHECK(x.facts.has_query == r.has_query);
    }
    CHECK(request(get("https://a/")).facts.scheme == "https");
}

TEST_CASE("CONNECT and TRACE are refused unless they are enabled", "[framing]") {
    std::string const connect = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    request const x(connect);
    CHECK(x.facts.rejected.why == end_reason::method_not_allowed);
    CHECK_FALSE(x.facts.rejected.closes);
    CHECK(request(get("/", "a", "TRACE")).facts.rejected.why == end_reason::method_not_allowed);

    gate_options both{.connect = true, .trace = true};
    request const y(connect, both);
    CHECK_FALSE(y.facts.rejected);
    CHECK(y.facts.form == target_form::authority);
    CHECK(y.facts.host.host == "a");
    CHECK(y.facts.host.port == 443);
    CHECK_FALSE(request("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", both).facts.rejected);
    CHECK(request("CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", both).facts.rejected.why ==
          end_reason::bad_host);
    CHECK(request("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", both).facts.rejected.why ==
          end_reason::bad_target);
    CHECK(request("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", both).facts.rejected.why ==
          end_reason::bad_target);
    CHECK_FALSE(request(get("/", "a", "TRACE"), both).facts.rejected);
    CHECK(request("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", both)
              .facts.rejected.why == end_reason::bad_request);
}

TEST_CASE("keep-alive of requests", "[framing]") {
    struct row {
        char const* version;
        std::string fields;
        bool keep;
    };
    for (auto const& r : std::vector<row>{
             {"1.1", "", true},
             {"1.1", "Connection: close\r\n", false},
             {"1.1", "Connection: x, CLOSE\r\n", false},
             {"1.1", "Connection: x\r\nConnection: close\r\n", false},
             {"1.1", "Connection: keep-alive\r\n", true},
             {"1.1", "Connection: keep-alive, close\r\n", false},
             {"1.1", "Connection: closed\r\n", true},
             {"1.0", "", false},
             {"1.0", "Connection: Keep-Alive\r\n", true},
             {"1.0", "Connection: keep-alive, close\r\n", false},
             {"1.0", "Proxy-Connection: keep-alive\r\n", false},
         }) {
        CAPTURE(r.version, r.fields);
        CHECK(request(post(r.fields, r.version)).facts.keep_alive == r.keep);
    }
}

TEST_CASE("Upgrade counts in HTTP/1.1 where Connection names it", "[framing]") {
    std::string const both = "Upgrade: websocket\r\nConnection: keep-alive, UPGRADE\r\n";
    CHECK(request(post(both)).facts.upgrades);
    CHECK_FALSE(request(post(both, "1.0")).facts.upgrades);
    CHECK_FALSE(request(post("Upgrade: websocket\r\n")).facts.upgrades);
    CHECK_FALSE(request(post("Connection: upgrade\r\n")).facts.upgrades);
}

TEST_CASE("Expect", "[framing]") {
    struct row {
        std::string fields;
        bool waits;
        end_reason why = end_reason::completed;
        char const* version = "1.1";
    };
    auto const failed = end_reason::expectation_failed;
    for (auto const& r : std::vector<row>{
             {"Expect: 100-continue\r\nContent-Length: 5\r\n", true},
             {"Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", true},
             {"Expect: 100-continue\r\n", false},
             {"Expect: 100-continue\r\nContent-Length: 0\r\n", false},
             {"Expect: 100-continue\r\nContent-Length: 5\r\n", false, end_reason::completed, "1.0"},
             {"Expect: 200-ok\r\nContent-Length: 5\r\n", false, failed},
             {"Expect: 100-continue, x\r\nContent-Length: 5\r\n", false, failed},
             {"Expect: 100-continue\r\nExpect: x\r\nContent-Length: 5\r\n", false, failed},
             {"Expect:\r\nContent-Length: 5\r\n", false, failed},
             {"Expect: x\r\n", false, failed, "1.0"},
         }) {
        CAPTURE(r.fields, r.version);
        request const x(post(r.fields, r.version));
        CHECK(x.facts.expects_continue == r.waits);
        CHECK(word_of(x.facts.rejected.why) == word_of(r.why));
        CHECK_FALSE(x.facts.rejected.closes);
    }
}

TEST_CASE("Max-Forwards counts on OPTIONS and TRACE", "[framing]") {
    auto const options = [](std::string const& fields) {
        return request("OPTIONS * HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n").facts;
    };
    CHECK_FALSE(options("").max_forwards);
    CHECK(options("Max-Forwards: 0\r\n").max_forwards == 0u);
    CHECK(options("Max-Forwards: 70\r\n").max_forwards == 70u);
    CHECK(options("Max-Forwards: 99999999999999999999999\r\n").max_forwards == 4294967295u);
    CHECK(options("Max-Forwards: -1\r\n").rejected.why == end_reason::bad_request);
    CHECK(options("Max-Forwards:\r\n").rejected.why == end_reason::bad_request);
    CHECK(options("Max-Forwards: 1\r\nMax-Forwards: 1\r\n").rejected.why ==
          end_reason::bad_request);
    CHECK_FALSE(request(post("Max-Forwards: 0\r\n")).facts.max_forwards);
    CHECK_FALSE(request(post("Max-Forwards: x\r\n")).facts.rejected);
}

TEST_CASE("response framing", "[framing]") {
    struct row {
        char const* name;
        std::string bytes;
        verb method;
        body_framing body;
        bool keep = true;
    };
    auto const none = body_framing{};
    auto const close = body_framing{framing_kind::until_close, 0};
    for (auto const& r : std::vector<row>{
             {"a length",
              "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
              verb::get,
              {framing_kind::length, 5}},
             {"a length of 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", verb::get, none},
             {"chunked",
              "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
              verb::get,
              {framing_kind::chunked, 0}},
             {"neither", "HTTP/1.1 200 OK\r\n\r\n", verb::get, close, false},
             {"neither, with keep-alive", "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n",
              verb::get, close, false},
             {"HEAD, a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", verb::head, none},
             {"HEAD, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", verb::head,
              none},
             {"HEAD, neither", "HTTP/1.1 200 OK\r\n\r\n", verb::head, none},
             {"204, a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", verb::get,
              none},
             {"304, a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", verb::get,
              none},
             {"304, neither", "HTTP/1.1 304 Not Modified\r\n\r\n", verb::get, none},
             {"100, a length", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", verb::post,
              none},
             {"close",
              "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
              verb::get,
              {framing_kind::length, 5},
              false},
             {"HTTP/1.0",
              "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
              verb::get,
              {framing_kind::length, 5},
              false},
             {"HTTP/1.0, keep-alive",
              "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
              verb::get,
              {framing_kind::length, 5}},
             {"HTTP/1.0, neither", "HTTP/1.0 200 OK\r\n\r\n", verb::get, close, false},
         }) {
        INFO(r.name);
        response const x(r.bytes, r.method);
        CHECK_FALSE(x.facts.rejected);
        CHECK(x.facts.body == r.body);
        CHECK(x.facts.keep_alive == r.keep);
        bool const declared = r.bytes.find("Content-Length: 5") != r.bytes.npos;
        CHECK(x.facts.declared_length.value_or(0) == (declared ? 5 : 0));
    }
}

TEST_CASE("responses that are refused", "[framing]") {
    struct row {
        char const* name;
        std::string fields;
        char const* version = "1.1";
    };
    for (auto const& r : std::vector<row>{
             {"both", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"},
             {"several lengths", "Content-Length: 5\r\nContent-Length: 5\r\n"},
             {"a list of lengths", "Content-Length: 5, 5\r\n"},
             {"a length that is none", "Content-Length: x\r\n"},
             {"an unknown coding", "Transfer-Encoding: gzip\r\n"},
             {"chunked twice", "Transfer-Encoding: chunked, chunked\r\n"},
             {"chunked in HTTP/1.0", "Transfer-Encoding: chunked\r\n", "1.0"},
         }) {
        INFO(r.name);
        for (auto const method : {verb::get, verb::head}) {
            response const x("HTTP/"s + r.version + " 200 OK\r\n" + r.fields + "\r\n", method);
            CHECK(x.facts.rejected.why == end_reason::bad_response);
            CHECK_FALSE(x.facts.keep_alive);
        }
    }
}

TEST_CASE("interim responses and 101", "[framing]") {
    for (auto const code : {"100", "102", "103", "199"}) {
        response const x("HTTP/1.1 "s + code + " x\r\n\r\n", verb::get);
        CHECK(x.facts.interim);
        CHECK_FALSE(x.facts.switches);
        CHECK_FALSE(x.facts.rejected);
    }
    CHECK_FALSE(response("HTTP/1.1 200 x\r\n\r\n", verb::get).facts.interim);
    std::string const bytes = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    response const asked(bytes, verb::get, true);
    CHECK(asked.facts.switches);
    CHECK_FALSE(asked.facts.interim);
    CHECK_FALSE(asked.facts.keep_alive);
    CHECK(asked.facts.body == body_framing{});
    CHECK(response(bytes, verb::get).facts.rejected.why == end_reason::bad_response);
    auto old = bytes;
    old[7] = '0';
    CHECK(response(old, verb::get, true).facts.rejected.why == end_reason::bad_response);
}

TEST_CASE("fields that end at a hop are taken off", "[framing]") {
    auto const left = [](std::string const& fields, hop_by_hop_options const& options = {}) {
        request x(post(fields));
        erase_hop_by_hop(x.head, options);
        std::string s;
        for (auto const& [name, value] : x.head)
            s.append(name).append(" ");
        return s;
    };
    CHECK(left("A: 1\r\n") == "Host A ");
    for (auto const name :
         {"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding",
          "Upgrade", "HTTP2-Settings", "Proxy-Authenticate", "Proxy-Authorization", "Proxy"}) {
        CAPTURE(name);
        CHECK(left(name + ": x\r\nA: 1\r\n"s) == "Host A ");
    }
    CHECK(left("A: 1\r\nConnection: a, X-Mine\r\nx-mine: 2\r\nB: 3\r\nX-MINE: 4\r\n") == "Host B ");
    CHECK(left("Connection: a\r\nA: 1\r\nConnection: ,b,\r\nB: 3\r\n") == "Host ");
    CHECK(left("Connection: close, keep-alive\r\nClose: 1\r\n") == "Host Close ");
    std::string const exempt = "Content-Length: 5\r\nAuthorization: x\r\nCookie: x\r\nForwarded: "
                               "x\r\nX-Forwarded-For: x\r\nX-Forwarded-Anything: x\r\n"
                               "X-Real-IP: x\r\nX-Request-Id: x\r\n";
    CHECK(left("Connection: host, content-length, authorization, cookie, forwarded, "
               "x-forwarded-for, x-forwarded-anything, x-real-ip, "
               "x-request-id\r\n" +
               exempt) == "Host Content-Length Authorization Cookie Forwarded X-Forwarded-For "
                          "X-Forwarded-Anything X-Real-IP X-Request-Id ");
    std::string_view const trusted[] = {"X-User"};
    CHECK(left("Connection: x-user, a\r\nX-User: 1\r\nA: 2\r\n", {.trusted = trusted}) ==
          "Host X-User ");
    CHECK(left("Proxy-Authorization: 1\r\nProxy-Authenticate: 2\r\nTE: x\r\n",
               {.keep_proxy_authentication = true}) ==
          "Host Proxy-Authorization Proxy-Authenticate ");

    request const x(post("Connection: a, host\r\n"));
    CHECK(is_nominated(x.head, "A"));
    CHECK_FALSE(is_nominated(x.head, "Host"));
    CHECK_FALSE(is_nominated(x.head, "b"));
    CHECK(may_be_nominated("X-Forwarded"));
}
