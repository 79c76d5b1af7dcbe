#include "catch.hpp"

#include <relais/http/chunked.hpp>

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

using namespace relais;
using namespace std::string_literals;

namespace {

struct outcome {
    chunk_state state = chunk_state::need_more;
    std::string body, trailers, sentence;
    std::size_t size = 0; // of the body on the wire, where it ended

    friend bool operator==(outcome const&, outcome const&) = default;
    friend std::ostream& operator<<(std::ostream& o, outcome const& x) {
        return o << int(x.state) << " '" << x.body << "' '" << x.trailers << "' '" << x.sentence
                 << "' " << x.size;
    }
};

outcome feed(std::string const& wire, std::size_t piece, chunk_limits const& limits = {}) {
    chunked_decoder decoder(limits);
    outcome o;
    for (std::size_t at = 0;
         at < wire.size() && (o.state == chunk_state::need_more || o.state == chunk_state::data);) {
        auto input = std::as_bytes(std::span(wire)).subspan(at, std::min(piece, wire.size() - at));
        do {
            auto const r = decoder.decode(input);
            CHECK(r.consumed <= input.size());
            if (r.state == chunk_state::data) {
                CHECK_FALSE(r.data.empty());
                CHECK(r.data.data() + r.data.size() == input.data() + r.consumed);
            }
            o.body.append(reinterpret_cast<char const*>(r.data.data()), r.data.size());
            o.state = r.state;
            o.sentence = r.sentence;
            at += r.consumed;
            input = input.subspan(r.consumed);
            if (r.state == chunk_state::need_more)
                CHECK(input.empty());
        } while (o.state == chunk_state::data && !input.empty());
        if (o.state == chunk_state::end)
            o.size = at;
    }
    CHECK(decoder.done() == (o.state == chunk_state::end));
    if (auto const* f = decoder.trailers())
        for (auto const& [name, value] : *f)
            o.trailers.append(name).append("=").append(value).append("|");
    return o;
}

// Whole, and cut in every way: it must not matter.
outcome decode(std::string const& wire, chunk_limits const& limits = {}) {
    auto const o = feed(wire, wire.size(), limits);
    for (std::size_t const piece : {1u, 2u, 3u, 5u, 8u, 21u})
        if (piece < wire.size())
            CHECK(feed(wire, piece, limits) == o);
    return o;
}

} // namespace

TEST_CASE("chunked bodies that are right", "[chunked]") {
    struct row {
        char const* name;
        std::string wire, body, trailers;
    };
    for (auto const& r : std::vector<row>{
             {"none", "0\r\n\r\n", "", ""},
             {"one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello", ""},
             {"several", "5\r\nhello\r\n1\r\n \r\n6\r\nworld!\r\n0\r\n\r\n", "hello world!", ""},
             {"hexadecimal in both cases",
              "a\r\n0123456789\r\nA\r\n0123456789\r\n1f\r\n0123456789012345678901234567890\r\n0\r\n"
              "\r\n",
              "01234567890123456789"
              "0123456789012345678901234567890",
              ""},
             {"16 digits", "0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", "hello", ""},
             {"data that looks like framing", "9\r\n0\r\n\r\n5\r\nx\r\n0\r\n\r\n",
              "0\r\n\r\n5\r\nx", ""},
             {"extensions are dropped", "5;a=b;c=\"d;\te\"\r\nhello\r\n0;last\r\n\r\n", "hello",
              ""},
             {"trailers", "0\r\nChecksum: abc\r\nX-Y:z\r\n\r\n", "", "Checksum=abc|X-Y=z|"},
         }) {
        INFO(r.name);
        auto const o = decode(r.wire + "GET / HTTP/1.1\r\n");
        CHECK(o.state == chunk_state::end);
        CHECK(o.body == r.body);
        CHECK(o.trailers == r.trailers);
        CHECK(o.size == r.wire.size());
        for (std::size_t n = 0; n < r.wire.size(); ++n)
            CHECK(feed(r.wire.substr(0, n), 1000).state != chunk_state::end);
    }
}

TEST_CASE("chunked bodies that are rejected", "[chunked]") {
    struct row {
        char const* name;
        std::string wire;
        char const* part;
    };
    for (auto const& r : std::vector<row>{
             {"size: empty", "\r\nhello\r\n", "hexadecimal"},
             {"size: empty, an extension", ";a\r\nhello\r\n", "hexadecimal"},
             {"size: plus", "+5\r\nhello\r\n", "hexadecimal"},
             {"size: minus", "-5\r\nhello\r\n", "hexadecimal"},
             {"size: 0x", "0x5\r\nhello\r\n", "hexadecimal"},
             {"size: a space before", " 5\r\nhello\r\n", "hexadecimal"},
             {"size: a space after", "5 \r\nhello\r\n", "hexadecimal"},
             {"size: a tab after", "5\t\r\nhello\r\n", "hexadecimal"},
             {"size: a space before the extension", "5 ;a\r\nhello\r\n", "hexadecimal"},
             {"size: another letter", "5g\r\nhello\r\n", "hexadecimal"},
             {"size: NUL", "5\0\r\nhello\r\n"s, "hexadecimal"},
             {"size: an underscore", "1_0\r\nhello\r\n", "hexadecimal"},
             {"size: 17 digits", "00000000000000005\r\nhello\r\n", "too large"},
             {"size: 2^63", "8000000000000000\r\nhello\r\n", "too large"},
             {"size: 2^64 - 1", "ffffffffffffffff\r\nhello\r\n", "too large"},
             {"size: 2^64 + 5", "10000000000000005\r\nhello\r\n", "too large"},
             {"bare LF after the size", "5\nhello\r\n", "hexadecimal"},
             {"bare CR after the size", "5\rhello\r\n", "CRLF"},
             {"bare LF after an extension", "5;a\nhello\r\n", "control byte"},
             {"bare CR in an extension", "5;a\rb\r\nhello\r\n", "CRLF"},
             {"bare LF in a quoted extension", "5;a=\"\n\"\r\nhello\r\n", "control byte"},
             {"NUL in an extension", "5;a\0\r\nhello\r\n"s, "control byte"},
             {"data without CRLF", "5\r\nhello0\r\n\r\n", "followed by CRLF"},
             {"data with a bare LF", "5\r\nhello\n0\r\n\r\n", "followed by CRLF"},
             {"data with a bare CR", "5\r\nhello\r0\r\n\r\n", "followed by CRLF"},
             {"data longer than it says", "4\r\nhello\r\n0\r\n\r\n", "followed by CRLF"},
             {"two CRLF after the data", "5\r\nhello\r\n\r\n0\r\n\r\n", "hexadecimal"},
             {"bare LF at the end", "0\r\n\n", "name of a field"},
             {"bare CR at the end", "0\r\n\rx", "end with CRLF"},
             {"trailers: bare LF", "0\r\nA: b\n\r\n", "LF without"},
             {"trailers: obs-fold", "0\r\nA: b\r\n c\r\n\r\n", "white space"},
             {"trailers: a space before the colon", "0\r\nA : b\r\n\r\n", "before the colon"},
             {"trailers: a control byte", "0\r\nA: \x01\r\n\r\n", "control byte"},
             {"trailers: a request line", "0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
              "before the colon"},
         }) {
        INFO(r.name);
        auto const o = decode(r.wire);
        CHECK(o.state == chunk_state::rejected);
        CHECK_THAT(o.sentence, Catch::Contains(r.part));
    }
}

TEST_CASE("a trailer that would change framing, routing or authentication", "[chunked]") {
    for (auto const name : {"Content-Length",
                            "Transfer-Encoding",
                            "transfer-encoding",
                            "Host",
                            "Connection",
                            "TE",
                            "Trailer",
                            "Upgrade",
                            "Authorization",
                            "Proxy-Authorization",
                            "WWW-Authenticate",
                            "Cookie",
                            "Set-Cookie",
                            "Forwarded",
                            "X-Forwarded-For",
                            "X-Forwarded-Proto",
                            "X-Forwarded-Whatever",
                            "X-Real-IP",
                            "Content-Encoding",
                            "Content-Type",
                            "Content-Range",
                            "Expect",
                            "Max-Forwards"}) {
        CAPTURE(name);
        CHECK(is_forbidden_trailer(name));
        auto const o = decode("5\r\nhello\r\n0\r\nA: b\r\n"s + name + ": 5\r\n\r\n");
        CHECK(o.state == chunk_state::rejected);
        CHECK_THAT(o.sentence, Catch::Contains("trailer"));
        CHECK(o.trailers.empty());
    }
    CHECK_FALSE(is_forbidden_trailer("Checksum"));
    CHECK_FALSE(is_forbidden_trailer("Server-Timing"));
}

TEST_CASE("the bounds of chunked framing", "[chunked]") {
    SECTION("256 bytes of extensions, in the whole body") {
        auto const wire = [](std::size_t a, std::size_t b) {
            return "1;" + std::string(a - 1, 'x') + "\r\nh\r\n1;" + std::string(b - 1, 'x') +
                   "\r\ni\r\n0\r\n\r\n";
        };
        CHECK(decode(wire(255, 1)).body == "hi");
        CHECK(decode(wire(128, 128)).state == chunk_state::end);
        CHECK(decode(wire(128, 129)).state == chunk_state::rejected);
        CHECK_THAT(decode(wire(257, 1)).sentence, Catch::Contains("extensions"));
        CHECK(decode(wire(5, 6), {.max_extensions = 10}).state == chunk_state::rejected);
    }
    SECTION("the size of trailers") {
        auto const wire = [](std::size_t size) {
            return "0\r\nA: " + std::string(size - 7, 'x') + "\r\n\r\n";
        };
        CHECK(decode(wire(100), {.max_trailer_size = 100}).state == chunk_state::end);
        CHECK_THAT(decode(wire(101), {.max_trailer_size = 100}).sentence,
                   Catch::Contains("too large"));
        CHECK(feed(wire(8192), 64).state == chunk_state::end);
        CHECK(feed(wire(8193), 64).state == chunk_state::rejected);
        CHECK(feed(wire(100000), 100000).state == chunk_state::rejected);
    }
    SECTION("the number of trailers") {
        std::string s = "0\r\n";
        for (int i = 0; i < 32; ++i)
            s += "A: b\r\n";
        CHECK(feed(s + "\r\n", 7).state == chunk_state::end);
        CHECK_THAT(decode(s + "A: b\r\n\r\n").sentence, Catch::Contains("too large"));
    }
}

TEST_CASE("data may go past the decoder", "[chunked]") {
    chunked_decoder d;
    auto const bytes = [](std::string_view s) { return std::as_bytes(std::span(s)); };
    CHECK(d.data_left() == 0);
    auto r = d.decode(bytes("100\r\nabc"));
    CHECK(r.state == chunk_state::data);
    CHECK(r.consumed == 8);
    CHECK(d.data_left() == 253);
    d.skip(250);
    CHECK(d.data_left() == 3);
    d.skip(3);
    CHECK(d.data_left() == 0);
    r = d.decode(bytes("\r\n0\r\n\r\n"));
    CHECK(r.state == chunk_state::end);
    CHECK(d.done());
    CHECK(d.decode(bytes("GET")).consumed == 0);
    CHECK(d.decode(bytes("GET")).state == chunk_state::end);

    d.reset();
    CHECK_FALSE(d.done());
    CHECK(d.decode(bytes("x")).state == chunk_state::rejected);
    CHECK(d.decode(bytes("0\r\n\r\n")).state == chunk_state::rejected);
    d.reset();
    CHECK(d.decode(bytes("0\r\nA: b\r\n\r\n")).state == chunk_state::end);
    REQUIRE(d.trailers() != nullptr);
    CHECK((*d.trailers())["a"] == "b");
    d.reset();
    CHECK(d.decode(bytes("0\r\n\r\n")).state == chunk_state::end);
    CHECK(d.trailers() == nullptr);
}

TEST_CASE("what is encoded is decoded", "[chunked]") {
    CHECK(chunk_head(1).text() == "1\r\n");
    CHECK(chunk_head(16).text() == "10\r\n");
    CHECK(chunk_head(0xabcdef).text() == "abcdef\r\n");
    CHECK(chunk_head(~std::uint64_t{0}).text() == "ffffffffffffffff\r\n");

    std::string wire, body;
    for (std::size_t const size : {1u, 15u, 16u, 255u, 256u, 70000u}) {
        std::string const data(size, static_cast<char>('a' + size % 26));
        wire.append(chunk_head(size).text()).append(data).append(chunk_end);
        body += data;
    }
    CHECK(feed(wire + std::string(last_chunk), 1000).body == body);

    fields trailers;
    trailers.add("Checksum", "abc");
    trailers.add("Content-Length", "5");
    trailers.add("Server-Timing", "x");
    append_last_chunk(wire, trailers);
    auto const o = feed(wire, 4096);
    CHECK(o.state == chunk_state::end);
    CHECK(o.body == body);
    CHECK(o.trailers == "Checksum=abc|Server-Timing=x|");
}

TEST_CASE("frame_chunk makes a chunk where the data stands") {
    auto framed = [](std::string const& data, bool last) {
        std::string room(relais::room_before_chunk, '<');
        room += data;
        room.append(relais::room_behind_chunk, '>');
        return std::string(
            relais::frame_chunk({room.data() + relais::room_before_chunk, data.size()}, last));
    };
    CHECK(framed("hello", false) == "5\r\nhello\r\n");
    CHECK(framed("hello", true) == "5\r\nhello\r\n0\r\n\r\n");
    CHECK(framed("", true) == "0\r\n\r\n");
    CHECK(framed("", false).empty());
    CHECK(framed(std::string(0xabc, 'x'), false) == "abc\r\n" + std::string(0xabc, 'x') + "\r\n");
}
