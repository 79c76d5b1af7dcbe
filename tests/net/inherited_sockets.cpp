#include "catch.hpp"

#include <relais/core/error.hpp>
#include <relais/net/inherited_sockets.hpp>
#include <relais/net/listener.hpp>

#include <array>
#include <cstdlib>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

using namespace relais;
using Catch::Matchers::Contains;

namespace {

// Descriptors in a row, as a manager passes them: two sockets that listen, with something else between them.
struct passed {
    passed() {
        int const listening = make(true), datagram = ::socket(AF_INET, SOCK_DGRAM, 0);
        int const other = make(true), idle = make(false);
        int next = first;
        for (int descriptor : {listening, datagram, idle, other}) {
            REQUIRE(::dup2(descriptor, next++) >= 0);
            ::close(descriptor);
        }
    }
    ~passed() {
        for (int descriptor = first; descriptor < first + count; ++descriptor)
            ::close(descriptor);
    }

    static int make(bool listens) {
        int const descriptor = ::socket(AF_INET, SOCK_STREAM, 0);
        auto const any = socket_address(boost::asio::ip::make_address("127.0.0.1"), 0);
        REQUIRE(::bind(descriptor, any.data(), any.size()) == 0);
        if (listens)
            REQUIRE(::listen(descriptor, 1) == 0);
        return descriptor;
    }

    inherited_sockets read(char const* names, std::string pid = std::to_string(::getpid()),
                           char const* said = "4") const {
        return inherited_sockets(pid.c_str(), said, names, first);
    }

    static constexpr int first = 700, count = 4;
};

} // namespace

TEST_CASE("inherited sockets: those that listen are found, by address and by name") {
    passed p;
    auto const sockets = p.read("web:log:x:admin");
    REQUIRE(sockets.all().size() == 2);
    auto const& web = sockets.named("web");
    auto const& admin = sockets.named("admin");
    CHECK(web.descriptor == p.first);
    CHECK(admin.descriptor == p.first + 3);
    CHECK(web.address.port() != 0);
    CHECK(sockets.find(web.address) == &web);
    CHECK(sockets.find(admin.address) == &admin);
    CHECK(sockets.find(socket_address(web.address.ip(), 1)) == nullptr);
    CHECK(sockets.find(socket_address()) == nullptr);
    CHECK((::fcntl(web.descriptor, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(web.descriptor, F_GETFL) & O_NONBLOCK) != 0);
    int at_once = 0;
    socklen_t size = sizeof at_once;
    REQUIRE(::getsockopt(web.descriptor, IPPROTO_TCP, TCP_NODELAY, &at_once, &size) == 0);
    CHECK(at_once != 0);
}

TEST_CASE("inherited sockets: one for every address is found by either of its names") {
    namespace ip = boost::asio::ip;
    bool const only_6 = GENERATE(false, true);
    int const descriptor = ::socket(AF_INET6, SOCK_STREAM, 0);
    if (descriptor < 0)
        return; // a machine without IPv6
    int const option = only_6;
    REQUIRE(::setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &option, sizeof option) == 0);
    socket_address const any(ip::address_v6::any(), 0);
    REQUIRE(::bind(descriptor, any.data(), any.size()) == 0);
    REQUIRE(::listen(descriptor, 1) == 0);
    REQUIRE(::dup2(descriptor, passed::first) >= 0);
    ::close(descriptor);
    inherited_sockets const sockets(std::to_string(::getpid()).c_str(), "1", "web", passed::first);
    auto const& web = sockets.named("web");
    auto const port = web.address.port();
    CHECK(sockets.find(web.address) == &web);
    CHECK(sockets.find(socket_address(ip::address_v4::any(), port)) == (only_6 ? nullptr : &web));
    CHECK(sockets.find(socket_address(ip::make_address("127.0.0.1"), port)) == nullptr);
    CHECK(sockets.find(socket_address(ip::address_v4::any(),
                                      static_cast<std::uint16_t>(port - 1))) == nullptr);
    ::close(passed::first);
}

TEST_CASE("inherited sockets: what is not for this process, or no number, is nothing") {
    passed p;
    CHECK(p.read("web", std::to_string(::getppid())).all().empty());
    CHECK(p.read("web", "").all().empty());
    CHECK(p.read("web", std::to_string(::getpid()), "").all().empty());
    CHECK(p.read("web", std::to_string(::getpid()), "-3").all().empty());
    CHECK(p.read("web", std::to_string(::getpid()), "0").all().empty());
    CHECK(inherited_sockets(nullptr, nullptr, nullptr).all().empty());
    CHECK(p.read(nullptr).all().size() == 2); // names are optional
    CHECK(p.read("web").all().size() == 2);
}

TEST_CASE("inherited sockets: taken over once, children hear nothing of them") {
    constexpr std::array variables{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"};
    if (std::getenv("LISTEN_FDS")) { // this is the process that the test below has started
        auto const& sockets = inherited_sockets::current();
        CHECK(sockets.named("web").descriptor == 3);
        for (auto const* name : variables)
            CHECK(std::getenv(name) == nullptr);
        CHECK(&inherited_sockets::current() == &sockets);
        CHECK(sockets.all().size() == 1);
        return;
    }
    int const listening = passed::make(true);
    auto const child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::dup2(listening, 3);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        ::setenv("LISTEN_FDS", "1", 1);
        ::setenv("LISTEN_FDNAMES", "web", 1);
        ::execl("/proc/self/exe", "again", "inherited sockets: taken over once*", nullptr);
        ::_exit(127);
    }
    ::close(listening);
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}

TEST_CASE("inherited sockets: a name that is not there, or there twice, is one sentence") {
    passed p;
    auto const sockets = p.read("web:::web");
    CHECK_THROWS_WITH(sockets.named("web"), Contains("more than one socket of that name"));
    auto const where = sockets.all()[0].address.to_string();
    CHECK_THROWS_WITH(
        sockets.named("other"),
        Contains("cannot listen on systemd:other: no such socket was passed, only web (" + where +
                 "), web ("));
    CHECK_THROWS_WITH(inherited_sockets(nullptr, nullptr, nullptr).named("web"),
                      Contains("nor any other; start the program through its socket unit"));
}
