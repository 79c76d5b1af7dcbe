#include "catch.hpp"
#include "loopback.hpp"
#include "proxied.hpp"
#include "server/threads.hpp"

#include <relais/core/per_worker.hpp>
#include <relais/core/report.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/server/server.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <thread>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

std::ptrdiff_t entries(char const* directory) {
    return std::distance(std::filesystem::directory_iterator(directory), {});
}
std::ptrdiff_t descriptors() {
    return entries("/proc/self/fd");
}
std::ptrdiff_t threads() {
    return entries("/proc/self/task");
}

// Why a server cannot start.
std::string refusal(server& srv) {
    try {
        srv.start();
    } catch (startup_error const& e) {
        return e.what();
    }
    srv.stop();
    return "started";
}

// What run() reports.
std::vector<std::string> reports;
void note_report(std::string_view sentence) {
    reports.emplace_back(sentence);
}

} // namespace

TEST_CASE("server: listens in several places, each with a chain of its own") {
    folder f;
    server srv(quiet());
    srv.listen("127.0.0.1:0", http() | respond(200, "first\n"));
    srv.listen(f.socket(), http() | respond(200, "second\n"));
    srv.listen("127.0.0.1:0", http() | respond(200, "third\n"));
    CHECK(srv.endpoints().empty());
    srv.start();
    auto const at = srv.endpoints();
    REQUIRE(at.size() == 3);
    CHECK(at[0].port() != 0);
    CHECK(at[1].to_string() == f.socket());
    CHECK(at[2].port() != 0);
    CHECK(at[0].port() != at[2].port());
    for (auto [i, content] :
         {std::pair(0, "first\n"), std::pair(1, "second\n"), std::pair(2, "third\n")}) {
        loopback_client client(at[static_cast<std::size_t>(i)]);
        client.send(get);
        CHECK(content_of(client.response()) == content);
    }
    srv.stop();
    CHECK(srv.endpoints().empty());
    CHECK_FALSE(std::filesystem::exists(f.path / "s"));
    for (auto const& one : at)
        CHECK_FALSE(loopback_client(one).connected());
}

TEST_CASE("server: a port in use is one sentence, and nothing stays behind") {
    server first(quiet());
    first.listen("127.0.0.1:0", http() | respond(204));
    first.start();
    auto const where = first.endpoints()[0].to_string();
    auto const expected = "cannot listen on " + where +
                          ": the address is in use; stop the program that listens there or choose "
                          "another port";
    folder f;
    server second(quiet());
    second.listen(f.socket(), http() | respond(204));
    second.listen(where, http() | respond(204));
    auto const before = descriptors();
    auto const alone = threads();
    SECTION("start throws it") {
        CHECK(refusal(second) == expected);
    }
    SECTION("run reports it and returns 1") {
        reports.clear();
        set_report_function(&note_report);
        CHECK(second.run() == 1);
        set_report_function(nullptr);
        CHECK(reports == std::vector{expected});
    }
    CHECK(descriptors() == before);
    CHECK(eventually([&] { return threads() == alone; }));
    CHECK_FALSE(std::filesystem::exists(f.path / "s"));
    CHECK(second.endpoints().empty());
    first.stop();
    second.start(); // it can be tried again
    CHECK(second.endpoints().size() == 2);
}

TEST_CASE("server: one place twice is in use by itself") {
    int port = 0;
    {
        server srv(quiet());
        srv.listen("127.0.0.1:0", http() | respond(204));
        srv.start();
        port = srv.endpoints()[0].port();
    }
    auto const where = "127.0.0.1:" + std::to_string(port);
    server srv(quiet());
    srv.listen(where, http() | respond(204));
    srv.listen(where, http() | respond(204));
    CHECK_THAT(refusal(srv), Contains("cannot listen on " + where + ": the address is in use"));
}

namespace {

struct needing_preparation {
    std::function<void()> what;
    awaitable<> operator()(exchange& x, exchange::next next) const { return next(x); }
    void prepare() const { what(); }
};

} // namespace

TEST_CASE("server: what is wrong is said at the start, and nothing is thrown before") {
    folder f;
    server srv(quiet());
    std::string expected;
    SECTION("nowhere to listen") {
        expected = "the server has nowhere to listen: call listen(\"0.0.0.0:443\", ...) before the "
                   "start";
    }
    SECTION("no address") {
        srv.listen("127.0.0.1", http() | respond(204));
        expected = "\"127.0.0.1\" is not an address: the port is missing; write 0.0.0.0:443, "
                   "[::]:443, name:443 or unix:/path";
    }
    SECTION("a stage that is not prepared") {
        srv.listen(f.socket(), http() | needing_preparation{[] {
                                   throw startup_error("the key is rusty: oil it");
                               }} | respond(204));
        expected = "the key is rusty: oil it";
    }
    SECTION("a stage that throws something else, such as what the standard library throws") {
        srv.listen(f.socket(), http() | needing_preparation{[] {
                                   throw std::runtime_error("the key is rusty");
                               }} | respond(204));
        expected = "the stages of " + f.socket() + " cannot be prepared: the key is rusty";
    }
    SECTION("an upstream that is none") {
        srv.listen(f.socket(), http() | proxy_to("gopher://a"));
        expected = "\"gopher://a\" is not an upstream: \"gopher\" is no scheme it can have (a "
                   "WebSocket goes through http or https); write http://host:port, "
                   "http://host:port/prefix/, https://host or unix:/path";
    }
    reports.clear();
    set_report_function(&note_report);
    CHECK(srv.run() == 1);
    set_report_function(nullptr);
    CHECK(reports == std::vector{expected});
    CHECK(refusal(srv) == expected);
    CHECK_FALSE(std::filesystem::exists(f.path / "s"));
}

TEST_CASE("server: two may have a port when they say so, but not two listen() of one") {
    auto options = quiet();
    server first(options);
    first.listen("127.0.0.1:0", http() | respond(200, "first\n"));
    first.start();
    auto const where = first.endpoints()[0].to_string();
    options.share_ports = true;
    server second(options);
    second.listen(where, http() | respond(200, "second\n"));
    second.start();
    CHECK(second.endpoints() == first.endpoints());
    first.stop();
    loopback_client client(second.endpoints()[0]);
    client.send(get);
    CHECK(content_of(client.response()) == "second\n");
    server third(options);
    third.listen(where, http() | respond(204));
    third.listen(where, http() | respond(204));
    CHECK(refusal(third) == "cannot listen on " + where + ": an earlier listen() has " + where +
                                " already; give each a place of its own, or both one chain");
}

TEST_CASE("server: a drain that would cut what it has not asked yet is refused at the start") {
    auto options = quiet();
    options.drain_timeout = options.drain_spread - 1ms;
    server srv(options);
    srv.listen("127.0.0.1:0", http() | respond(204));
    CHECK_THAT(refusal(srv), Contains("drain_spread is longer than drain_timeout"));
}

TEST_CASE("server: stages are prepared before a port is open, once for each place") {
    folder f;
    int prepared = 0;
    bool early = true;
    needing_preparation const counts{[&] {
        ++prepared;
        early = early && !std::filesystem::exists(f.path / "s");
    }};
    server srv(quiet(3));
    srv.listen(f.socket(), http() | counts | respond(204));
    srv.listen("127.0.0.1:0", http() | counts | respond(204));
    CHECK(prepared == 0);
    srv.start();
    CHECK(prepared == 2);
    CHECK(early);
}

TEST_CASE("server: cannot be started while it runs, and goes on") {
    server srv(quiet());
    srv.listen("127.0.0.1:0", http() | respond(200, "here\n"));
    srv.start();
    CHECK_THROWS_WITH(srv.start(), Contains("runs already"));
    loopback_client client(srv.endpoints()[0]);
    client.send(get);
    CHECK(content_of(client.response()) == "here\n");
}

TEST_CASE("server: has as many threads as workers, or as cores") {
    auto const workers = GENERATE(0u, 1u, 3u);
    auto const expected = workers ? workers : std::max(1u, std::thread::hardware_concurrency());
    auto const before = threads();
    server srv(quiet(workers));
    srv.listen("127.0.0.1:0", http() | respond(204));
    srv.start();
    CHECK(threads() == before + static_cast<std::ptrdiff_t>(expected));
    srv.stop();
    CHECK(eventually([&] { return threads() == before; }));
}

TEST_CASE("server: each worker serves connections of its own, with state of its own") {
    folder f;
    bool const unix_path = GENERATE(false, true); // all workers share its socket
    constexpr std::size_t workers = 3;
    struct served_here {
        int requests = 0;
    };
    per_worker<served_here> mine;
    auto const tell = [mine](exchange& x) -> awaitable<> {
        x.respond(200, std::to_string(worker::current().index()) + ' ' +
                           std::to_string(++mine->requests) + '\n');
        co_return;
    };
    server srv(quiet(workers));
    srv.listen(unix_path ? f.socket() : "127.0.0.1:0", http() | tell);
    srv.start();
    int requests[workers] = {};
    auto const used = [&] {
        return std::count_if(requests, requests + workers, [](int n) { return n > 0; });
    };
    // Which one takes a connection is the kernel's choice; whoever takes it serves all its requests.
    std::vector<std::unique_ptr<loopback_client>> all;
    for (int i = 0; i < 500 && (used() < (unix_path ? 1 : 3) || i < 10); ++i) {
        auto& client = *all.emplace_back(std::make_unique<loopback_client>(srv.endpoints()[0]));
        std::set<std::string> by;
        for (int request = 0; request < 3; ++request) {
            client.send(get);
            auto const answer = std::string(content_of(client.response()));
            REQUIRE(answer.size() > 3);
            by.insert(answer.substr(0, 1));
            auto const index = static_cast<std::size_t>(answer[0] - '0');
            REQUIRE(index < workers);
            CHECK(answer.substr(2) == std::to_string(++requests[index]) + '\n');
        }
        CHECK(by.size() == 1);
    }
    CHECK(used() >= (unix_path ? 1 : 3));
    CHECK(srv.connections() == all.size());
}

TEST_CASE("server: run returns once somebody stops it") {
    server srv(quiet());
    srv.listen("127.0.0.1:0", http() | respond(200, "here\n"));
    if (GENERATE(false, true))
        srv.start();
    running run(srv);
    loopback_client client(srv.endpoints()[0]);
    client.send(get);
    CHECK(content_of(client.response()) == "here\n");
    CHECK_FALSE(run.returned());
    stopping stop(srv);
    CHECK(client.rest().empty());
    client.close();
    CHECK(stop.returns());
    CHECK(run.returns());
    CHECK(run.status() == 0);
}

TEST_CASE("server: a handler has it stopped by another thread, and its response goes out") {
    std::thread helper;
    server* of = nullptr;
    auto const quit = [&](exchange& x) -> awaitable<> {
        helper = std::thread([&] { of->stop(); });
        x.respond(200, "good bye\n");
        co_return;
    };
    server srv(quiet(1));
    of = &srv;
    srv.listen("127.0.0.1:0", http() | quit);
    {
        running run(srv);
        loopback_client client(srv.endpoints()[0]);
        client.send(get);
        CHECK(content_of(client.response()) == "good bye\n");
        CHECK(client.rest().empty());
        client.close();
        CHECK(run.returns());
        CHECK(run.status() == 0);
    }
    REQUIRE(helper.joinable());
    helper.join();
}

TEST_CASE("server: may be destroyed as soon as run() has returned, whoever stopped it") {
    for (int i = 0; i < 50; ++i) {
        std::thread helper;
        {
            server srv(quiet(1));
            srv.listen("127.0.0.1:0", http() | respond(204));
            helper = std::thread([&srv] {
                eventually([&] { return !srv.endpoints().empty(); });
                srv.stop();
            });
            CHECK(srv.run() == 0);
            CHECK(srv.endpoints().empty()); // nobody has anything left to do with it
        }
        helper.join();
    }
}

TEST_CASE("server: stopping ends idle connections at once, and cleanly") {
    auto options = quiet();
    options.waiter = GENERATE(waiter_kind::native, waiter_kind::portable);
    hurried_clock const clock; // one that has just connected has a second to ask
    options.time = &clock;
    server srv(options);
    srv.listen("127.0.0.1:0", http() | respond(200, "here\n"));
    srv.start();
    loopback_client fresh(srv.endpoints()[0]), used(srv.endpoints()[0]);
    used.send(get);
    CHECK(content_of(used.response()) == "here\n");
    CHECK(eventually([&] { return srv.connections() == 2; }));
    stopping stop(srv);
    for (auto* client : {&fresh, &used}) {
        CHECK(client->rest().empty()); // long before an hour is over
        client->close();
    }
    CHECK(stop.returns());
    CHECK(srv.connections() == 0);
}

TEST_CASE("server: stopping waits for what is going on, and takes nothing new") {
    auto options = quiet();
    options.waiter = GENERATE(waiter_kind::native, waiter_kind::portable);
    held requests;
    server srv(options);
    srv.listen("127.0.0.1:0", http() | requests);
    srv.start();
    auto const at = srv.endpoints()[0];
    loopback_client first(at), second(at);
    first.send(get);
    second.send(get);
    REQUIRE(requests.has(2));
    stopping stop(srv);
    CHECK(refuses(at));
    CHECK_FALSE(stop.returned());
    CHECK(requests.left() == 0);
    requests.let_go();
    for (auto* client : {&first, &second}) {
        CHECK(content_of(client->response()) == "at last\n");
        CHECK(client->rest().empty());
    }
    CHECK(stop.returns());
}

TEST_CASE("server: stopping has patience, but not for ever") {
    held requests;
    if (GENERATE(false, true)) // what does not notice even this is destroyed where it waits
        requests.ignore_cancellation();
    hurried_clock const clock;
    auto options = quiet(2, 600ms);
    options.time = &clock;
    server srv(options);
    srv.listen("127.0.0.1:0", http() | requests);
    srv.start();
    loopback_client client(srv.endpoints()[0]);
    client.send(get);
    REQUIRE(requests.has(1));
    stopping stop(srv);
    CHECK(stop.returns());
    CHECK(requests.left() == 1);
    CHECK(srv.connections() == 0);
    auto const got = client.rest();
    CHECK((got.empty() || got == "(reset)"));
}

TEST_CASE("server: stopping closes a WebSocket as both sides expect it") {
    bool const both_answer = GENERATE(true, false);
    scripted_server upstream;
    server srv(quiet(2, both_answer ? 1h : 30ms));
    srv.listen("127.0.0.1:0", http() | proxy_to(upstream.url()));
    srv.start();
    loopback_client client(srv.endpoints()[0]);
    client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    proxied::peer peer;
    REQUIRE(eventually([&] { return (peer = upstream.accept()) != nullptr; }));
    REQUIRE(eventually([&] { return peer->received().ends_with("\r\n\r\n"); }));
    peer->take();
    peer->send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi");
    CHECK(client.receive_until("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    CHECK(client.receive(4) == "\x81\x02hi");

    stopping stop(srv);
    CHECK(client.receive(4) == "\x88\x02\x03\xe9"); // 1001: going away
    CHECK(eventually([&] { return peer->received().size() == 8; }));
    CHECK(peer->take().substr(0, 2) == "\x88\x82");
    if (both_answer) {
        CHECK_FALSE(stop.returned());
        client.send({"\x88\x82\0\0\0\0\x03\xe9", 8});
        peer->send("\x88\x02\x03\xe9");
    }
    CHECK(stop.returns());
    CHECK(client.rest().empty());
    CHECK(eventually([&] { return peer->saw_end(); }));
}

TEST_CASE("server: stopping again while it stops ends everything at once") {
    held requests;
    server srv(quiet());
    srv.listen("127.0.0.1:0", http() | requests);
    srv.start();
    auto const at = srv.endpoints()[0];
    loopback_client client(at);
    client.send(get);
    REQUIRE(requests.has(1));
    stopping stop(srv);
    REQUIRE(refuses(at));
    CHECK_FALSE(stop.returned());
    srv.stop();
    CHECK(stop.returns());
    CHECK(requests.left() == 1);
    auto const got = client.rest();
    CHECK((got.empty() || got == "(reset)"));
    srv.stop(); // and once more: nothing
}

TEST_CASE("server: stopping what does not run is nothing") {
    server srv(quiet());
    srv.listen("127.0.0.1:0", http() | respond(204));
    srv.stop();
    CHECK(srv.endpoints().empty());
    CHECK(srv.connections() == 0);
    running run(srv); // an earlier stop does not count
    CHECK_FALSE(run.returned());
    srv.stop();
    CHECK(run.returns());
    srv.stop();
}

TEST_CASE("server: leaves no descriptor and no thread behind") {
    auto options = quiet(3);
    options.waiter = GENERATE(waiter_kind::native, waiter_kind::portable);
    options.handle_signals = true; // as far as run() does
    hurried_clock const clock;
    options.time = &clock;
    bool const destroyed = GENERATE(false, true);
    folder f;
    scripted_server upstream;
    auto const one_life = [&] {
        server srv(options);
        srv.listen("127.0.0.1:0", http() | proxy_to(upstream.url()));
        srv.listen(f.socket(), http() | respond(204));
        if (destroyed)
            srv.start();
        std::optional<running> run;
        if (!destroyed)
            run.emplace(srv);
        loopback_client idle(srv.endpoints()[1]), kept(srv.endpoints()[0]);
        kept.send(get);
        proxied::peer peer;
        REQUIRE(eventually([&] { return (peer = upstream.accept()) != nullptr; }));
        peer->send(ok("x")); // the connection to the upstream is idle from now on
        CHECK(content_of(kept.response()) == "x");
        if (!destroyed) {
            stopping stop(srv);
            for (auto* client : {&idle, &kept}) {
                CHECK(client->rest().empty());
                client->close();
            }
            CHECK(stop.returns());
            CHECK(run->returns());
        }
    };
    one_life(); // what is made once for the whole program
    auto const before = descriptors();
    auto const alone = threads();
    one_life();
    CHECK(descriptors() == before);
    CHECK(eventually([&] { return threads() == alone; }));
    CHECK_FALSE(std::filesystem::exists(f.path / "s"));
}

TEST_CASE("server: a signal stops it as soon as requests have ended, a second one at once") {
    auto const signal = GENERATE(SIGINT, SIGTERM);
    held requests;
    auto options = quiet();
    options.handle_signals = true;
    server srv(options);
    srv.listen("127.0.0.1:0", http() | requests);
    running run(srv);
    auto const at = srv.endpoints()[0];
    loopback_client client(at);
    client.send(get);
    REQUIRE(requests.has(1));
    REQUIRE(::kill(::getpid(), signal) == 0);
    REQUIRE(refuses(at));
    CHECK_FALSE(run.returned());
    SECTION("the requests end") {
        requests.let_go();
        CHECK(content_of(client.response()) == "at last\n");
    }
    SECTION("they do not") {
        REQUIRE(::kill(::getpid(), signal == SIGINT ? SIGTERM : SIGINT) == 0);
    }
    CHECK(run.returns());
    CHECK(run.status() == 0);
    auto const got = client.rest();
    CHECK((got.empty() || got == "(reset)"));
}

TEST_CASE(
    "server: SIGHUP and reload() have stages load their files anew, and say what became of it") {
    struct loading {
        std::shared_ptr<std::atomic<int>> count = std::make_shared<std::atomic<int>>();
        std::shared_ptr<std::atomic<bool>> fails = std::make_shared<std::atomic<bool>>();
        awaitable<> operator()(exchange& x, exchange::next next) const { return next(x); }
        void reload() const {
            ++*count;
            if (*fails)
                throw startup_error("no such file");
        }
    };
    static std::mutex writing;
    static std::vector<std::string> said;
    said.clear();
    set_report_function([](std::string_view sentence) {
        std::lock_guard lock(writing);
        said.emplace_back(sentence);
    });
    auto const saw = [](std::string const& sentence) {
        return eventually([&] {
            std::lock_guard lock(writing);
            return std::find(said.begin(), said.end(), sentence) != said.end();
        });
    };
    loading const stage;
    auto options = quiet();
    options.handle_signals = true;
    server srv(options);
    srv.listen("127.0.0.1:0", http() | stage | respond(204));
    {
        running run(srv);
        for (int i = 1; i <= 2; ++i) { // each of them, not the first alone
            REQUIRE(::kill(::getpid(), SIGHUP) == 0);
            CHECK(saw("everything was loaded again"));
            CHECK(stage.count->load() == i);
            std::lock_guard lock(writing);
            said.clear();
        }
        *stage.fails = true;
        REQUIRE(::kill(::getpid(), SIGHUP) == 0);
        CHECK(saw("127.0.0.1:0 goes on as it was: no such file"));
        CHECK_FALSE(srv.reload());
        *stage.fails = false;
        CHECK(srv.reload());
        CHECK(stage.count->load() == 5);
        loopback_client client(srv.endpoints()[0]);
        client.send(get);
        CHECK(client.response().starts_with("HTTP/1.1 204"));
    }
    set_report_function(nullptr);
}

TEST_CASE("server: leaves signals alone where it is told to, and in start()") {
    auto const handlers = [] {
        std::vector<void (*)(int)> all;
        for (int signal : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) {
            struct sigaction now {};
            ::sigaction(signal, nullptr, &now);
            all.push_back(now.sa_handler);
        }
        return all;
    };
    auto const before = handlers();
    bool const runs = GENERATE(false, true);
    auto options = quiet();
    options.handle_signals = !runs;
    server srv(options);
    srv.listen("127.0.0.1:0", http() | respond(204));
    std::optional<running> run;
    if (runs)
        run.emplace(srv);
    else
        srv.start();
    CHECK(handlers() == before);
    srv.stop();
}
