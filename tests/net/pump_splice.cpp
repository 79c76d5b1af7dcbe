#include "catch.hpp"

#include <relais/net/pump.hpp>
#include <relais/net/socket.hpp>
#include <relais/testing/manual_clock.hpp>
#include <relais/websocket/tunnel.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <netinet/in.h>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#if defined(__linux__)

using namespace relais;
using namespace std::chrono_literals;

namespace {

// How many open descriptors are of a kind; all with an empty one.
std::size_t descriptors(std::string_view kind = {}) {
    std::size_t count = 0;
    for (auto const& one : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        count += read_symlink(one.path(), gone).string().starts_with(kind);
    }
    return count;
}

// Bytes in the pipes of this process, without those that it was started with: they outlive an exec.
std::size_t piped() {
    std::size_t both_ends = 0;
    for (auto const& one : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        int const descriptor = std::stoi(one.path().filename());
        int count = 0;
        if (read_symlink(one.path(), gone).string().starts_with("pipe:") &&
            (::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) != 0 &&
            ::ioctl(descriptor, FIONREAD, &count) == 0)
            both_ends += static_cast<std::size_t>(count);
    }
    return both_ends / 2;
}

// With small buffers: what a receiver does not read soon stays in the pipe.
void set_buffers(int descriptor) {
    int const size = 128 * 1024;
    ::setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    ::setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

std::pair<int, int> tcp_pair() {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof where;
    auto* address = reinterpret_cast<sockaddr*>(&where);
    int const listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_buffers(listening); // what is accepted has them too
    REQUIRE(::bind(listening, address, size) == 0);
    REQUIRE(::listen(listening, 1) == 0);
    REQUIRE(::getsockname(listening, address, &size) == 0);
    int const one = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_buffers(one);
    REQUIRE(::connect(one, address, size) == 0);
    int const other = ::accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    REQUIRE(other >= 0);
    ::close(listening);
    return {one, other};
}

// The far end of one side: sends what it was given, in pieces, and collects what comes.
struct far_end {
    explicit far_end(int d) : descriptor(d) {}
    far_end(far_end const&) = delete;
    ~far_end() { close(); }
    void close() {
        if (descriptor >= 0)
            ::close(descriptor);
        descriptor = -1;
    }
    void reset() {
        linger const none{1, 0};
        ::setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        close();
    }
    void end() { ::shutdown(descriptor, SHUT_WR); }
    void send_some() {
        while (sent < to_send.size()) {
            auto const size = std::min(piece, to_send.size() - sent);
            auto const count =
                ::send(descriptor, to_send.data() + sent, size, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (count <= 0)
                return;
            sent += static_cast<std::size_t>(count);
        }
    }
    void read_some() {
        char room[64 * 1024];
        while (reads) {
            auto const count = ::recv(descriptor, room, sizeof room, MSG_DONTWAIT);
            if (count <= 0) {
                ended = ended || count == 0;
                return;
            }
            came.append(room, static_cast<std::size_t>(count));
        }
    }

    int descriptor;
    std::string to_send;
    std::size_t sent = 0;
    std::size_t piece = 1 << 20;
    std::string came;
    bool reads = true;
    bool ended = false;
};

template <class Follower>
struct trial {
    trial() : w({.time = &clock}), on(w) {
        auto [client_end, left_end] = tcp_pair();
        auto [upstream_end, right_end] = tcp_pair();
        client.emplace(client_end);
        upstream.emplace(upstream_end);
        left = relais::socket::adopt(left_end, true);
        right = relais::socket::adopt(right_end, true);
        pump.emplace(*left, *right, pump_limits{10s, 2s});
        auto run = [](pump_pair<Follower>& p, std::optional<end_reason>& out) -> awaitable<> {
            out = co_await p.run();
        };
        boost::asio::co_spawn(w.context(), run(*pump, reason), boost::asio::detached);
        turn();
    }
    void turn() {
        client->send_some();
        upstream->send_some();
        for (int most = 10000; most > 0 && w.context().poll_one() != 0; --most)
            ; // the bound is for a test that fails
        client->read_some();
        upstream->read_some();
    }
    // The kernel moves bytes on its own: the time only bounds a test that fails.
    template <class Condition>
    bool until(Condition holds) {
        auto const give_up = std::chrono::steady_clock::now() + 20s;
        while (!holds()) {
            if (std::chrono::steady_clock::now() > give_up)
                return false;
            turn();
        }
        return true;
    }
    // Turns without a byte that came or went at either end.
    void settle() {
        auto const seen = [this] {
            return client->sent + upstream->sent + client->came.size() + upstream->came.size() +
                   pump->moved_left() + pump->moved_right();
        };
        for (int quiet = 0; quiet < 50;) {
            auto const before = seen();
            turn();
            quiet = seen() == before ? quiet + 1 : 0;
        }
    }
    bool used_pipes() const { return descriptors("pipe:") > pipes_before; }

    testing::manual_clock clock;
    worker w;
    worker::scoped_current on;
    std::optional<far_end> client, upstream;
    std::unique_ptr<relais::socket> left, right;
    std::size_t const pipes_before = descriptors("pipe:");
    std::optional<pump_pair<Follower>> pump;
    std::optional<end_reason> reason;
};

using tunnel = trial<tunnel_follower>;

std::string frame(std::size_t size, bool masked, char fill) {
    std::string f = "\x82";
    auto const mask = static_cast<char>(masked ? 0x80 : 0);
    int const extended = size < 126 ? 0 : size < 65536 ? 2 : 8;
    f += static_cast<char>((extended == 0   ? static_cast<char>(size)
                            : extended == 2 ? 126
                                            : 127) |
                           mask);
    for (int i = extended; i-- > 0;)
        f += static_cast<char>(size >> (8 * i));
    if (masked)
        f += "\x01\x02\x03\x04";
    for (std::size_t i = 0; i < size; ++i)
        f += static_cast<char>(fill + static_cast<char>(i % 61));
    return f;
}

std::string frames(unsigned seed, bool masked, int count) {
    std::mt19937 random(seed);
    std::size_t const sizes[] = {0,         5,         200,       32 * 1024 - 1,
                                 32 * 1024, 64 * 1024, 64 * 1024, (1 << 20) + 3};
    std::string all;
    for (int i = 0; i < count; ++i)
        all += frame(sizes[random() % std::size(sizes)], masked, static_cast<char>('0' + i % 50));
    return all;
}

} // namespace

TEST_CASE("frames of all sizes pass unchanged, copied or inside the kernel", "[pump]") {
    auto const piece = GENERATE(std::size_t(1) << 20, std::size_t(65550), std::size_t(40001));
    tunnel t;
    t.client->to_send = frames(1, true, 60);
    t.upstream->to_send = frames(2, false, 60);
    t.client->piece = piece;
    t.upstream->piece = piece + 7;
    REQUIRE(t.until([&] {
        return t.upstream->came.size() >= t.client->to_send.size() &&
               t.client->came.size() >= t.upstream->to_send.size();
    }));
    CHECK((t.upstream->came == t.client->to_send)); // no print of megabytes
    CHECK((t.client->came == t.upstream->to_send));
    CHECK(t.pump->moved_right() == t.client->to_send.size());
    CHECK(t.pump->moved_left() == t.upstream->to_send.size());
    t.settle();
    CHECK(t.used_pipes()); // they are kept
    t.client->end();
    t.upstream->end();
    REQUIRE(t.until([&] { return t.reason.has_value(); }));
    CHECK(t.reason == end_reason::completed);
    CHECK(t.upstream->ended);
}

TEST_CASE("small frames never need a pipe, however many come at once", "[pump]") {
    tunnel t;
    for (int i = 0; i < 20000; ++i)
        t.client->to_send += frame(100, true, 'a');
    t.upstream->to_send = frame(20, false, 'b');
    REQUIRE(t.until([&] { return t.upstream->came.size() >= t.client->to_send.size(); }));
    CHECK((t.upstream->came == t.client->to_send));
    CHECK(t.client->came == t.upstream->to_send);
    CHECK_FALSE(t.used_pipes());
}

TEST_CASE("plain bytes go through the kernel without frames", "[pump]") {
    trial<no_follower> t;
    t.client->to_send = std::string(8 << 20, 'c') + "end";
    t.upstream->to_send = std::string(3 << 20, 'u') + "fin";
    REQUIRE(t.until([&] {
        return t.upstream->came.size() >= t.client->to_send.size() &&
               t.client->came.size() >= t.upstream->to_send.size();
    }));
    CHECK((t.upstream->came == t.client->to_send));
    CHECK((t.client->came == t.upstream->to_send));
    t.settle();
    CHECK(t.used_pipes());
}

TEST_CASE("a farewell waits for the end of a frame that is in a pipe", "[pump]") {
    // Heads of 14, 10, 8 and 4 bytes.
    auto const [size, masked] = GENERATE(table<std::size_t, bool>(
        {{8 << 20, true}, {8 << 20, false}, {60000, true}, {60000, false}}));
    std::string const large = frame(size, masked, 'L');
    std::string const bye = "\x88\x82\x01\x02\x03\x04\x02\xeb";
    // How much of it is there at the farewell: most, a part of the head or all of it, or a bit more.
    auto const there =
        std::min(large.size() - 1,
                 GENERATE(std::size_t(6 << 20), std::size_t(2), std::size_t(4), std::size_t(9),
                          std::size_t(10), std::size_t(14), std::size_t(40000)));
    CAPTURE(size, masked);
    CAPTURE(there);
    tunnel t;
    std::string const before = frame(64 * 1024, true, 'a') + frame(64 * 1024, true, 'b');
    t.client->to_send = before + large.substr(0, there);
    t.upstream->reads = there < (1 << 20); // else the pipe is full when it happens
    t.settle();
    CHECK((piped() > 0) == !t.upstream->reads);
    t.pump->end_with(bye, "\x88\x02\x03\xe9");
    t.settle();
    t.client->to_send += large.substr(there) + frame(5, true, 'x');
    t.upstream->reads = true;
    auto const whole = before + large + bye;
    REQUIRE(t.until([&] { return t.upstream->came.size() >= whole.size(); }));
    t.settle();
    CHECK((t.upstream->came == whole));
    CHECK(t.client->came == "\x88\x02\x03\xe9");
}

TEST_CASE("a farewell goes behind whole frames that are in a pipe", "[pump]") {
    std::string const bye = "\x88\x82\x01\x02\x03\x04\x02\xeb";
    std::string const one = frame(64 * 1024, true, 'a');
    tunnel t;
    auto const count = GENERATE(8, 800); // all of them have been taken, or more are to come
    for (int i = 0; i < count; ++i)
        t.client->to_send += one;
    t.upstream->reads = false;
    t.settle();
    CHECK((t.client->sent == t.client->to_send.size()) == (count == 8));
    CHECK(piped() > 2 * one.size()); // so heads are there too
    auto const taken = t.pump->moved_right();
    t.pump->end_with(bye, "\x88\x02\x03\xe9");
    t.settle();
    t.upstream->reads = true;
    REQUIRE(t.until([&] { return t.upstream->came.ends_with(bye); }));
    t.settle();
    auto const size = t.upstream->came.size() - bye.size();
    CHECK(size == (taken + one.size() - 1) / one.size() * one.size()); // the next boundary
    CHECK((t.upstream->came.substr(0, size) == t.client->to_send.substr(0, size)));
}

TEST_CASE("a reader that stops has its writer stopped, and gets all in the end", "[pump]") {
    tunnel t;
    for (int i = 0; i < 800; ++i)
        t.client->to_send += frame(64 * 1024, true, static_cast<char>('a' + i % 20));
    t.upstream->to_send = frame(70000, false, 'n');
    t.upstream->reads = false;
    t.settle();
    CHECK(piped() > 0);
    CHECK(t.client->sent <
          (4 << 20)); // a pipe of 1 MiB and the buffers of four sockets, of 50 MiB in all
    CHECK(t.client->came == t.upstream->to_send); // the other direction goes on
    t.upstream->reads = true;
    REQUIRE(t.until([&] { return t.upstream->came.size() >= t.client->to_send.size(); }));
    CHECK((t.upstream->came == t.client->to_send));
}

TEST_CASE("a sender that ends or breaks off within a large frame", "[pump]") {
    auto const before = descriptors();
    sigset_t broken_pipe, as_it_was; // a server's workers have it blocked
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &broken_pipe, &as_it_was);
    {
        tunnel t;
        t.client->to_send =
            frame(64 * 1024, true, 'a') + frame(4 << 20, true, 'b').substr(0, 600000);
        t.upstream->reads = false;
        t.settle();
        REQUIRE(t.client->sent == t.client->to_send.size()); // so that the end is seen
        REQUIRE(piped() > 0);
        SECTION("an orderly end loses nothing") {
            t.client->end();
            t.settle();
            REQUIRE(piped() > 0);
            CHECK_FALSE(t.upstream->ended);
            t.upstream->reads = true;
            REQUIRE(t.until([&] { return t.upstream->ended; }));
            CHECK((t.upstream->came == t.client->to_send));
            CHECK(t.pump->moved_right() == t.client->to_send.size());
            t.upstream->end();
            REQUIRE(t.until([&] { return t.reason.has_value(); }));
            CHECK(t.reason == end_reason::completed);
        }
        SECTION("a reset ends both sides") {
            t.upstream->reads = true;
            if (GENERATE(true, false)) // nothing is left in the pipe
                t.settle();
            t.client->reset();
            t.upstream->to_send = frame(5, false, 'x');
            REQUIRE(t.until([&] { return t.reason.has_value(); }));
            CHECK(t.reason == end_reason::tunnel_client_reset);
        }
        SECTION("a receiver that breaks off ends both sides") {
            t.upstream->reset();
            REQUIRE(t.until([&] { return t.reason.has_value(); }));
            CHECK(t.reason == end_reason::tunnel_upstream_reset);
        }
        SECTION("a close of the receiver on this side ends it although the pipe holds bytes") {
            t.right->close();
            REQUIRE(t.until([&] { return t.reason.has_value(); }));
            CHECK(t.reason == end_reason::shutting_down);
        }
        SECTION("a close of the sender on this side ends it, the pipe being empty") {
            t.upstream->reads = true;
            t.settle();
            t.left->close();
            REQUIRE(t.until([&] { return t.reason.has_value(); }));
            CHECK(t.reason == end_reason::shutting_down);
        }
        SECTION("a close of the sender on this side ends it once what the pipe holds is read") {
            t.left->close();
            t.upstream->reads = true;
            REQUIRE(t.until([&] { return t.reason.has_value(); }));
            CHECK(t.reason == end_reason::shutting_down);
        }
        SECTION("a reset of the sender ends a receiver that does not read") {
            t.client->reset();
            t.upstream->to_send = frame(5, false, 'x');
            REQUIRE(t.until([&] { return t.reason.has_value(); }));
            CHECK(t.reason == end_reason::tunnel_client_reset);
        }
        SECTION("a receiver that reads no more has the idle limit") {
            t.clock.advance(t.w, 12s);
            REQUIRE(t.until([&] { return t.reason.has_value(); }));
            CHECK(t.reason == end_reason::tunnel_idle);
        }
    }
    timespec const at_once{};
    while (::sigtimedwait(&broken_pipe, nullptr, &at_once) > 0)
        ;
    ::pthread_sigmask(SIG_SETMASK, &as_it_was, nullptr);
    CHECK(descriptors() == before);
}

#endif
