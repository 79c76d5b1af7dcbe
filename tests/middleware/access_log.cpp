#include "catch.hpp"

#include <relais/core/report.hpp>
#include <relais/middleware/access_log.hpp>
#include <relais/middleware/basic_auth.hpp>
#include <relais/middleware/respond.hpp>
#include <relais/proxy/proxy_to.hpp>
#include <relais/route/routes.hpp>
#include <relais/testing/scripted_server.hpp>
#include <relais/testing/session.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;

namespace {

struct folder {
    folder() {
        char name[] = "/tmp/relais-XXXXXX";
        path = ::mkdtemp(name);
    }
    ~folder() { std::filesystem::remove_all(path); }
    std::string log() const { return path + "/access.log"; }
    std::string path;
};

std::string content_of(std::string const& file) {
    std::ostringstream all;
    all << std::ifstream(file).rdbuf();
    return all.str();
}

std::vector<std::string> lines_of(std::string const& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);)
        lines.push_back(line);
    return lines;
}

// One request, and the line that it leaves behind the address and the name of the user.
template <class Chain>
std::string line_for(Chain const& inner, std::string const& request) {
    folder where;
    {
        testing::session s(http() | access_log({.file = where.log()}) | inner);
        s.send(request);
    }
    return content_of(where.log());
}

std::string const before = "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] ";

std::vector<std::string> reports;

struct collected_reports {
    collected_reports() {
        reports.clear();
        set_report_function([](std::string_view s) { reports.emplace_back(s); });
    }
    ~collected_reports() { set_report_function(nullptr); }
};

awaitable<> wait_for_an_hour(exchange&) {
    boost::asio::steady_timer timer(worker::current().context(), 1h);
    co_await timer.async_wait(boost::asio::use_awaitable);
}

awaitable<> take_content(exchange& x) {
    co_await x.request.body.read_all(1000);
    x.respond(201, "thanks\n");
}

} // namespace

TEST_CASE("access_log: one line for each exchange, in the combined format") {
    struct row {
        std::string_view request;
        std::string_view line;
    };
    row const rows[] = {
        {"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n",
         R"("GET /a?b=c HTTP/1.1" 200 6 "-" "-" 0.000 completed)"},
        {"GET / HTTP/1.1\r\nHost: a\r\nReferer: https://b.example/c\r\nUser-Agent: d/1; e\r\n\r\n",
         R"("GET / HTTP/1.1" 200 6 "https://b.example/c" "d/1; e" 0.000 completed)"},
        {"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
         R"("HEAD / HTTP/1.1" 200 0 "-" "-" 0.000 completed)"},
        {"GET / HTTP/1.0\r\n\r\n", R"("GET / HTTP/1.0" 200 6 "-" "-" 0.000 completed)"},
        {"PURGE / HTTP/1.1\r\nHost: a\r\nUser-Agent:\r\n\r\n",
         R"("PURGE / HTTP/1.1" 200 6 "-" "-" 0.000 completed)"},
        {"GET http://b.example/x HTTP/1.1\r\nHost: b.example\r\n\r\n",
         R"("GET http://b.example/x HTTP/1.1" 200 6 "-" "-" 0.000 completed)"},
    };
    for (auto const& r : rows) {
        auto line = line_for(respond(200, "hello\n"), std::string(r.request));
        CHECK(line == before + std::string(r.line) + "\n");
    }
}

TEST_CASE("access_log: the reason of what was refused") {
    CHECK(line_for(routes(at("/a") | respond(200)), "GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
              .find("\"GET /b HTTP/1.1\" 404 ") == before.size());
    CHECK(line_for(routes(at("/a") | respond(200)), "GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
              .ends_with(" not_found\n"));
}

TEST_CASE("access_log: who was let in, and who was not") {
    auto guarded = basic_auth({.users = {{"ann", "secret"}}}) | respond(200);
    auto with = [&](std::string_view credentials) {
        return line_for(guarded, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic " +
                                     std::string(credentials) + "\r\n\r\n");
    };
    CHECK(with("YW5uOnNlY3JldA==").starts_with("192.0.2.1 - ann [06/Nov/1994:"));
    CHECK(with("YW5uOndyb25n").starts_with("192.0.2.1 - - [06/Nov/1994:"));
    CHECK(with("YW5uOndyb25n").ends_with(" unauthorized\n"));
}

TEST_CASE("access_log: nothing that a client sends breaks a line") {
    struct row {
        std::string_view sent;
        std::string_view logged;
    };
    row const rows[] = {
        {"plain ~!#$%&'()*+,-./:;<=>?@[]^_`{|}", "plain ~!#$%&'()*+,-./:;<=>?@[]^_`{|}"},
        {"\"", R"(\x22)"},
        {"a\" 200 0 \"b", R"(a\x22 200 0 \x22b)"},
        {"\\x41", R"(\x5Cx41)"},
        {"a\tb", R"(a\x09b)"},
        {"\xc3\xa4", R"(\xC3\xA4)"},
        {"\x80\xff", R"(\x80\xFF)"},
    };
    for (auto const& r : rows) {
        std::string sent(r.sent);
        auto line = line_for(respond(200), "GET / HTTP/1.1\r\nHost: a\r\nReferer: " + sent +
                                               "\r\nUser-Agent: " + sent + "\r\n\r\n");
        std::string logged(r.logged);
        CHECK(line == before + "\"GET / HTTP/1.1\" 200 0 \"" + logged + "\" \"" + logged +
                          "\" 0.000 completed\n");
    }
}

TEST_CASE("access_log: the time goes from the first byte to the last") {
    struct row {
        std::chrono::milliseconds takes;
        std::string_view logged;
    };
    for (auto [takes, logged] :
         {row{50ms, " 0.050 "}, row{1250ms, " 1.250 "}, row{61s, " 61.000 "}}) {
        folder where;
        testing::session s(http({.body_timeout = 5min, .body_min_rate = 0}) |
                           access_log({.file = where.log()}) | take_content);
        s.advance(100ms); // the connection is older than the request
        s.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nte");
        s.advance(takes);
        CHECK(content_of(where.log()).empty());
        s.send("xt");
        s.advance(100ms);
        auto line = content_of(where.log());
        CHECK(line.find("\"POST / HTTP/1.1\" 201 7 \"-\" \"-\"" + std::string(logged) +
                        "completed\n") != line.npos);
    }
}

TEST_CASE("access_log: what the upstream did") {
    testing::scripted_server upstream;
    folder where;
    {
        testing::session s(http() | access_log({.file = where.log()}) | proxy_to(upstream.url()));
        s.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        auto const peer = upstream.accept();
        REQUIRE(peer);
        s.advance(1500ms);
        peer->send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
        s.run();
        s.advance(250ms);
        peer->send("b");
        s.run();
        upstream.stop_listening();
        s.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        peer->take();
        peer->close();
        s.run();
    }
    auto const lines = lines_of(content_of(where.log()));
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].ends_with(" 1.750 completed upstream=" + upstream.url() +
                             " tries=1 connect=0.000 first=1.500 total=1.750"));
    CHECK(lines[1].ends_with(" upstream_reset upstream=" + upstream.url() +
                             " tries=1 connect=0.000 first=0.000 total=0.000"));
}

TEST_CASE("access_log: a client that left before the answer") {
    folder where;
    testing::session s(http() | access_log({.file = where.log()}) | wait_for_an_hour);
    s.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    s.reset();
    s.advance(100ms);
    CHECK(content_of(where.log()) ==
          before + "\"GET / HTTP/1.1\" 499 0 \"-\" \"-\" 0.000 client_left\n");
}

TEST_CASE("access_log: lines are gathered for a tenth of a second at most") {
    folder where;
    testing::session s(http() | access_log({.file = where.log()}) | respond(200));
    auto ask = [&] { s.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); };
    for (int round = 1; round <= 3; ++round) {
        auto lines = [&] { return lines_of(content_of(where.log())).size(); };
        auto there = lines();
        ask();
        ask();
        CHECK(lines() == there);
        s.advance(100ms);
        CHECK(lines() == there + 2);
        s.advance(1s);
        CHECK(lines() == there + 2);
    }
}

TEST_CASE("access_log: many lines do not wait") {
    folder where;
    testing::session s(http() | access_log({.file = where.log()}) | respond(200));
    std::string agent(1000, 'u');
    for (int i = 0; i < 40; ++i)
        s.send("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: " + agent + "\r\n\r\n");
    auto text = content_of(where.log());
    CHECK(text.size() >= 32 * 1024);
    CHECK(text.ends_with(" completed\n"));
}

TEST_CASE("access_log: a file is appended to, by chains that share a stage as well") {
    folder where;
    std::ofstream(where.log()) << "there before\n";
    auto log = access_log({.file = where.log()});
    {
        testing::session one(http() | log | respond(200));
        testing::session two(http() | log | respond(201));
        one.send("GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
        two.send("GET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    auto lines = lines_of(content_of(where.log()));
    REQUIRE(lines.size() == 3);
    CHECK(lines[0] == "there before");
    CHECK(lines[1].find("\"GET /two HTTP/1.1\" 201 ") != std::string::npos); // ended first
    CHECK(lines[2].find("\"GET /one HTTP/1.1\" 200 ") != std::string::npos);
}

TEST_CASE("access_log: a file that was renamed is begun anew by a reload") {
    folder where;
    auto log = access_log({.file = where.log()});
    auto chain = http() | log | respond(200);
    CHECK(chain.reload().empty()); // not open yet
    auto ask = [&](char const* path) {
        testing::session s(chain);
        s.send(std::string("GET ") + path + " HTTP/1.1\r\nHost: a\r\n\r\n");
    };
    ask("/one");
    std::filesystem::rename(where.log(), where.path + "/old");
    ask("/two");
    REQUIRE(chain.reload().empty());
    ask("/three");
    CHECK(lines_of(content_of(where.path + "/old")).size() == 2);
    auto lines = lines_of(content_of(where.log()));
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("\"GET /three ") != std::string::npos);

    // What cannot be opened any more is written to as before.
    std::filesystem::rename(where.log(), where.path + "/newer");
    std::filesystem::create_directory(where.log());
    auto why = chain.reload();
    REQUIRE(why.size() == 1);
    CHECK(why[0].find(where.log()) != std::string::npos);
    ask("/four");
    CHECK(lines_of(content_of(where.path + "/newer")).size() == 2);
}

TEST_CASE("access_log: lines of several workers stay whole") {
    folder where;
    auto whole = http() | access_log({.file = where.log()}) | respond(200);
    whole.prepare();
    constexpr std::size_t workers = 4, requests = 300;
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < workers; ++i)
        threads.emplace_back([&whole, i] {
            testing::session s(whole);
            std::string agent(700, static_cast<char>('a' + i));
            for (std::size_t n = 0; n < requests; ++n)
                s.send("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: " + agent + "\r\n\r\n");
        });
    for (auto& t : threads)
        t.join();
    auto lines = lines_of(content_of(where.log()));
    CHECK(lines.size() == workers * requests);
    std::regex shape(
        R"re(192\.0\.2\.1 - - \[[^\]]+\] "GET / HTTP/1\.1" 200 0 "-" "(.)\1{699}" \d+\.\d{3} completed)re");
    for (auto const& line : lines)
        REQUIRE(std::regex_match(line, shape));
}

TEST_CASE("access_log: a file that cannot be opened") {
    folder where;
    auto file = where.path + "/none/access.log";
    auto chain = http() | access_log({.file = file}) | respond(200);
    CHECK_THROWS_WITH(chain.prepare(),
                      "access_log({.file = \"" + file +
                          "\"}) cannot be opened: No such file or directory; name a file in a "
                          "directory that this program may write to");
    auto directory = http() | access_log({.file = where.path}) | respond(200);
    CHECK_THROWS_AS(directory.prepare(), startup_error);
}

namespace {

struct pipe_of_lines {
    explicit pipe_of_lines(std::string const& path) {
        ::mkfifo(path.c_str(), 0600);
        reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
    ~pipe_of_lines() { stop(); }
    void stop() {
        if (reader >= 0)
            ::close(reader);
        reader = -1;
    }
    std::string read() {
        std::string all, piece(65536, '\0');
        for (ssize_t got; (got = ::read(reader, piece.data(), piece.size())) > 0;)
            all.append(piece, 0, static_cast<std::size_t>(got));
        return all;
    }
    int reader;
};

} // namespace

TEST_CASE("access_log: a pipe that nobody reads stops no worker") {
    folder where;
    collected_reports collect;
    pipe_of_lines pipe(where.log());
    testing::session s(http({.keep_alive_requests = 1'000'000}) |
                       access_log({.file = where.log()}) | respond(200));
    std::string agent(2000, 'u');
    std::size_t asked = 0;
    auto ask = [&](std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            s.take_received();
            s.send("GET /" + std::to_string(asked++) +
                   " HTTP/1.1\r\nHost: a\r\nUser-Agent: " + agent + "\r\n\r\n");
            REQUIRE(s.received().starts_with("HTTP/1.1 200"));
        }
    };
    std::string text;
    auto drain = [&] {
        for (int i = 0; i < 100; ++i) {
            text += pipe.read();
            s.advance(50ms);
        }
    };

    SECTION("for a while: nothing is lost") {
        ask(300); // more than the pipe takes
        s.advance(1s);
        drain();
        auto lines = lines_of(text);
        REQUIRE(lines.size() == 300);
        for (std::size_t i = 0; i < lines.size(); ++i)
            REQUIRE(lines[i].find("\"GET /" + std::to_string(i) + " HTTP/1.1\"") == before.size());
        CHECK(reports.empty());
    }
    SECTION("for too long: what is kept has a bound") {
        ask(1000);
        s.advance(1s);
        CHECK(reports.empty());
        drain();
        auto lines = lines_of(text);
        CHECK(lines.size() > 500);
        CHECK(lines.size() < 600);
        REQUIRE(reports.size() == 1);
        CHECK(reports[0] == "the access log was not read: " + std::to_string(1000 - lines.size()) +
                                " lines are lost");
        text.clear();
        ask(2);
        drain();
        CHECK(lines_of(text).size() == 2);
        CHECK(reports.size() == 1);
    }
    SECTION("any more") {
        auto* previous = std::signal(SIGPIPE, SIG_IGN); // a server's workers have it blocked
        pipe.stop();
        ask(1);
        s.advance(1s);
        ask(1);
        s.advance(1s);
        std::signal(SIGPIPE, previous);
        REQUIRE(reports.size() == 1);
        CHECK(reports[0] == "the access log cannot be written to: Broken pipe; lines are lost");
    }
}

TEST_CASE("access_log: a line that is longer than a pipe is wide") {
    folder where;
    pipe_of_lines pipe(where.log());
    auto whole =
        http({.max_head_size = 128 * 1024}) | access_log({.file = where.log()}) | respond(200);
    testing::session one(whole);
    testing::session two(whole);
    std::string agent(100'000, 'u');
    one.send("GET /one HTTP/1.1\r\nHost: a\r\nUser-Agent: " + agent + "\r\n\r\n");
    two.send("GET /two HTTP/1.1\r\nHost: a\r\nUser-Agent: " + agent + "\r\n\r\n");
    std::string text;
    for (int i = 0; i < 20; ++i) { // the first one has written a part, the second one lets it end
        two.advance(100ms);
        one.advance(100ms);
        text += pipe.read();
    }
    auto lines = lines_of(text);
    REQUIRE(lines.size() == 2);
    for (auto const& line : lines)
        CHECK(line.find("\" 200 0 \"-\" \"" + agent + "\" ") != std::string::npos);
}

TEST_CASE("access_log: a disk that is full is said once") {
    collected_reports collect;
    testing::session s(http() | access_log({.file = "/dev/full"}) | respond(200));
    for (int i = 0; i < 3; ++i) {
        s.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        s.advance(1s);
    }
    REQUIRE(reports.size() == 1);
    CHECK(reports[0] ==
          "the access log cannot be written to: No space left on device; lines are lost");
}
