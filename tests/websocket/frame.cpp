#include "catch.hpp"

#include <relais/websocket/frame.hpp>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using relais::frame_follower;

std::span<std::byte const> bytes(std::string const& s) {
    return std::as_bytes(std::span(s.data(), s.size()));
}

std::string frame(unsigned first, std::size_t payload, bool masked) {
    std::string s(1, static_cast<char>(first));
    char const mask = masked ? '\x80' : '\0';
    if (payload < 126) {
        s += static_cast<char>(mask | static_cast<char>(payload));
    } else {
        int const extended = payload < 65536 ? 2 : 8;
        s += static_cast<char>(mask | (extended == 2 ? 126 : 127));
        for (int i = extended; i-- != 0;)
            s += static_cast<char>(payload >> (8 * i));
    }
    if (masked)
        s += "kkkk";
    return s + std::string(payload, '\x88');
}

std::string text(relais::close_frame const& f) {
    return {reinterpret_cast<char const*>(f.bytes().data()), f.bytes().size()};
}

} // namespace

TEST_CASE("a follower knows the boundaries of frames of every size, however they are cut",
          "[websocket]") {
    std::string wire;
    std::vector<std::size_t> ends{0};
    for (bool const masked : {false, true})
        for (std::size_t const size :
             {0u, 1u, 5u, 125u, 126u, 127u, 300u, 65535u, 65536u, 70000u}) {
            wire += frame(size % 2 != 0 ? 0x02 : 0x80, size,
                          masked); // unfinished ones and continuations
            ends.push_back(wire.size());
        }
    auto const is_end = [&](std::size_t at) {
        return std::find(ends.begin(), ends.end(), at) != ends.end();
    };

    SECTION("one byte at a time") {
        frame_follower f;
        CHECK(f.at_boundary());
        for (std::size_t i = 0; i < wire.size(); ++i) {
            f.consume(bytes(wire).subspan(i, 1));
            if (f.at_boundary() != is_end(i + 1))
                FAIL("wrong after " << i + 1);
        }
    }
    SECTION("in random pieces") {
        std::mt19937 random(7);
        for (int round = 0; round < 200; ++round) {
            frame_follower f;
            for (std::size_t at = 0; at < wire.size();) {
                std::size_t const n = std::min<std::size_t>(
                    wire.size() - at, random() % (round % 2 != 0 ? 20 : 9000));
                f.consume(bytes(wire).subspan(at, n));
                at += n;
                if (f.at_boundary() != is_end(at))
                    FAIL("wrong after " << at);
            }
        }
    }
    SECTION("where the next frame ends is found in advance") {
        frame_follower f;
        CHECK(f.until_boundary(bytes(wire)) == 0);
        for (std::size_t at = 1; at < wire.size(); at += 777) {
            f = frame_follower();
            f.consume(bytes(wire).first(at));
            std::size_t const end = *std::lower_bound(ends.begin(), ends.end(), at);
            CHECK(f.until_boundary(bytes(wire).subspan(at)) == end - at);
            CHECK(f.until_boundary(bytes(wire).subspan(at, (end - at) / 2)) == (end - at) / 2);
        }
    }
}

TEST_CASE("the rest of a payload may pass unseen", "[websocket]") {
    frame_follower f;
    std::string const first = frame(0x82, 100000, true);
    f.consume(bytes(first).first(5));
    CHECK(f.payload_left() == 0); // within the head
    f.consume(bytes(first).subspan(5, 9));
    CHECK(f.payload_left() == 100000);
    f.skip(60000);
    CHECK(f.payload_left() == 40000);
    CHECK_FALSE(f.at_boundary());
    f.skip(40000);
    CHECK(f.at_boundary());
    f.consume(bytes(frame(0x81, 3, false)));
    CHECK(f.at_boundary());
    CHECK_FALSE(f.close_seen());
}

TEST_CASE("a Close is seen from its first byte on", "[websocket]") {
    std::string const close = frame(0x88, 2, true);
    frame_follower whole;
    whole.consume(bytes(close));
    CHECK(whole.close_seen());
    CHECK(whole.at_boundary());

    frame_follower begun;
    begun.consume(bytes(frame(0x81, 200, true) + close.substr(0, 1)));
    CHECK(begun.close_seen());
    CHECK_FALSE(begun.at_boundary());
}

TEST_CASE("lengths that cannot be right end the following", "[websocket]") {
    struct row {
        char const* what;
        std::string head;
        bool lost;
    };
    using namespace std::string_literals;
    auto const r =
        GENERATE(row{"16 bits, shortest", "\x82\x7e\x00\x7e"s, false},
                 row{"16 bits, too short", "\x82\x7e\x00\x7d"s, true},
                 row{"16 bits, zero", "\x82\x7e\x00\x00"s, true},
                 row{"64 bits, shortest", "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"s, false},
                 row{"64 bits, too short", "\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"s, true},
                 row{"64 bits, largest", "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"s, false},
                 row{"64 bits, top bit", "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"s, true},
                 row{"masked, too short", "\x82\xfe\x00\x01kkkk"s, true});
    INFO(r.what);
    for (std::size_t const piece : {1u, 3u, 64u}) {
        frame_follower f;
        for (std::size_t at = 0; at < r.head.size(); at += piece)
            f.consume(bytes(r.head).subspan(at, std::min(piece, r.head.size() - at)));
        CHECK(f.lost() == r.lost);
        CHECK_FALSE(f.at_boundary());
        if (!r.lost)
            continue;
        CHECK(f.payload_left() == 0);
        std::string const more = frame(0x88, 2, true);
        CHECK(f.until_boundary(bytes(more)) == more.size());
        f.consume(bytes(more));
        CHECK(f.lost());
        CHECK_FALSE(f.at_boundary());
    }
}

TEST_CASE("a Close frame is built", "[websocket]") {
    using namespace std::string_literals;
    CHECK(text(relais::make_close(1001, "bye", false)) == "\x88\x05\x03\xe9"
                                                          "bye"s);
    CHECK(text(relais::make_close(1000, "", false)) == "\x88\x02\x03\xe8"s);

    SECTION("masked") {
        std::string const s = text(relais::make_close(1001, "going away", true));
        REQUIRE(s.size() == 2 + 4 + 2 + 10);
        CHECK(s.substr(0, 2) == "\x88\x8c"s);
        std::string plain;
        for (std::size_t i = 6; i < s.size(); ++i)
            plain += static_cast<char>(s[i] ^ s[2 + (i - 6) % 4]);
        CHECK(plain == "\x03\xe9going away"s);
        std::string keys;
        for (int i = 0; i < 8; ++i)
            keys += text(relais::make_close(1001, "", true)).substr(2, 4);
        bool differ = false;
        for (std::size_t i = 4; i < keys.size(); i += 4)
            differ |= keys.substr(0, 4) != keys.substr(i, 4);
        CHECK(differ);
    }
    SECTION("a long reason is cut between characters") {
        CHECK(text(relais::make_close(1001, std::string(200, 'x'), false)).size() == 127);
        std::string const umlauts =
            std::string(122, 'x') + "\xc3\xa4\xc3\xa4"; // byte 123 is within a character
        CHECK(text(relais::make_close(1001, umlauts, false)).size() == 126);
        CHECK(text(relais::make_close(1001, std::string(121, 'x') + "\xc3\xa4", false)).size() ==
              127);
    }
    SECTION("codes that must not be sent") {
        for (int const code : {0, 999, 1004, 1005, 1006, 1015, 2999, 5000})
            CHECK_THROWS_AS(relais::make_close(static_cast<std::uint16_t>(code), "", false),
                            std::invalid_argument);
        for (int const code : {1000, 1003, 1007, 1014, 3000, 4999})
            CHECK_NOTHROW(relais::make_close(static_cast<std::uint16_t>(code), "", false));
    }
    SECTION("the follower agrees") {
        frame_follower f;
        f.consume(relais::make_close(1001, "going away", true).bytes());
        CHECK(f.close_seen());
        CHECK(f.at_boundary());
    }
}
