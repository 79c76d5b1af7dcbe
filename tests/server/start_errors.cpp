#include "catch.hpp"
#include "server/threads.hpp"
#include "tls/make_certificate.hpp"

#include <relais/core/report.hpp>
#include <relais/relais.hpp>

#include <fcntl.h>
#include <fstream>
#include <functional>
#include <regex>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

// What a user meets who has made a mistake: one sentence that says what is wrong, where, and what to do.

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;

namespace {

std::vector<std::string> said;

// What run() says, which ends with 1 then.
std::vector<std::string> sentences(server& srv) {
    said.clear();
    set_report_function([](std::string_view sentence) { said.emplace_back(sentence); });
    CHECK(srv.run() == 1);
    set_report_function(nullptr);
    return said;
}

std::string sentence(std::string_view where, auto const& chain) {
    server srv(quiet(1));
    srv.listen(where, chain);
    std::string thrown;
    try {
        srv.start();
    } catch (startup_error const& error) {
        thrown = error.what();
    }
    if (thrown.empty()) // and run() would not return
        return "it starts";
    auto const all = sentences(srv);
    REQUIRE(all.size() == 1);
    auto const& one = all.front();
    CHECK(one == thrown);
    CHECK(one.find_first_of("\r\n\t") == one.npos);
    CHECK(one.find("  ") == one.npos);
    CHECK_FALSE(one.ends_with('.'));
    return one;
}

// Of a stage on requests.
std::string of_stage(auto const& stage) {
    return sentence("127.0.0.1:0", http() | stage | respond(204));
}

// Of a terminal of requests.
std::string of_terminal(auto const& terminal) {
    return sentence("127.0.0.1:0", http() | terminal);
}

std::string of_address(std::string const& where) {
    return sentence(where, http() | respond(204));
}

std::string of_certificate(tls_options options) {
    return sentence("127.0.0.1:0", tls(std::move(options)) | http() | respond(204));
}

constexpr char const* write_address = "; write 0.0.0.0:443, [::]:443, name:443 or unix:/path";
constexpr char const* write_upstream =
    "; write http://host:port, http://host:port/prefix/, https://host or unix:/path";
constexpr char const* write_ranges =
    "; ranges are written as 10.0.0.0/8, 192.0.2.7, 2001:db8::/32, unix: or all";

void put(std::filesystem::path const& file, std::string const& content) {
    std::ofstream(file, std::ios::binary) << content;
}

} // namespace

TEST_CASE("start errors: addresses that are none") {
    for (auto const& [where, why] : std::vector<std::pair<std::string, std::string>>{
             {"", "the port is missing"},
             {"127.0.0.1", "the port is missing"},
             {"8443", "the port is missing"},
             {":8443", "the host is missing"},
             {"[::1]", "the port is missing"},
             {"[::1:443", "the port is missing"},
             {"::1:443", "an IPv6 address needs brackets"},
             {"127.0.0.1:", "the port has to be a number up to 65535"},
             {"127.0.0.1:https", "the port has to be a number up to 65535"},
             {"127.0.0.1:70000", "the port has to be a number up to 65535"},
             {"127.0.0.1:-1", "the port has to be a number up to 65535"},
             {"http://127.0.0.1:80", "an IPv6 address needs brackets"},
             {"unix:", "the path is missing"},
             {"systemd:", "the name of the socket is missing"}}) {
        CAPTURE(where);
        CHECK(of_address(where) == "\"" + where + "\" is not an address: " + why + write_address);
    }
}

TEST_CASE("start errors: addresses where one cannot listen") {
    folder f;
    auto const cannot = [](std::string const& where) { return "cannot listen on " + where + ": "; };
    CHECK(of_address("192.0.2.1:0") ==
          cannot("192.0.2.1:0") +
              "this machine has no such address; 0.0.0.0 and [::] stand for all it has");
    auto const missing = "unix:" + (f.path / "no" / "s").string();
    CHECK(of_address(missing) ==
          cannot(missing) + "its directory does not exist; make it or choose another path");
    put(f.path / "s", "text");
    CHECK(of_address(f.socket()) ==
          cannot(f.socket()) +
              "there is a file of that name that is no socket; choose another path");
    auto const below = "unix:" + (f.path / "s" / "t").string();
    CHECK(of_address(below) ==
          cannot(below) + "its directory does not exist; make it or choose another path");
    auto const path = "/" + std::string(120, 'x');
    CHECK(of_address("unix:" + path) ==
          "the Unix socket path \"" + path + "\" has to have 1 to 107 bytes: use a shorter path");
    CHECK(of_address("systemd:web") ==
          cannot("systemd:web") + "no such socket was passed, nor any other; start the program "
                                  "through its socket unit");

    server first(quiet(1));
    folder g;
    first.listen("127.0.0.1:0", http() | respond(204));
    first.listen(g.socket(), http() | respond(204));
    first.start();
    for (auto const& taken : {first.endpoints()[0].to_string(), g.socket()})
        CHECK(of_address(taken) == cannot(taken) + "the address is in use; stop the program that "
                                                   "listens there or choose another port");
}

TEST_CASE("start errors: names that nobody knows") {
    auto const is = [](std::string const& got, std::string const& host, std::string const& whole) {
        CAPTURE(got);
        return std::regex_match(
            got, std::regex("the host \"" + host + "\" of " + whole +
                            R"( is not known \([A-Z][^)]+\): check the name or write an address)"));
    };
    CHECK(
        is(of_address("no.such.host.invalid:1"), "no.such.host.invalid", "no.such.host.invalid:1"));
    CHECK(is(of_terminal(proxy_to("https://no.such.host.invalid")), "no.such.host.invalid",
             "no.such.host.invalid:443"));
    CHECK(is(sentence("127.0.0.1:0", relay("no.such.host.invalid:5432")), "no.such.host.invalid",
             "no.such.host.invalid:5432"));
}

TEST_CASE("start errors: upstreams") {
    for (auto const& [url, why] : std::vector<std::pair<std::string, std::string>>{
             {"", "the host is missing"},
             {"http://", "the host is missing"},
             {"http://:80", "the host is missing"},
             {"http://a:0", "the port has to be a number from 1 to 65535"},
             {"http://a:99999", "the port has to be a number from 1 to 65535"},
             {"http://::1:80", "an IPv6 address needs brackets"},
             {"http://[::1:80", "the bracket is not closed"},
             {"http://user:secret@a", "names and passwords in front of the host are not supported"},
             {"http://a/?b", "the part after the host is a path, without a query or a fragment"},
             {"ws://a", "\"ws\" is no scheme it can have (a WebSocket goes through http or https)"},
             {"unix:", "the path of the socket is missing"}}) {
        CAPTURE(url);
        CHECK(of_terminal(proxy_to(url)) ==
              "\"" + url + "\" is not an upstream: " + why + write_upstream);
    }
    CHECK(of_terminal(proxy_to("https://unix:/run/app.sock:/")) ==
          "https to unix:/run/app.sock needs the name in the server's certificate: set .tls = "
          "{.name = \"...\"}");
    CHECK(of_terminal(proxy_to("http://127.0.0.1:1", {.read_timeout = 0s})) ==
          "proxy_to(\"http://127.0.0.1:1\"): .read_timeout has to be longer than 0: every wait "
          "needs an end");
    CHECK(
        of_terminal(proxy_to("http://127.0.0.1:1", {.via = "two words"})) ==
        "proxy_to(\"http://127.0.0.1:1\"): .via is \"two words\": write one word, the pseudonym of "
        "this deployment");
    CHECK(of_terminal(proxy_to("http://127.0.0.1:1", {.cookie_domain = "a.b; Secure"})) ==
          "proxy_to(\"http://127.0.0.1:1\"): .cookie_domain is \"a.b; Secure\": write a name as "
          "example.org");
    CHECK(sentence("127.0.0.1:0", relay("10.0.0.7")) ==
          std::string("\"10.0.0.7\" is not an address: the port is missing") + write_address);
    CHECK(sentence("127.0.0.1:0", relay("systemd:db")) ==
          "systemd:db is a place to listen, nobody can connect to it: write its address");
    CHECK(sentence("127.0.0.1:0", relay("127.0.0.1:1", {.linger = 0s})) ==
          "relay(\"127.0.0.1:1\"): .linger has to be longer than 0: every wait needs an end");
}

TEST_CASE("start errors: routes") {
    auto const of_rule = [](matcher rule) { return of_terminal(routes(at(rule) | respond(204))); };
    CHECK(of_rule("wss") == "at(\"wss\"): a path begins with a slash: write \"/wss\"");
    CHECK(of_rule("/a/../b") ==
          "at(\"/a/../b\"): dot segments are removed before routes are asked: "
          "write the path without");
    CHECK(of_rule(matcher("/").host("a b")) ==
          "at(\"/\").host(\"a b\"): \"a b\" is no host: it has a character that no host has, write "
          "it without");
    CHECK(of_rule(pattern("")) ==
          "at(pattern(R\"()\")): an empty pattern fits every path: write at(\"/\")");
    for (auto const& [text, fine] : std::vector<std::pair<std::string, std::string>>{
             {"(a", "(a"}, {"/a**", "/a**"}, {"/[b-a]", "/[b-a]"}, {"*.php", ""}}) {
        auto const got = of_rule(pattern(text));
        CAPTURE(got);
        auto const behind = fine.empty() ? "from its beginning" : "behind \"" + fine + '"';
        CHECK(got.starts_with("at(pattern(R\"(" + text +
                              ")\")): the regular expression does not compile " + behind + ": "));
        CHECK(got.ends_with("; correct it, or write \\ before a character that stands for itself"));
        CHECK(got.find("HERE") == got.npos);
    }
    CHECK(of_terminal(routes(at("/") | respond(204), at("/") | respond(200))) ==
          "at(\"/\"): the rules 1 and 2 are for the same requests: keep one, or give them hosts or "
          "methods of their own");
    CHECK(of_terminal(routes(at("/a") | respond(204), at(prefix("/a")) | respond(200))) ==
          "at(prefix(\"/a\")): prefix(\"/a\") and \"/a\" are the same place: keep one of them");
    CHECK(
        of_terminal(routes(at(pattern("a")) | proxy_to("http://a/b/"))) ==
        "at(pattern(R\"(a)\")): proxy_to(\"http://a/b/\") has a path, and a pattern has no prefix "
        "that it could replace: leave the path out or use at(\"/prefix/\")");
    CHECK(
        of_terminal(routes(at("/a") | proxy_to("ftp://a"))) ==
        std::string("at(\"/a\"): \"ftp://a\" is not an upstream: \"ftp\" is no scheme it can have "
                    "(a WebSocket goes through http or https)") +
            write_upstream);
}

TEST_CASE("start errors: all mistakes in routes, a sentence each") {
    server srv(quiet(1));
    srv.listen("127.0.0.1:0",
               http() | routes(at("/a") | allow({"10"}) | proxy_to("http://127.0.0.1:1"),
                               at("/b") | proxy_to("ftp://a")));
    auto const all = sentences(srv);
    REQUIRE(all.size() == 2);
    CHECK(all[0] == "at(\"/a\"): allow(): \"10\" is no address" + std::string(write_ranges));
    CHECK(all[1].starts_with("at(\"/b\"): \"ftp://a\" is not an upstream: "));
}

TEST_CASE("start errors: ranges of addresses") {
    struct row {
        std::string range, why;
    };
    for (auto const& [range, why] : std::vector<row>{
             {"10.0.0", "is no address"},
             {"example.org", "is no address"},
             {"10.0.0.0/33", "has no prefix length of 0 to 32"},
             {"10.0.0.0/", "has no prefix length of 0 to 32"},
             {"::1/129", "has no prefix length of 0 to 128"},
             {"10.0.0.1/8",
              "has bits behind its prefix: is the address or the length the mistake?"}}) {
        CAPTURE(range);
        auto const rest = ": \"" + range + "\" " + why + write_ranges;
        CHECK(of_stage(allow({range})) == "allow()" + rest);
        CHECK(of_stage(deny({range})) == "deny()" + rest);
        CHECK(of_stage(real_ip({.trusted = {range}})) == "real_ip()" + rest);
        CHECK(sentence("127.0.0.1:0", proxy_protocol({.trusted = {range}}) | http() |
                                          respond(204)) == "proxy_protocol()" + rest);
    }
}

TEST_CASE("start errors: options that are missing, or cannot go together") {
    CHECK(of_stage(allow({})) == "allow(): no addresses are given: write allow({\"10.0.0.0/8\"})");
    CHECK(of_stage(deny({})) == "deny(): no addresses are given: write deny({\"192.0.2.7\"})");
    CHECK(of_stage(real_ip({})) ==
          "real_ip(): nobody is trusted, so nothing would be taken: write .trusted = "
          "{\"10.0.0.0/8\"} with the addresses of the proxies in front");
    CHECK(
        of_stage(real_ip({.trusted = {"::1"}, .field = "a b"})) ==
        "real_ip(): \"a b\" is no name of a field: write X-Forwarded-For, Forwarded or X-Real-IP");
    CHECK(sentence("127.0.0.1:0", proxy_protocol({}) | http() | respond(204)) ==
          "proxy_protocol(): nobody is trusted to send a header: write .trusted = "
          "{\"10.0.0.0/8\"} with the addresses of the load balancers");
    CHECK(sentence("127.0.0.1:0", max_connections({.total = 0}) | http() | respond(204)) ==
          "max_connections(): no limit is given: write max_connections({.total = 10000, "
          ".per_address = 100})");
    CHECK(sentence("127.0.0.1:0", http({.head_timeout = 0s}) | respond(204)) ==
          "http(): .head_timeout has to be longer than 0: every wait needs an end");
    CHECK(sentence("127.0.0.1:0", http({.max_head_size = 10}) | respond(204)) ==
          "http({...}): max_head_size has to be 256 bytes at least, and max_fields, "
          "max_target_size and keep_alive_requests 1 at least");
    CHECK(of_stage(cors({})) ==
          "cors(): nobody is allowed: write .origins = {\"https://abc.com\"}");
    CHECK(of_stage(cors({.origins = {"*"}, .credentials = true})) ==
          "cors(): \"*\" cannot go together with .credentials: write the origins out");
    CHECK(of_stage(cors({.origins = {"https://abc.com/"}})) ==
          "cors(): \"https://abc.com/\" ends in a slash, which no origin does: write "
          "\"https://abc.com\"");
    CHECK(of_stage(websocket_origin({})) ==
          "websocket_origin(): nobody is allowed: write websocket_origin({\"https://abc.com\"})");
    CHECK(of_stage(basic_auth({})) ==
          "basic_auth(): nobody is known: write .users = {{\"alice\", \"secret\"}} or give it a "
          ".verify");
    CHECK(of_stage(bearer_auth({})) ==
          "bearer_auth(): no token is known: write .tokens = {\"...\"} or give it a .verify");
    CHECK(of_terminal(respond(99)) ==
          "respond(99): it is no final status: write one from 200 to 599");
    CHECK(of_terminal(respond(204, "text")) ==
          "respond(204): this status has no content: leave the body out or write 200");
    CHECK(of_terminal(redirect("new.example")) ==
          "redirect(\"new.example\"): write a path that begins with a slash, or a whole URL, "
          "\"https://new.example/\"");
    CHECK(of_terminal(redirect_to_https({.port = 0})) ==
          "redirect_to_https(): 0 is no port that clients can reach: write that of the TLS "
          "listener");
    auto options = quiet(1);
    options.drain_spread = 2s;
    options.drain_timeout = 1s;
    server hurried(options);
    hurried.listen("127.0.0.1:0", http() | respond(204));
    CHECK(sentences(hurried) ==
          std::vector<std::string>{
              "server({...}): drain_spread is longer than drain_timeout, so that tunnels would be "
              "cut before they are told to go: make it shorter"});
    server nowhere(quiet(1));
    CHECK(sentences(nowhere) ==
          std::vector<std::string>{"the server has nowhere to listen: call listen(\"0.0.0.0:443\", "
                                   "...) before the start"});
}

TEST_CASE("start errors: a log that cannot be opened") {
    folder f;
    auto const of_log = [](std::filesystem::path const& file) {
        return of_stage(access_log({.file = file.string()}));
    };
    auto const cannot = [](std::filesystem::path const& file) {
        return "access_log({.file = \"" + file.string() + "\"}) cannot be opened: ";
    };
    auto const name = "; name a file in a directory that this program may write to";
    CHECK(of_log(f.path / "no" / "log") ==
          cannot(f.path / "no" / "log") + "No such file or directory" + name);
    CHECK(of_log(f.path) == cannot(f.path) + "Is a directory" + name);
}

TEST_CASE("start errors: certificates and keys") {
    folder f;
    auto const one = made::sign({.common_name = "one"});
    auto const other = made::sign({.common_name = "other"});
    auto const file = [&](char const* name) { return (f.path / name).string(); };
    put(file("one.pem"), one.pem());
    put(file("one.key"), one.key_pem());
    put(file("other.key"), other.key_pem());
    put(file("locked.key"), one.key_pem("secret"));
    put(file("empty.pem"), "");
    put(file("text.pem"), "this is no certificate\n");
    put(file("half.pem"), one.pem().substr(0, 200));
    unsigned char* der = nullptr;
    int const size = i2d_X509(one.x509.get(), &der);
    REQUIRE(size > 0);
    put(file("der.pem"), std::string(reinterpret_cast<char*>(der), static_cast<std::size_t>(size)));
    OPENSSL_free(der);
    put(file("closed.pem"), one.pem());
    REQUIRE(::chmod(file("closed.pem").c_str(), 0) == 0);
    struct row {
        std::string certificate, key, about;
    };
    for (auto const& r : std::vector<row>{{"missing.pem", "one.key", "missing.pem"},
                                          {"one.pem", "missing.key", "missing.key"},
                                          {"", "one.key", ""},
                                          {"one.pem", "", "one.pem"},
                                          {"empty.pem", "one.key", "empty.pem"},
                                          {"text.pem", "one.key", "text.pem"},
                                          {"half.pem", "one.key", "half.pem"},
                                          {"der.pem", "one.key", "der.pem"},
                                          {"one.key", "one.pem", "one.key"},
                                          {"one.pem", "one.pem", "one.pem"},
                                          {"one.pem", "empty.pem", "empty.pem"},
                                          {"one.pem", "other.key", "other.key"},
                                          {"one.pem", "locked.key", "locked.key"},
                                          {".", "one.key", "directory"},
                                          {"closed.pem", "one.key", "closed.pem"}}) {
        CAPTURE(r.certificate, r.key);
        bool const as_root = r.certificate == "closed.pem" && ::geteuid() == 0;
        if (as_root)
            REQUIRE(::seteuid(65534) == 0);
        auto const got =
            of_certificate({.certificate = r.certificate.empty() ? "" : file(r.certificate.c_str()),
                            .key = r.key.empty() ? "" : file(r.key.c_str())});
        if (as_root)
            REQUIRE(::seteuid(0) == 0);
        CAPTURE(got);
        CHECK(got.find(r.about) != got.npos);
        CHECK(got.starts_with("tls"));
    }
}

// A sanitizer needs descriptors of its own.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(undefined_behavior_sanitizer)
#define SANITIZED
#endif
#endif
#if !defined(SANITIZED) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

TEST_CASE("start errors: a machine that gives no more descriptors") {
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    server srv({.workers = 1});
    srv.listen("127.0.0.1:0", http() | respond(204));
    rlimit const none{static_cast<rlim_t>(::dup(0)), before.rlim_max};
    ::close(static_cast<int>(none.rlim_cur));
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    auto const got = sentences(srv);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    REQUIRE(got.size() == 1);
    CHECK(got.front().find("Too many open files") != std::string::npos);
    CHECK(got.front().ends_with("raise the limit (ulimit -a) or start fewer workers"));
}

#endif
