#include "catch.hpp"

#include <relais/core/error.hpp>
#include <relais/net/endpoint.hpp>

#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/un.h>

using namespace relais;
using Catch::Matchers::Contains;
namespace ip = boost::asio::ip;

TEST_CASE("endpoint: is read as one writes it, and written the same way") {
    struct row {
        std::string_view text, host, port, path;
    };
    auto r = GENERATE(values<row>({
        {"0.0.0.0:443", "0.0.0.0", "443", ""},
        {"[::]:443", "::", "443", ""},
        {"[fe80::1%lo]:80", "fe80::1%lo", "80", ""},
        {"localhost:8080", "localhost", "8080", ""},
        {"a.example:0", "a.example", "0", ""},
        {"a.example:65535", "a.example", "65535", ""},
        {"unix:/run/app.sock", "", "", "/run/app.sock"},
        {"unix:relative:80", "", "", "relative:80"},
    }));
    CAPTURE(r.text);
    auto e = endpoint::parse(r.text);
    CHECK(e.host == r.host);
    CHECK(e.port == r.port);
    CHECK(e.path == r.path);
    CHECK(e.is_unix() == !r.path.empty());
    CHECK(e.to_string() == r.text);
}

TEST_CASE("endpoint: a socket that the service manager passes is one to listen on, and no other") {
    auto e = endpoint::parse("systemd:web");
    CHECK(e.is_inherited());
    CHECK(e.inherited == "web");
    CHECK_FALSE(e.is_unix());
    CHECK(e.to_string() == "systemd:web");
    CHECK_THROWS_WITH(resolve(e), Contains("systemd:web is a place to listen"));
    CHECK_THROWS_WITH(endpoint::parse("systemd:"), Contains("the name of the socket is missing"));
    CHECK_FALSE(endpoint::parse("localhost:80").is_inherited());
}

TEST_CASE("endpoint: what is wrong is said, with the text and a way to write it") {
    struct row {
        std::string_view text;
        char const* sentence;
    };
    auto r = GENERATE(values<row>({
        {"", "the port is missing"},
        {"localhost", "the port is missing"},
        {"[::1]", "the port is missing"},
        {"[", "the port is missing"},
        {"[:", "the port is missing"},
        {"[]:80", "the bracket"},
        {":80", "the host is missing"},
        {":", "the host is missing"},
        {"::1:80", "an IPv6 address needs brackets"},
        {"::", "an IPv6 address needs brackets"},
        {"a:", "the port has to be a number up to 65535"},
        {"a:http", "the port has to be a number up to 65535"},
        {"a:65536", "the port has to be a number up to 65535"},
        {"a:99999999999999999999", "the port has to be a number up to 65535"},
        {"a:-1", "the port has to be a number up to 65535"},
        {"a:+1", "the port has to be a number up to 65535"},
        {"a:80 ", "the port has to be a number up to 65535"},
        {"a: 80", "the port has to be a number up to 65535"},
        {"unix:", "the path is missing"},
    }));
    CAPTURE(r.text);
    std::string said;
    try {
        (void)endpoint::parse(r.text);
    } catch (startup_error const& e) {
        said = e.what();
    }
    CHECK_THAT(said, Contains(r.sentence));
    CHECK_THAT(said, Contains('"' + std::string(r.text) + '"'));
    CHECK_THAT(said, Contains("write 0.0.0.0:443"));
}

TEST_CASE("address: of IPv4 and IPv6") {
    struct row {
        char const *ip, *text;
        int family;
    };
    auto r = GENERATE(values<row>({
        {"10.0.0.1", "10.0.0.1:80", AF_INET},
        {"::1", "[::1]:80", AF_INET6},
        {"2001:db8::1", "[2001:db8::1]:80", AF_INET6},
        {"::ffff:10.0.0.1", "10.0.0.1:80", AF_INET6}, // mapped: comes out as IPv4
    }));
    socket_address a(ip::make_address(r.ip), 80);
    CHECK(a.family() == r.family);
    CHECK(a.size() == (r.family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)));
    CHECK(a.port() == 80);
    CHECK(a.to_string() == r.text);
    CHECK(a.ip().is_v4() == (std::string_view(r.text).front() != '['));
    CHECK_FALSE(a.is_unix());
    CHECK(a.path().empty());
    CHECK(a == socket_address::from_kernel(a.data(), a.size()));
    CHECK_FALSE(a == socket_address(ip::make_address(r.ip), 81));
    CHECK_FALSE(a == socket_address(ip::make_address("192.0.2.1"), 80));
    CHECK_FALSE(a == socket_address());
}

TEST_CASE("address: of a Unix socket") {
    auto a = socket_address::unix_path("/run/app.sock");
    CHECK(a.is_unix());
    CHECK(a.path() == "/run/app.sock");
    CHECK(a.port() == 0);
    CHECK(a.ip().is_unspecified());
    CHECK(a.to_string() == "unix:/run/app.sock");
    CHECK(a == socket_address::from_kernel(a.data(), a.size()));
    CHECK_FALSE(a == socket_address::unix_path("/run/app.sock2"));
}

TEST_CASE("address: a peer of a Unix socket has no path") {
    sockaddr_un none{};
    none.sun_family = AF_UNIX;
    auto a = socket_address::from_kernel(reinterpret_cast<sockaddr*>(&none), sizeof(sa_family_t));
    CHECK(a.is_unix());
    CHECK(a.path().empty());
    CHECK(a.to_string() == "unix:");
}

TEST_CASE("address: a Unix path has to fit") {
    std::size_t most = sizeof(sockaddr_un::sun_path) - 1;
    CHECK(socket_address::unix_path(std::string(most, 'p')).path().size() == most);
    CHECK_THROWS_AS(socket_address::unix_path(""), startup_error);
    CHECK_THROWS_WITH(socket_address::unix_path(std::string(most + 1, 'p')),
                      Contains("1 to " + std::to_string(most) + " bytes") &&
                          Contains("shorter path"));
}

TEST_CASE("resolve: addresses of numbers and paths, and a sentence for a name that is not known") {
    auto v4 = resolve(endpoint::parse("127.0.0.1:81"));
    REQUIRE(v4.size() == 1);
    CHECK(v4[0] == socket_address(ip::make_address("127.0.0.1"), 81));
    auto v6 = resolve(endpoint::parse("[::1]:82"));
    REQUIRE(v6.size() == 1);
    CHECK(v6[0] == socket_address(ip::make_address("::1"), 82));
    auto path = resolve(endpoint::parse("unix:/a"));
    REQUIRE(path.size() == 1);
    CHECK(path[0].path() == "/a");
    // A label of more than 63 bytes is in no name, so nobody is asked.
    CHECK_THROWS_WITH(resolve({std::string(70, 'a'), "80", ""}),
                      Contains("is not known") && Contains("check the name"));
}
