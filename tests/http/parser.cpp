#include "catch.hpp"

#include <relais/http/parser.hpp>

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

using namespace relais;
using namespace std::string_literals;

namespace {

struct outcome {
    parse_state state = parse_state::incomplete;
    end_reason why = end_reason::completed;
    std::size_t size = 0;
    std::string sentence, text;

    friend bool operator==(outcome const&, outcome const&) = default;
    friend std::ostream& operator<<(std::ostream& o, outcome const& x) {
        return o << int(x.state) << ' ' << word_of(x.why) << ' ' << x.size << " '" << x.sentence
                 << "' " << x.text;
    }
};

std::string text(request_line const& l) {
    return std::string(l.method_text) + " " + std::string(l.target) + " " +
           std::to_string(l.version);
}

std::string text(status_line const& l) {
    return std::to_string(l.version) + " " + std::to_string(l.status) + " " + std::string(l.reason);
}

template <class Line>
outcome make(parse_result const& r, Line const& line, fields const& f) {
    outcome o{r.state, r.why, r.size, r.sentence, {}};
    if (r.state != parse_state::complete)
        return o;
    o.text = text(line);
    for (auto const& [name, value] : f) {
        CHECK_FALSE(name.empty());
        o.text.append("|").append(name).append("=").append(value);
    }
    return o;
}

template <class Line>
outcome whole(std::string_view bytes, head_limits const& limits = {}) {
    head_parser p(limits);
    Line line;
    fields f;
    return make(p.parse(bytes, line, f), line, f);
}

// In pieces of one size. Where `moving`, the bytes are somewhere else at each call.
template <class Line>
outcome pieces(std::string_view bytes, std::size_t size, bool moving,
               head_limits const& limits = {}) {
    head_parser p(limits);
    Line line;
    fields f;
    std::vector<std::string> copies;
    for (std::size_t n = size;; n += size) {
        auto part = bytes.substr(0, n);
        if (moving)
            part = copies.emplace_back(part);
        auto const r = p.parse(part, line, f);
        if (r.state != parse_state::incomplete || part.size() == bytes.size())
            return make(r, line, f);
    }
}

// Whole, and cut in every way: it must not matter.
template <class Line>
outcome parse(std::string const& bytes, head_limits const& limits = {}) {
    auto const o = whole<Line>(bytes, limits);
    for (std::size_t const size : {1u, 2u, 3u, 7u, 16u, 17u, 33u})
        if (size < bytes.size()) {
            CHECK(pieces<Line>(bytes, size, false, limits) == o);
            if (bytes.size() < 2000)
                CHECK(pieces<Line>(bytes, size, true, limits) == o);
        }
    return o;
}

outcome request(std::string const& bytes, head_limits const& limits = {}) {
    return parse<request_line>(bytes, limits);
}
outcome response(std::string const& bytes) {
    return parse<status_line>(bytes, default_response_limits);
}

std::string with(std::string const& line) {
    return "GET / HTTP/1.1\r\nHost: a\r\n" + line + "\r\nLast: 1\r\n\r\n";
}

} // namespace

TEST_CASE("request heads that are right", "[parser]") {
    struct row {
        char const* name;
        std::string bytes, text;
    };
    for (auto const& r : std::vector<row>{
             {"the smallest", "GET / HTTP/1.0\r\n\r\n", "GET / 10"},
             {"a field", "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a?b 11|Host=x"},
             {"one CRLF before the request line is skipped",
              "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / 11|Host=x"},
             {"a method that nobody knows", "M-X!#$%&'*+.^_`|~9 * HTTP/1.1\r\n\r\n",
              "M-X!#$%&'*+.^_`|~9 * 11"},
             {"white space around values is cut off",
              "GET / HTTP/1.1\r\nA:b\r\nC: \t d \t \r\nE:\tf\r\n\r\n", "GET / 11|A=b|C=d|E=f"},
             {"values may be empty", "GET / HTTP/1.1\r\nA:\r\nB: \r\nC: \t\r\nD:  \r\n\r\n",
              "GET / 11|A=|B=|C=|D="},
             {"HTAB and obs-text in a value", "GET / HTTP/1.1\r\nA: b\tc \xc3\xa9\xff\r\n\r\n",
              "GET / 11|A=b\tc \xc3\xa9\xff"},
             {"a long value with a tab in each place",
              "GET / HTTP/1.1\r\nA: 0123456789abcdef\t123456789abcdef\t\t\t3456789\r\n\r\n",
              "GET / 11|A=0123456789abcdef\t123456789abcdef\t\t\t3456789"},
             {"colons in a value", "GET / HTTP/1.1\r\nA: :b:c:\r\nB::\r\n\r\n",
              "GET / 11|A=:b:c:|B=:"},
             {"every tchar in a name", "GET / HTTP/1.1\r\n!#$%&'*+-.^`|~09azAZ: x\r\n\r\n",
              "GET / 11|!#$%&'*+-.^`|~09azAZ=x"},
             {"repeated fields, in order and case",
              "GET / HTTP/1.1\r\nB: 1\r\na: 2\r\nb: 3\r\n\r\n", "GET / 11|B=1|a=2|b=3"},
             {"names of 15 to 18 characters",
              "GET / HTTP/1.1\r\nabcdefghijklmno: 1\r\nabcdefghijklmnop: 2\r\nabcdefghijklmnopq: "
              "3\r\nabcdefghijklmnopqr:4\r\n\r\n",
              "GET / "
              "11|abcdefghijklmno=1|abcdefghijklmnop=2|abcdefghijklmnopq=3|abcdefghijklmnopqr=4"},
             {"a target with obs-text is for the path's rules", "GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
              "GET /\xc3\xa9 11"},
         }) {
        INFO(r.name);
        auto const o = request(r.bytes + "the body");
        CHECK(o.state == parse_state::complete);
        CHECK(o.text == r.text);
        CHECK(o.size == r.bytes.size());
        for (std::size_t n = 0; n < r.bytes.size(); ++n)
            CHECK(whole<request_line>(r.bytes.substr(0, n)).state == parse_state::incomplete);
    }
}

TEST_CASE("request heads that are wrong", "[parser]") {
    auto const bad = end_reason::bad_request;
    struct row {
        char const* name;
        std::string bytes;
        end_reason why;
        char const* part;
    };
    for (auto const& r : std::vector<row>{
             {"two CRLF before the request line", "\r\n\r\nGET / HTTP/1.1\r\n\r\n", bad,
              "more than one empty line"},
             {"an LF before the request line", "\nGET / HTTP/1.1\r\n\r\n", bad, "method"},
             {"a CR before the request line", "\rGET / HTTP/1.1\r\n\r\n", bad, "CR without"},
             {"a space before the request line", " GET / HTTP/1.1\r\n\r\n", bad, "method"},
             {"method: no token", "G@T / HTTP/1.1\r\n\r\n", bad, "method"},
             {"method: a tab after it", "GET\t/ HTTP/1.1\r\n\r\n", bad, "method"},
             {"method alone", "GET\r\n\r\n", bad, "method"},
             {"TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01"s, bad, "method"},
             {"no target", "GET HTTP/1.1\r\n\r\n", bad, "no HTTP version"},
             {"empty target", "GET  HTTP/1.1\r\n\r\n", bad, "no target"},
             {"HTTP/0.9", "GET /\r\n\r\n", bad, "no HTTP version"},
             {"two spaces before the version", "GET /  HTTP/1.1\r\n\r\n", bad, "version"},
             {"a space in the target", "GET /a b HTTP/1.1\r\n\r\n", bad, "version"},
             {"a space after the version", "GET / HTTP/1.1 \r\n\r\n", bad, "follows"},
             {"target: a tab", "GET /\ta HTTP/1.1\r\n\r\n", end_reason::bad_target, "target"},
             {"target: NUL", "GET /\0a HTTP/1.1\r\n\r\n"s, end_reason::bad_target, "target"},
             {"target: a control byte", "GET /\x01 HTTP/1.1\r\n\r\n", end_reason::bad_target,
              "target"},
             {"target: DEL", "GET /\x7f HTTP/1.1\r\n\r\n", end_reason::bad_target, "target"},
             {"version 1.2", "GET / HTTP/1.2\r\n\r\n", end_reason::version_not_supported,
              "version"},
             {"version 2.0, the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
              end_reason::version_not_supported, "version"},
             {"version 0.9", "GET / HTTP/0.9\r\n\r\n", end_reason::version_not_supported,
              "version"},
             {"version in small letters", "GET / http/1.1\r\n\r\n", bad, "version"},
             {"version with two digits", "GET / HTTP/1.11\r\n\r\n", bad, "follows"},
             {"version without a minor one", "GET / HTTP/1\r\n\r\n", bad, "version"},
             {"another protocol", "GET / HTCPCP/1.0\r\n\r\n", bad, "version"},
             {"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", bad, "follows"},
             {"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n", bad,
              "LF without"},
             {"bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", bad, "name of a field"},
             {"bare CR in a value", with("A: b\rc"), bad, "CR without"},
             {"CR CR LF", with("A: b\r"), bad, "CR without"},
             {"bare CR in a name", with("A\rB: c"), bad, "name of a field"},
             {"bare CR in the request line", "GET / HTTP/1.1\rHost: a\r\n\r\n", bad, "CR without"},
             {"bare CR at the end", "GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n", bad, "CR without"},
             {"obs-fold with a space", with("A: b\r\n c"), bad, "begins with white space"},
             {"obs-fold with a tab", with("A: b\r\n\tc"), bad, "begins with white space"},
             {"obs-fold in the first field line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", bad,
              "begins with white space"},
             {"a line of white space", with(" "), bad, "begins with white space"},
             {"space before the colon", with("A : b"), bad, "before the colon"},
             {"tab before the colon", with("A\t: b"), bad, "before the colon"},
             {"space in a name", with("A B: c"), bad, "before the colon"},
             {"empty name", with(": b"), bad, "without a name"},
             {"no colon", with("Ab"), bad, "name of a field"},
             {"name: a parenthesis", with("A(b): c"), bad, "name of a field"},
             {"name: obs-text", with("Caf\xc3\xa9: c"), bad, "name of a field"},
             {"name: NUL", with("A\0B: c"s), bad, "name of a field"},
             {"name: CR where a hyphen belongs", with("Content\rLength: 5"), bad,
              "name of a field"},
             {"name: a long one with a fault at its end", with("abcdefghijklmnopqrstuvwxyz@: c"),
              bad, "name of a field"},
             {"value: NUL", with("A: b\0c"s), bad, "control byte"},
             {"value: ESC", with("A: b\x1b[1m"), bad, "control byte"},
             {"value: DEL", with("A: b\x7f"), bad, "control byte"},
             {"value: a control byte after 40 others",
              with("A: " + std::string(40, 'x') + "\x01 and more"), bad, "control byte"},
             {"value: a vertical tab before it",
              with("Transfer-Encoding: \x0b"
                   "chunked"),
              bad, "control byte"},
         }) {
        INFO(r.name);
        auto const o = request(r.bytes);
        CHECK(o.state == parse_state::rejected);
        CHECK(word_of(o.why) == word_of(r.why));
        CHECK_THAT(o.sentence, Catch::Contains(r.part));
    }
}

TEST_CASE("every byte has its place in a head", "[parser]") {
    std::string const token =
        "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (int i = 0; i < 256; ++i) {
        char const c = static_cast<char>(i);
        std::string const s(1, c);
        CAPTURE(i);
        bool const is_token = token.find(c) != token.npos;
        bool const in_value = i == '\t' || (i >= 32 && i != 127);
        bool const in_target = i > 32 && i != 127;
        auto const complete = parse_state::complete;
        // Short and long, so that both ways of looking at bytes are taken.
        for (auto const& pad : {""s, std::string(7, 'x'), std::string(40, 'x')}) {
            CHECK((whole<request_line>("M" + pad + s + "M / HTTP/1.1\r\nHost: a\r\n\r\n").state ==
                   complete) == (is_token));
            CHECK((whole<request_line>(with("N" + pad + s + "N: v")).state == complete) ==
                  (is_token || c == ':'));
            CHECK((whole<request_line>(with("N: v" + pad + s + "v")).state == complete) ==
                  in_value);
            CHECK((whole<request_line>("GET /" + pad + s + "a HTTP/1.1\r\nHost: a\r\n\r\n").state ==
                   complete) == in_target);
            CHECK((whole<status_line>("HTTP/1.1 200 r" + pad + s + "r\r\n\r\n").state ==
                   complete) == in_value);
        }
    }
}

TEST_CASE("the limits of a head", "[parser]") {
    std::string const line = "GET / HTTP/1.1\r\n";
    auto const sized = [&](std::size_t size) {
        std::string s = line + "A: ";
        return s + std::string(size - s.size() - 4, 'x') + "\r\n\r\n";
    };
    SECTION("32 KiB") {
        CHECK(whole<request_line>(sized(32768)).state == parse_state::complete);
        auto const o = whole<request_line>(sized(32769));
        CHECK(o.state == parse_state::rejected);
        CHECK(o.why == end_reason::head_too_large);
        CHECK(whole<request_line>(sized(32769).substr(0, 32767)).state == parse_state::incomplete);
        CHECK(pieces<request_line>(sized(32769), 1, false) == o);
        CHECK(pieces<request_line>(sized(32768), 1, false) == whole<request_line>(sized(32768)));
    }
    SECTION("as an option") {
        head_limits small;
        small.max_head_size = 64;
        CHECK(request(sized(64), small).state == parse_state::complete);
        CHECK(request(sized(65), small).why == end_reason::head_too_large);
        CHECK(request(sized(64) + std::string(1000, 'b'), small).state == parse_state::complete);
        CHECK(request("GET /" + std::string(100, 'x') + " HTTP/1.1\r\n\r\n", small).why ==
              end_reason::target_too_long);
    }
    SECTION("100 fields") {
        std::string s = line;
        for (int i = 0; i < 100; ++i)
            s += "A: b\r\n";
        CHECK(request(s + "\r\n").state == parse_state::complete);
        auto const o = request(s + "A: b\r\n\r\n");
        CHECK(o.state == parse_state::rejected);
        CHECK(o.why == end_reason::head_too_large);
        // Dropped ones count, or they would cost work without a bound.
        CHECK(request(s + "A_B: c\r\n\r\n").why == end_reason::head_too_large);
    }
    SECTION("a target of 8 KiB") {
        auto const get = [](std::size_t size) {
            return "GET /" + std::string(size - 1, 'x') + " HTTP/1.1\r\n\r\n";
        };
        CHECK(request(get(8192)).state == parse_state::complete);
        auto const o = request(get(8193));
        CHECK(o.state == parse_state::rejected);
        CHECK(o.why == end_reason::target_too_long);
        CHECK(whole<request_line>("GET /" + std::string(40000, 'x')).why ==
              end_reason::target_too_long);
    }
    SECTION("a response: 64 KiB") {
        auto const reply = [](std::size_t size) {
            std::string s = "HTTP/1.1 200 OK\r\nA: ";
            return s + std::string(size - s.size() - 4, 'x') + "\r\n\r\n";
        };
        CHECK(whole<status_line>(reply(65536), default_response_limits).state ==
              parse_state::complete);
        CHECK(whole<status_line>(reply(65537), default_response_limits).why ==
              end_reason::response_head_too_large);
        std::string s = "HTTP/1.1 200 OK\r\n";
        for (int i = 0; i < 257; ++i)
            s += "A: b\r\n";
        CHECK(response(s + "\r\n").why == end_reason::response_head_too_large);
    }
}

TEST_CASE("names with an underscore", "[parser]") {
    auto const bytes = with("X_Real_IP: 1\r\nContent_Length: 5\r\n_: "
                            "x\r\nabcdefghijklmnopqrstuvw_xyz: 1\r\nX-Real-IP: 2");
    head_limits limits;
    CHECK(request(bytes).text == "GET / 11|Host=a|X-Real-IP=2|Last=1");
    limits.underscore_names = underscores::keep;
    CHECK(request(bytes, limits).text == "GET / "
                                         "11|Host=a|X_Real_IP=1|Content_Length=5|_=x|"
                                         "abcdefghijklmnopqrstuvw_xyz=1|X-Real-IP=2|Last=1");
    limits.underscore_names = underscores::reject;
    auto const o = request(bytes, limits);
    CHECK(o.state == parse_state::rejected);
    CHECK(o.why == end_reason::bad_request);
    CHECK_THAT(o.sentence, Catch::Contains("underscore"));
    CHECK(response("HTTP/1.1 200 OK\r\nA_B: c\r\n\r\n").text == "11 200 OK|A_B=c");
}

TEST_CASE("known fields are known and verbs are found", "[parser]") {
    head_parser p;
    request_line line;
    fields f;
    std::string const bytes =
        "POST /x HTTP/1.1\r\nhOST: a\r\nContent-LENGTH: 3\r\nX: y\r\nTE: trailers\r\n\r\nabc";
    auto const r = p.parse(bytes, line, f);
    REQUIRE(r.state == parse_state::complete);
    CHECK(bytes.substr(r.size) == "abc");
    CHECK(line.method == verb::post);
    CHECK(f[known_field::host] == "a");
    CHECK(f[known_field::content_length] == "3");
    CHECK(f[known_field::te] == "trailers");
    CHECK(f.find(known_field::host)->name == "hOST");
    CHECK(f["x"].data() == bytes.data() + bytes.find('y'));

    // The next head, with the same objects.
    p.reset();
    std::string const next = "FROB * HTTP/1.0\r\n\r\n";
    REQUIRE(p.parse(next, line, f).state == parse_state::complete);
    CHECK(line.method == verb::unknown);
    CHECK(line.method_text == "FROB");
    CHECK(line.version == 10);
    CHECK(f.empty());
    for (auto const& [text, method] :
         std::vector<std::pair<std::string, verb>>{{"GET", verb::get},
                                                   {"HEAD", verb::head},
                                                   {"DELETE", verb::delete_},
                                                   {"OPTIONS", verb::options},
                                                   {"CONNECT", verb::connect},
                                                   {"M-SEARCH", verb::msearch},
                                                   {"get", verb::unknown},
                                                   {"GETS", verb::unknown}}) {
        p.reset();
        std::string const head = text + " / HTTP/1.1\r\n\r\n";
        REQUIRE(p.parse(head, line, f).state == parse_state::complete);
        CHECK(line.method == method);
    }
}

TEST_CASE("response heads", "[parser]") {
    auto const bad = end_reason::bad_response;
    struct row {
        char const* name;
        std::string bytes, text;
    };
    for (auto const& r : std::vector<row>{
             {"the usual", "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", "11 200 OK|Server=x"},
             {"HTTP/1.0", "HTTP/1.0 404 Not Found\r\n\r\n", "10 404 Not Found"},
             {"an empty reason", "HTTP/1.1 204 \r\n\r\n", "11 204 "},
             {"a reason with obs-text and a tab", "HTTP/1.1 200 \xc3\xa9\ta\r\n\r\n",
              "11 200 \xc3\xa9\ta"},
             {"interim", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
              "11 103 Early Hints|Link=x"},
             {"a status beyond the classes", "HTTP/1.1 999 ?\r\n\r\n", "11 999 ?"},
         }) {
        INFO(r.name);
        auto const o = response(r.bytes);
        CHECK(o.state == parse_state::complete);
        CHECK(o.text == r.text);
        CHECK(o.size == r.bytes.size());
    }
    for (auto const& bytes : {"\r\nHTTP/1.1 200 OK\r\n\r\n"s,
                              "HTTP/1.1 200\r\n\r\n"s,
                              "HTTP/1.1  200 OK\r\n\r\n"s,
                              "HTTP/1.1 20 OK\r\n\r\n"s,
                              "HTTP/1.1 2000 OK\r\n\r\n"s,
                              "HTTP/1.1 099 OK\r\n\r\n"s,
                              "HTTP/1.1 2x0 OK\r\n\r\n"s,
                              "HTTP/1.1 +20 OK\r\n\r\n"s,
                              "HTTP/2.0 200 OK\r\n\r\n"s,
                              "HTTP/1.2 200 OK\r\n\r\n"s,
                              "http/1.1 200 OK\r\n\r\n"s,
                              "ICY 200 OK\r\n\r\n"s,
                              "HTTP/1.1\r\n\r\n"s,
                              "HTTP/1.1 200 a\0b\r\n\r\n"s,
                              "HTTP/1.1 200 OK\n\n"s,
                              "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"s,
                              "HTTP/1.1 200 OK\r\nA: b\x01\r\n\r\n"s,
                              "HTTP/1.1 200 OK\r\nA : b\r\n\r\n"s,
                              "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n"s,
                              "HTTP/1.1 200 OK\r\n: b\r\n\r\n"s}) {
        INFO(bytes);
        auto const o = response(bytes);
        CHECK(o.state == parse_state::rejected);
        CHECK(word_of(o.why) == word_of(bad));
        CHECK_FALSE(o.sentence.empty());
    }
}

TEST_CASE("trailer sections", "[parser]") {
    head_parser p;
    fields f;
    std::string s = "\r\nrest";
    auto r = p.parse_trailers(s, f);
    CHECK(r.state == parse_state::complete);
    CHECK(r.size == 2);
    p.reset();
    s = "Checksum: abc\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n";
    r = p.parse_trailers(s, f);
    CHECK(r.state == parse_state::complete);
    CHECK(r.size == s.find("GET"));
    CHECK(f["checksum"] == "abc");
    CHECK(f.size() == 2);
    p.reset();
    CHECK(p.parse_trailers("X: y\r\n z\r\n\r\n", f).state == parse_state::rejected);
    p.reset();
    CHECK(p.parse_trailers("X: y\r\n", f).state == parse_state::incomplete);
}

TEST_CASE("a fault in what has come is found before the head is whole", "[parser]") {
    CHECK(whole<request_line>("GET / HTTP/2.0\r\n").state == parse_state::rejected);
    CHECK(whole<request_line>("GET / HTTP/1.1\r\nA b: c\r\n").state == parse_state::rejected);
    CHECK(whole<request_line>("GET / HTTP/1.1\r\nA: \x01").state == parse_state::rejected);
    CHECK(whole<request_line>("\x16").state == parse_state::rejected);
    CHECK(pieces<request_line>("GET / HTTP/1.1\r\nA: b\x01", 1, false).state ==
          parse_state::rejected);
}
