#include "catch.hpp"

#include <relais/core/error.hpp>
#include <relais/core/report.hpp>
#include <relais/net/listener.hpp>
#include <relais/net/socket.hpp>
#include <relais/testing/manual_clock.hpp>
#include <relais/testing/memory_stream.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

using namespace relais;
using Catch::Matchers::Contains;

namespace {

struct folder {
    folder() {
        char name[] = "/tmp/relais-listener-XXXXXX";
        REQUIRE(::mkdtemp(name));
        path = name;
    }
    ~folder() { std::filesystem::remove_all(path); }
    endpoint socket() const { return {"", "", path / "s"}; }
    std::filesystem::path path;
};

std::string refusal(endpoint const& where) {
    try {
        (void)listening_socket::open(where, 1);
    } catch (startup_error const& e) {
        return e.what();
    }
    return "listens";
}

bool connects(socket_address const& to) {
    int s = ::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = ::connect(s, to.data(), to.size()) == 0;
    ::close(s);
    return connected;
}

// A socket file whose server is gone without removing it.
void leave_dead_socket(endpoint const& where) {
    auto at = socket_address::unix_path(where.path);
    int s = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::bind(s, at.data(), at.size()) == 0);
    REQUIRE(::listen(s, 1) == 0);
    ::close(s);
    REQUIRE(std::filesystem::exists(where.path));
}

} // namespace

TEST_CASE("listen: port 0 is chosen once for all workers, each has a socket of its own") {
    auto all = listening_socket::open(endpoint::parse("127.0.0.1:0"), 3);
    REQUIRE(all.size() == 3);
    CHECK(all[0].address().port() != 0);
    for (std::size_t i = 1; i < all.size(); ++i) {
        CHECK(all[i].address() == all[0].address());
        CHECK(all[i].descriptor() != all[0].descriptor());
    }
    CHECK(connects(all[0].address()));
}

TEST_CASE("listen: a port in use is found although it could be shared") {
    auto workers =
        GENERATE(std::size_t(1), std::size_t(2)); // these share theirs: SO_REUSEPORT is on
    auto all = listening_socket::open(endpoint::parse("127.0.0.1:0"), workers);
    auto where = endpoint::parse(all[0].address().to_string());
    int on = 0;
    socklen_t size = sizeof on;
    REQUIRE(::getsockopt(all[0].descriptor(), SOL_SOCKET, SO_REUSEPORT, &on, &size) == 0);
    REQUIRE(on != 0);
    auto said = refusal(where);
    CHECK_THAT(said, Contains("cannot listen on " + where.to_string() + ": the address is in use"));
    CHECK_THAT(said, Contains("choose another port"));
    all.clear();
    CHECK(refusal(where) == "listens");
}

TEST_CASE("listen: beside a predecessor a port in use is shared") {
    auto all = listening_socket::open(endpoint::parse("127.0.0.1:0"), 2);
    auto const where = endpoint::parse(all[0].address().to_string());
    auto successors = listening_socket::open(where, 2, listen_beside::predecessor);
    REQUIRE(successors.size() == 2);
    CHECK(successors[1].address() == all[0].address());
    all.clear();
    CHECK(connects(successors[0].address()));
    auto chosen =
        listening_socket::open(endpoint::parse("127.0.0.1:0"), 3, listen_beside::predecessor);
    REQUIRE(chosen.size() == 3);
    CHECK(chosen[2].address() == chosen[0].address());
    CHECK(chosen[0].address().port() != 0);
}

TEST_CASE("listen: a socket that turns away takes those that have begun, and nobody new") {
    bool const shared = GENERATE(true, false);
    auto all = listening_socket::open(endpoint::parse("127.0.0.1:0"), 1,
                                      shared ? listen_beside::predecessor : listen_beside::nobody);
    auto const& at = all[0].address();
    int const before = ::socket(AF_INET, SOCK_STREAM, 0);
    int const after = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    REQUIRE(::connect(before, at.data(), at.size()) == 0);
    bool const turns = all[0].turn_away();
    CHECK(turns == shared);
    CHECK(::connect(after, at.data(), at.size()) < 0);
    // On this interface a handshake that is not dropped has ended when connect() returns.
    pollfd waiting{after, POLLOUT, 0};
    CHECK(::poll(&waiting, 1, 0) == (shared ? 0 : 1));
    int const accepted = ::accept(all[0].descriptor(), nullptr, nullptr);
    CHECK(accepted >= 0);
    char byte = 'x';
    REQUIRE(::send(before, &byte, 1, 0) == 1);
    pollfd there{accepted, POLLIN, 0};
    CHECK(::poll(&there, 1, 5000) == 1);
    for (int descriptor : {before, after, accepted})
        ::close(descriptor);
}

TEST_CASE("listen: an address that this machine does not have") {
    CHECK_THAT(refusal(endpoint::parse("192.0.2.1:0")),
               Contains("this machine has no such address"));
}

TEST_CASE("listen: a Unix path is shared by the workers and removed at the end") {
    folder f;
    auto where = f.socket();
    {
        auto all = listening_socket::open(where, 3);
        REQUIRE(all.size() == 3);
        CHECK(all[1].descriptor() != all[0].descriptor());
        CHECK(all[1].address() == all[0].address());
        CHECK(connects(all[0].address()));
        // One that goes first does not take the path with it unless it made it.
        all.pop_back();
        CHECK(std::filesystem::exists(where.path));
        auto moved = std::move(all.front());
        all.clear();
        CHECK(std::filesystem::exists(where.path));
        CHECK(connects(moved.address()));
    }
    CHECK_FALSE(std::filesystem::exists(where.path));
}

TEST_CASE("listen: a dead Unix socket is taken over") {
    folder f;
    leave_dead_socket(f.socket());
    auto all = listening_socket::open(f.socket(), 1);
    CHECK(connects(all[0].address()));
}

TEST_CASE("listen: a live Unix socket is refused, and stays") {
    folder f;
    auto live = listening_socket::open(f.socket(), 1);
    CHECK_THAT(refusal(f.socket()),
               Contains("cannot listen on unix:" + f.socket().path + ": the address is in use"));
    CHECK(connects(live[0].address()));
}

TEST_CASE("listen: beside a predecessor the path of a live Unix socket is taken over") {
    folder f;
    auto live = listening_socket::open(f.socket(), 2);
    int const before = ::socket(AF_UNIX, SOCK_STREAM, 0);
    auto const at = socket_address::unix_path(f.socket().path);
    REQUIRE(::connect(before, at.data(), at.size()) == 0);
    auto successor = listening_socket::open(f.socket(), 2, listen_beside::predecessor);
    CHECK_FALSE(std::filesystem::exists(f.socket().path + '~'));
    CHECK(successor[0].address().path() == f.socket().path);
    // Who came before waits at the one, who comes now at the other.
    int const accepted = ::accept(live[0].descriptor(), nullptr, nullptr);
    CHECK(accepted >= 0);
    CHECK(connects(at));
    int const second = ::accept(successor[0].descriptor(), nullptr, nullptr);
    CHECK(second >= 0);
    for (int descriptor : {before, accepted, second})
        ::close(descriptor);
    live.clear();
    CHECK(std::filesystem::exists(f.socket().path)); // it is not the one that it made
    CHECK(connects(at));
    successor.clear();
    CHECK_FALSE(std::filesystem::exists(f.socket().path));
    std::ofstream(f.socket().path) << "precious";
    CHECK_THROWS_WITH(listening_socket::open(f.socket(), 1, listen_beside::predecessor),
                      Contains("that is no socket"));
}

TEST_CASE("listen: a file that is no socket is refused, and stays") {
    folder f;
    std::ofstream(f.socket().path) << "precious";
    CHECK_THAT(refusal(f.socket()),
               Contains("there is a file of that name that is no socket; choose another path"));
    std::string content;
    std::ifstream(f.socket().path) >> content;
    CHECK(content == "precious");
}

TEST_CASE("listen: a link to a dead socket is no socket") {
    folder f;
    leave_dead_socket({"", "", f.path / "dead"});
    std::filesystem::create_symlink(f.path / "dead", f.socket().path);
    CHECK_THAT(refusal(f.socket()), Contains("is no socket"));
    CHECK(std::filesystem::exists(f.path / "dead"));
}

TEST_CASE("listen: a folder that is not there") {
    CHECK_THAT(refusal({"", "", "/nonexistent/relais/s"}),
               Contains("cannot listen on unix:/nonexistent/relais/s"));
}

TEST_CASE("listener: runs its chain for each connection until it stops") {
    auto kind = GENERATE(waiter_kind::native, waiter_kind::portable);
    bool unix_path = GENERATE(false, true);
    folder f;
    testing::manual_clock clock;
    worker w({.waiter = kind, .time = &clock});
    worker::scoped_current on(w);
    auto where = unix_path ? f.socket() : endpoint::parse("127.0.0.1:0");
    auto sockets = listening_socket::open(where, 1);
    auto at = sockets[0].address();

    std::vector<std::string> served;
    auto note = [&served](connection& c) -> awaitable<> {
        served.emplace_back(c.client_address());
        co_return;
    };
    listener l(std::move(sockets[0]), any_chain<connection>(stage(note)));
    CHECK(l.address() == at);
    bool ended = false;
    auto run = [](listener& of, bool& over) -> awaitable<> {
        co_await of.run();
        over = true;
    };
    boost::asio::co_spawn(w.context(), run(l, ended), boost::asio::detached);
    auto settle = [&w] {
        while (w.poll() != 0)
            ;
    };
    settle();
    CHECK(served.empty());
    for (std::size_t i = 1; i <= 3;
         ++i) { // the loopback has completed the handshake when connect returns
        CHECK(connects(at));
        settle();
        CHECK(served.size() == i);
    }
    CHECK(served.back() == (unix_path ? "unix:" : "127.0.0.1"));
    for (int i = 0; i < 100; ++i) // more than one turn takes
        REQUIRE(connects(at));
    settle();
    CHECK(served.size() == 103);
    CHECK(connection_list::current().size() == 0);
    l.stop();
    settle();
    CHECK(ended);
    CHECK_FALSE(connects(at));
    if (unix_path)
        CHECK_FALSE(std::filesystem::exists(where.path));
}

namespace {

// A listener of its own on the loopback, on one worker.
struct listening {
    explicit listening(waiter_kind kind) : w({.waiter = kind, .time = &clock}), on(w) {}
    template <class Handler>
    void start(Handler handler) {
        auto sockets = listening_socket::open(endpoint::parse("127.0.0.1:0"), 1);
        at = sockets[0].address();
        descriptor = sockets[0].descriptor();
        l = std::make_unique<listener>(std::move(sockets[0]),
                                       any_chain<connection>(stage(handler)));
    }
    void run() {
        auto go = [](listener& of, bool& over) -> awaitable<> {
            co_await of.run();
            over = true;
        };
        boost::asio::co_spawn(w.context(), go(*l, ended), boost::asio::detached);
        settle();
    }
    void settle() {
        while (w.poll() != 0)
            ;
    }
    testing::manual_clock clock;
    worker w;
    worker::scoped_current on;
    socket_address at;
    int descriptor = -1;
    std::unique_ptr<listener> l;
    bool ended = false;
};

awaitable<> nothing() {
    co_return;
}

} // namespace

TEST_CASE(
    "listener: one that is stopped while it accepts takes what is connected already, and no more") {
    listening t(GENERATE(waiter_kind::native, waiter_kind::portable));
    int served = 0;
    auto stopping = [&](connection&) { // at once, within the listener's loop
        ++served;
        t.l->stop();
        return nothing();
    };
    t.start(stopping);
    for (int i = 0; i < 3; ++i)
        REQUIRE(connects(t.at));
    t.run();
    CHECK(served == 3);
    CHECK(t.ended);
    t.l->stop(); // again, as who ends the whole server does
    CHECK_FALSE(connects(t.at));
}

TEST_CASE("listener: a stage that throws before its coroutine begins costs that connection alone") {
    listening t(GENERATE(waiter_kind::native, waiter_kind::portable));
    static int reports;
    reports = 0;
    set_report_function([](std::string_view) { ++reports; });
    int served = 0;
    auto throws_once = [&](connection&) {
        if (++served == 1)
            throw std::runtime_error("not now");
        return nothing();
    };
    t.start(throws_once);
    t.run();
    for (int i = 0; i < 2; ++i) {
        CHECK(connects(t.at));
        t.settle();
    }
    set_report_function(nullptr);
    CHECK(served == 2);
    CHECK(reports == 1);
    CHECK_FALSE(t.ended);
    CHECK(connection_list::current().size() == 0);
}

TEST_CASE("listener: one that has stopped knows nothing of who gets its descriptor next") {
    listening t(GENERATE(waiter_kind::native, waiter_kind::portable));
    t.start([](connection&) { return nothing(); });
    t.run();
    t.l->stop();
    t.settle();
    CHECK(t.ended);
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    REQUIRE(ends[0] == t.descriptor); // the lowest that is free
    auto next = relais::socket::adopt(ends[0], true);
    REQUIRE(next);
    t.settle();
    for (int i = 0; i < 2; ++i) {
        bool woken = false;
        next->readable(std::chrono::seconds(1),
                       [&](wait_result r) { woken = r == wait_result::ready; });
        REQUIRE(::send(ends[1], "a", 1, MSG_NOSIGNAL) == 1);
        t.settle();
        CHECK(woken);
        std::byte room[2];
        CHECK(next->try_read(room).count == 1);
        CHECK(next->try_read(room).state == io_state::would_block);
    }
    ::close(ends[1]);
}

namespace {

struct asked final : drainable {
    explicit asked(bool t = false, bool s = false) : throws(t), spread(s) {}
    void drain() override {
        ++times;
        if (throws)
            throw std::runtime_error("no randomness");
    }
    bool is_spread() const noexcept override { return spread; }
    bool throws, spread;
    int times = 0;
};

std::unique_ptr<connection> connection_of(drainable* who) {
    auto made = std::make_unique<connection>(testing::memory_stream::make().first, socket_address(),
                                             socket_address());
    made->set_drainable(who);
    return made;
}

} // namespace

TEST_CASE("connections: one that cannot be asked to end is closed, and the others are asked") {
    worker w;
    worker::scoped_current on(w);
    asked good, bad(true);
    std::vector<std::unique_ptr<connection>> all;
    for (asked* who : {&good, &bad, &good})
        all.push_back(connection_of(who));
    connection_list::current().drain();
    CHECK(bad.times == 1);
    CHECK(good.times == 2);
    CHECK(all[1]->downstream().ready().closed);
    CHECK(all[1]->reason() == end_reason::shutting_down);
    CHECK_FALSE(all[0]->downstream().ready().closed);
}

TEST_CASE("connections: those that are still with a stage that nobody can ask go on, and are asked "
          "later") {
    worker w;
    worker::scoped_current on(w);
    auto before = connection_of(nullptr);
    connection_list::current().drain();
    CHECK_FALSE(before->downstream().ready().closed); // a handshake, perhaps
    asked first, late;
    before->set_drainable(&first);
    CHECK(first.times == 1);
    before->set_drainable(nullptr);
    before->drain();
    CHECK(first.times == 1);
    auto after = connection_of(&late);
    CHECK(late.times == 1);
}

TEST_CASE("connections: those whose end is spread are asked one after another") {
    worker w;
    worker::scoped_current on(w);
    auto& list = connection_list::current();
    asked request, tunnels[3] = {asked(false, true), asked(true, true), asked(false, true)};
    std::vector<std::unique_ptr<connection>> all;
    all.push_back(connection_of(&request));
    for (auto& t : tunnels)
        all.push_back(connection_of(&t));
    auto sum = [&] { return tunnels[0].times + tunnels[1].times + tunnels[2].times; };
    CHECK(list.to_be_asked() == 3);
    list.drain();
    CHECK(request.times == 1);
    CHECK(sum() == 0);
    CHECK(list.to_be_asked() == 3);
    list.drain_next(0);
    CHECK(sum() == 0);
    list.drain_next(2);
    CHECK(sum() == 2);
    CHECK(list.to_be_asked() == 1);
    asked late(false, true);
    all[0]->set_drainable(&late); // a request became a tunnel
    CHECK(late.times == 0);
    CHECK(list.to_be_asked() == 2);
    all[0]->set_drainable(&request); // and is none any more
    CHECK(request.times == 2);
    list.drain_next(100);
    CHECK(sum() == 3);
    CHECK(late.times == 0);
    CHECK(list.to_be_asked() == 0);
    CHECK(all[2]->downstream().ready().closed); // the one that threw
    list.drain_next(100);
    CHECK(sum() == 3);
    all[0]->set_drainable(&late);
    CHECK(list.to_be_asked() == 1);
    all.clear();
    CHECK(list.to_be_asked() == 0);
    CHECK(late.times == 0);
}
