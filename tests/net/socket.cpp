#include "catch.hpp"

#include <relais/core/worker.hpp>
#include <relais/net/connect.hpp>
#include <relais/net/listener.hpp>
#include <relais/net/socket.hpp>
#include <relais/testing/manual_clock.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;
namespace net = boost::asio;

namespace {

struct trial {
    trial()
        : w({.waiter = GENERATE(waiter_kind::native, waiter_kind::portable), .time = &clock}),
          on(w) {}
    void settle() {
        while (w.poll() != 0)
            ;
    }
    // What `connect` brings; the wait for it is the kernel's, on the loopback, so no time goes by.
    std::optional<connect_result> connect_to(std::vector<socket_address> addresses) {
        targets = std::move(addresses);
        auto run = [](trial& t) -> awaitable<> { t.result = co_await connect(t.targets, 2s); };
        net::co_spawn(w.context(), run(*this),
                      net::bind_cancellation_slot(cancel.slot(), net::detached));
        settle();
        return std::move(result);
    }
    std::string read(stream& s) {
        std::array<std::byte, 4096> room;
        auto got = s.try_read(room);
        state = got.state;
        return {reinterpret_cast<char const*>(room.data()), got.count};
    }

    testing::manual_clock clock;
    worker w;
    worker::scoped_current on;
    net::cancellation_signal cancel;
    std::vector<socket_address> targets;
    std::optional<connect_result> result;
    io_state state = io_state::ok;
};

// A connected pair of TCP sockets; the far one blocks.
struct tcp_pair {
    explicit tcp_pair(trial& t) {
        auto all = listening_socket::open(endpoint::parse("127.0.0.1:0"), 1);
        auto at = all[0].address();
        far = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(::connect(far, at.data(), at.size()) == 0);
        descriptor = ::accept4(all[0].descriptor(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        REQUIRE(descriptor >= 0);
        near = relais::socket::adopt(descriptor, true);
        t.settle();
    }
    ~tcp_pair() {
        if (far >= 0)
            ::close(far);
    }
    void reset_far() {
        linger none{1, 0};
        ::setsockopt(far, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        ::close(std::exchange(far, -1));
    }
    int far = -1;
    int descriptor = -1;
    std::unique_ptr<relais::socket> near;
};

socket_address closed_port() {
    return listening_socket::open(endpoint::parse("127.0.0.1:0"), 1)[0].address();
}

} // namespace

TEST_CASE("socket: reads what is there, then blocks, then finds the end") {
    trial t;
    tcp_pair p(t);
    CHECK(t.read(*p.near).empty());
    CHECK(t.state == io_state::would_block);
    REQUIRE(::send(p.far, "hello", 5, 0) == 5);
    t.w.post([&] { (void)p.near->readable(0s, [](wait_result) {}); });
    t.settle();
    CHECK(t.read(*p.near) == "hello");
    CHECK(t.read(*p.near).empty());
    CHECK(t.state == io_state::would_block);
    CHECK_FALSE(p.near->hung_up());
    bool woken = false;
    p.near->readable(0s, [&](wait_result r) { woken = r == wait_result::ready; });
    REQUIRE(::send(p.far, "rest", 4, 0) == 4);
    REQUIRE(::shutdown(p.far, SHUT_WR) == 0);
    t.settle();
    CHECK(woken);
    CHECK(t.read(*p.near) == "rest");
    if (t.read(*p.near); t.state == io_state::would_block) { // the portable waiter asks again
        p.near->readable(0s, [](wait_result) {});
        t.settle();
        t.read(*p.near);
    }
    CHECK(t.state == io_state::end);
    CHECK(p.near->try_write("still").count == 5); // half-closed
    char into[8];
    CHECK(::recv(p.far, into, sizeof into, 0) == 5);
}

TEST_CASE("socket: writes several buffers in order, and the rest once there is room") {
    trial t;
    tcp_pair p(t);
    std::array<net::const_buffer, 3> parts{net::buffer("one ", 4), net::const_buffer(),
                                           net::buffer("two", 3)};
    CHECK(p.near->try_write(std::span<net::const_buffer const>(parts)).count == 7);
    char into[16];
    CHECK(std::string(into, static_cast<std::size_t>(::recv(p.far, into, sizeof into, 0))) ==
          "one two");

    std::string const much(256 * 1024, 'x');
    std::size_t sent = 0;
    io_result wrote;
    while ((wrote = p.near->try_write(much)).state == io_state::ok)
        sent += wrote.count;
    CHECK(wrote.state == io_state::would_block);
    bool writable = false;
    p.near->writable(0s, [&](wait_result r) { writable = r == wait_result::ready; });
    t.settle();
    CHECK_FALSE(writable);
    std::string drained(64 * 1024, '\0');
    for (std::size_t got = 0; got < sent;) {
        auto count = ::recv(p.far, drained.data(), drained.size(), 0);
        REQUIRE(count > 0);
        got += static_cast<std::size_t>(count);
    }
    t.settle();
    CHECK(writable);
    CHECK(p.near->try_write("more").count == 4);
}

TEST_CASE("socket: a reset of the peer is an error and a hang-up") {
    trial t;
    tcp_pair p(t);
    p.near->readable(0s, [](wait_result) {});
    p.reset_far();
    t.settle();
    CHECK(p.near->hung_up());
    t.read(*p.near); // never an end: what came before it would look whole
    CHECK(t.state == io_state::error);
    CHECK(p.near->last_error() == ECONNRESET);
    CHECK(p.near->try_write("a").state == io_state::error);
}

TEST_CASE(
    "socket: closed it ends who waits, every try fails, and the peer sees the end or a reset") {
    trial t;
    tcp_pair p(t);
    bool hard = GENERATE(false, true);
    std::optional<wait_result> got;
    p.near->readable(0s, [&](wait_result r) { got = r; });
    t.settle();
    hard ? p.near->abort() : p.near->close();
    CHECK_FALSE(got); // not on this stack
    t.settle();
    CHECK(got == wait_result::cancelled);
    t.read(*p.near);
    CHECK(t.state == io_state::error);
    CHECK(p.near->try_write("a").state == io_state::error);
    CHECK_FALSE(p.near->quiet());
    p.near.reset();
    char into[4];
    auto count = ::recv(p.far, into, sizeof into, 0);
    CHECK(count == (hard ? -1 : 0));
    if (hard)
        CHECK(errno == ECONNRESET);
}

TEST_CASE("socket: quiet while nothing came") {
    trial t;
    tcp_pair p(t);
    CHECK(p.near->quiet());
    p.near->ready().readable = true; // what a read to the exact length of a message leaves
    CHECK(p.near->quiet());
    p.near->readable(0s, [](wait_result) {});
    bool ends = GENERATE(false, true);
    REQUIRE((ends ? ::shutdown(p.far, SHUT_WR) == 0 : ::send(p.far, "a", 1, 0) == 1));
    t.settle();
    CHECK_FALSE(p.near->quiet());
}

TEST_CASE("connect: an address that answers, also behind one that refuses") {
    trial t;
    auto all = listening_socket::open(endpoint::parse("127.0.0.1:0"), 1);
    std::vector<socket_address> to;
    if (GENERATE(false, true))
        to.push_back(closed_port());
    to.push_back(all[0].address());
    auto r = t.connect_to(to);
    REQUIRE(r);
    REQUIRE(r->connected);
    CHECK(r->connected->peer() == all[0].address());
    CHECK(r->connected->local().to_string().starts_with("127.0.0.1:"));
    CHECK(r->connected->plain() == r->connected.get());
}

TEST_CASE("connect: says why it did not work") {
    trial t;
    auto refused = t.connect_to({closed_port()});
    REQUIRE(refused);
    CHECK_FALSE(refused->connected);
    CHECK(refused->why == end_reason::connect_refused);
    auto none = t.connect_to({socket_address::unix_path("/nonexistent/relais")});
    REQUIRE(none);
    CHECK(none->why == end_reason::connect_refused);
    auto nowhere = t.connect_to({});
    REQUIRE(nowhere);
    CHECK(nowhere->why == end_reason::connect_failed);
}

TEST_CASE("connect: waits no longer than its limit, and ends when it is cancelled") {
    trial t;
    // A listener that takes no more: the kernel drops what comes, and connecting goes on.
    int full = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socket_address any(net::ip::make_address("127.0.0.1"), 0);
    REQUIRE((::bind(full, any.data(), any.size()) == 0 && ::listen(full, 0) == 0));
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    ::getsockname(full, reinterpret_cast<sockaddr*>(&bound), &size);
    auto at = socket_address::from_kernel(reinterpret_cast<sockaddr*>(&bound), size);
    std::vector<std::unique_ptr<relais::socket>> fill;
    for (int i = 0; i < 4; ++i) {
        fill.push_back(relais::socket::start_connect(at));
        t.settle();
    }
    REQUIRE_FALSE(fill.back()->ready().writable);
    CHECK_FALSE(t.connect_to({at}));
    SECTION("limit") {
        t.clock.advance(t.w, 1900ms);
        CHECK_FALSE(t.result);
        t.clock.advance(t.w, 300ms);
        REQUIRE(t.result);
        CHECK(t.result->why == end_reason::connect_timeout);
    }
    SECTION("cancellation") {
        t.cancel.emit(net::cancellation_type::terminal);
        t.settle();
        REQUIRE(t.result);
        CHECK(t.result->why == end_reason::client_left);
    }
    ::close(full);
}

TEST_CASE("connect: an address that is silent leaves time for the one behind it") {
    trial t;
    // A listener that takes no more: the kernel drops what comes, and connecting goes on.
    int full = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socket_address any(net::ip::make_address("127.0.0.1"), 0);
    REQUIRE((::bind(full, any.data(), any.size()) == 0 && ::listen(full, 0) == 0));
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    ::getsockname(full, reinterpret_cast<sockaddr*>(&bound), &size);
    auto silent = socket_address::from_kernel(reinterpret_cast<sockaddr*>(&bound), size);
    std::vector<std::unique_ptr<relais::socket>> fill;
    for (int i = 0; i < 4; ++i) {
        fill.push_back(relais::socket::start_connect(silent));
        t.settle();
    }
    auto all = listening_socket::open(endpoint::parse("127.0.0.1:0"), 1);
    CHECK_FALSE(t.connect_to({silent, all[0].address()}));
    t.clock.advance(t.w, 900ms); // half of the limit is its part
    CHECK_FALSE(t.result);
    t.clock.advance(t.w, 300ms);
    REQUIRE(t.result);
    REQUIRE(t.result->connected);
    CHECK(t.result->connected->peer() == all[0].address());
    ::close(full);
}
