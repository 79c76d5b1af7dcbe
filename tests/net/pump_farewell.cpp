#include "catch.hpp"

#include <relais/net/pump.hpp>
#include <relais/net/socket.hpp>
#include <relais/testing/manual_clock.hpp>
#include <relais/testing/memory_stream.hpp>
#include <relais/websocket/tunnel.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <tuple>
#include <unistd.h>

using namespace relais;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

// A tunnel between two peers that read all that comes.
template <class Follower>
struct trial {
    trial() : w({.time = &clock}), on(w) {
        std::tie(left, client) = testing::memory_stream::make();
        std::tie(right, upstream) = testing::memory_stream::make();
        pump.emplace(*left, *right, pump_limits{10s, 2s});
    }
    void start() {
        auto run = [](pump_pair<Follower>& p, std::optional<end_reason>& out) -> awaitable<> {
            out = co_await p.run();
        };
        boost::asio::co_spawn(w.context(), run(*pump, reason), boost::asio::detached);
        settle();
    }
    void settle() {
        std::size_t ran = 0;
        do {
            ran = w.poll();
            read(*client, to_client, client_saw);
            read(*upstream, to_upstream, upstream_saw);
        } while (ran != 0);
    }
    static void read(testing::memory_stream& from, std::string& into, io_state& last) {
        std::byte piece[1000];
        for (;;) {
            auto got = from.try_read(piece);
            last = got.state;
            if (got.state != io_state::ok)
                return;
            into.append(reinterpret_cast<char const*>(piece), got.count);
        }
    }
    void send(testing::memory_stream& from, std::string_view bytes) {
        REQUIRE(from.try_write(bytes).count == bytes.size());
        settle();
    }

    testing::manual_clock clock;
    worker w;
    worker::scoped_current on;
    std::unique_ptr<testing::memory_stream> left, client, right, upstream;
    std::optional<pump_pair<Follower>> pump;
    std::optional<end_reason> reason;
    std::string to_client, to_upstream;
    io_state client_saw = io_state::ok, upstream_saw = io_state::ok;
};

using tunnel = trial<tunnel_follower>;

// From the server, without a mask; from the client, with one.
std::string const hello = "\x81\x05hello";
std::string const masked = "\x81\x85\x01\x02\x03\x04world";
std::string const close_down = "\x88\x02\x03\xe9";
std::string const close_up = "\x88\x82\x01\x02\x03\x04\x02\xeb";
std::string const bye_up = "\x88\x80" + std::string(4, '\0');
std::string const bye_down = "\x88\x00"s;

} // namespace

TEST_CASE("preload: what was read already goes first, and is followed and counted") {
    tunnel t;
    t.pump->preload(masked.substr(0, 8), hello.substr(0, 3));
    t.start();
    CHECK(t.to_upstream == masked.substr(0, 8));
    CHECK(t.to_client == hello.substr(0, 3));
    t.pump->end_with(close_up, close_down);
    t.settle();
    CHECK(t.to_client == hello.substr(0, 3)); // within a frame: not yet
    t.send(*t.upstream, hello.substr(3));
    t.send(*t.client, masked.substr(8));
    CHECK(t.to_client == hello + close_down);
    CHECK(t.to_upstream == masked + close_up);
    CHECK(t.pump->moved_right() == masked.size());
    CHECK(t.pump->moved_left() == hello.size());
}

TEST_CASE("preload: more than the other side takes at once") {
    tunnel t;
    t.right->set_capacity(10);
    std::string frame = "\x82\x7e\x03\xe8"s + std::string(1000, 'x');
    t.pump->preload(frame, {});
    t.start();
    CHECK(t.to_upstream == frame);
}

TEST_CASE("farewell: a reset behind it is a reset for the other side too") {
    tunnel t;
    t.start();
    t.pump->end_with(close_up, close_down);
    t.settle();
    bool const of_client = GENERATE(true, false);
    (of_client ? t.client : t.upstream)->abort();
    t.settle();
    CHECK((of_client ? t.upstream_saw : t.client_saw) == io_state::error);
    CHECK(t.reason == end_reason::tunnel_drained);
}

TEST_CASE("farewell: at rest it goes at once, what comes afterwards is dropped until the peer says "
          "its own") {
    tunnel t;
    t.start();
    t.send(*t.upstream, hello);
    t.pump->end_with(close_up, close_down);
    t.settle();
    CHECK(t.to_client == hello + close_down);
    CHECK(t.to_upstream == close_up);
    t.send(*t.upstream, hello);
    t.send(*t.client, masked);
    CHECK(t.to_client == hello + close_down);
    CHECK(t.to_upstream == close_up);
    CHECK_FALSE(t.reason);
    bool client_first = GENERATE(true, false);
    t.send(client_first ? *t.client : *t.upstream, client_first ? bye_up : bye_down);
    CHECK_FALSE(t.reason);
    t.send(client_first ? *t.upstream : *t.client, client_first ? bye_down : bye_up);
    CHECK(t.reason == end_reason::tunnel_drained);
    CHECK(t.client_saw == io_state::end);
    CHECK(t.upstream_saw == io_state::end);
    CHECK(t.to_client == hello + close_down);
    CHECK(t.to_upstream == close_up);
}

TEST_CASE("farewell: within a frame it waits for the frame's end, wherever the bytes are cut") {
    auto cut = GENERATE(range(std::size_t(1), hello.size()));
    CAPTURE(cut);
    tunnel t;
    t.start();
    t.send(*t.upstream, hello.substr(0, cut));
    t.pump->end_with(close_up, close_down);
    t.settle();
    CHECK(t.to_client == hello.substr(0, cut));
    SECTION("the rest alone") {
        t.send(*t.upstream, hello.substr(cut));
    }
    SECTION("the rest and more in one piece") {
        t.send(*t.upstream, hello.substr(cut) + hello + hello);
    }
    SECTION("byte by byte") {
        for (char c : hello.substr(cut) + hello)
            t.send(*t.upstream, std::string(1, c));
    }
    CHECK(t.to_client == hello + close_down);
    CHECK(t.pump->moved_left() == hello.size());
}

TEST_CASE("farewell: a peer that has said its own gets no second one") {
    tunnel t;
    t.start();
    t.send(*t.upstream, bye_down);
    t.pump->end_with(close_up, close_down);
    t.settle();
    CHECK(t.to_client == bye_down);
    CHECK(t.to_upstream == close_up);
}

TEST_CASE("farewell: bytes that are no frames get none put between") {
    tunnel t;
    t.start();
    t.send(*t.upstream, "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"); // longer than a length may be
    auto before = t.to_client;
    t.pump->end_with(close_up, close_down);
    t.settle();
    CHECK(t.to_client == before);
}

TEST_CASE("farewell: a peer that never answers has the linger time") {
    tunnel t;
    t.start();
    t.pump->end_with(close_up, close_down);
    t.settle();
    t.clock.advance(t.w, 1900ms);
    CHECK_FALSE(t.reason);
    t.clock.advance(t.w, 300ms);
    t.settle();
    CHECK(t.reason == end_reason::tunnel_drained);
    CHECK(t.client_saw == io_state::end);
}

TEST_CASE("farewell: plain bytes have no place for one") {
    trial<no_follower> t;
    t.start();
    t.send(*t.upstream, "abc");
    t.pump->end_with("up", "down");
    t.settle();
    CHECK(t.to_client == "abc");
    CHECK(t.to_upstream.empty());
}

TEST_CASE("farewell: a Close that has begun goes on to its end and gets no second one") {
    tunnel t;
    t.start();
    t.send(*t.upstream, bye_down.substr(0, 1) + "\x05");
    t.send(*t.upstream, "he");
    t.pump->end_with(close_up, close_down);
    t.settle();
    SECTION("the rest alone") {
        t.send(*t.upstream, "llo");
    }
    SECTION("the rest and more in one piece") {
        t.send(*t.upstream, "llo" + hello);
    }
    CHECK(t.to_client == "\x88\x05hello");
    CHECK(t.to_upstream == close_up);
}

TEST_CASE("farewell: the peer's own is waited for to its last byte") {
    tunnel t;
    t.start();
    t.pump->end_with(close_up, close_down);
    t.settle();
    for (char c : bye_up) {
        CHECK(t.upstream_saw == io_state::would_block);
        t.send(*t.client, std::string(1, c));
    }
    CHECK(t.upstream_saw == io_state::end);
    CHECK(t.to_upstream == close_up);
}

TEST_CASE("farewell: nobody waits for the Close of a peer that sends no frames") {
    tunnel t;
    t.start();
    t.pump->end_with(close_up, close_down);
    t.settle();
    std::string const no_frame =
        "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"; // longer than a length may be
    t.send(*t.client, no_frame);
    CHECK(t.upstream_saw == io_state::end);
    CHECK_FALSE(t.reason);
    t.send(*t.upstream, no_frame);
    CHECK(t.reason == end_reason::tunnel_drained);
}

TEST_CASE("farewell: bytes that are in the kernel's pipe go before those that are read") {
    struct ends {
        ends() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, of) == 0); }
        ~ends() { ::close(of[1]); } // the other one is the stream's
        int of[2];
    } left, right;
    testing::manual_clock clock;
    worker w({.time = &clock});
    worker::scoped_current on(w);
    auto near = relais::socket::adopt(left.of[0], true);
    auto far = relais::socket::adopt(right.of[0], true);
    pump_pair<tunnel_follower> pump(*near, *far, pump_limits{10s, 2s});
    auto run = [](pump_pair<tunnel_follower>& p) -> awaitable<> { co_await p.run(); };
    boost::asio::co_spawn(w.context(), run(pump), boost::asio::detached);

    constexpr std::size_t size = 4u << 20;
    std::string frame = "\x82\x7f"s + "\0\0\0\0\0\x40\0\0"s;
    for (std::size_t i = 0; i < size; ++i)
        frame += static_cast<char>(i % 251);
    std::string_view unsent = frame;
    std::string got;
    auto turn = [&](std::size_t most_to_read) { // \return whether a byte was moved
        std::string room(most_to_read, '\0');
        auto sent = ::send(left.of[1], unsent.data(), unsent.size(), MSG_NOSIGNAL);
        unsent.remove_prefix(sent > 0 ? static_cast<std::size_t>(sent) : 0);
        while (w.poll() != 0)
            ;
        auto came = ::recv(right.of[1], room.data(), room.size(), 0);
        got.append(room, 0, came > 0 ? static_cast<std::size_t>(came) : 0);
        return sent > 0 || came > 0;
    };
    while (got.size() < size / 4) // in large pieces
        REQUIRE(turn(64 * 1024));
    while (turn(0)) // until all on the way is full
        ;
    REQUIRE(!unsent.empty());
    pump.end_with(close_up, close_down);
    while (turn(64 * 1024))
        ;
    CHECK(got.size() == frame.size() + close_up.size());
    CHECK((got == frame + close_up)); // the whole would be a long report
}
