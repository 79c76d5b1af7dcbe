#include "catch.hpp"

#include <relais/server/service_manager.hpp>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

using namespace relais;

TEST_CASE("service manager: is told where it says so, and only there") {
    ::unsetenv("NOTIFY_SOCKET");
    CHECK_FALSE(notify_service_manager("READY=1"));
    for (auto wrong : {"", "@", "/", "relative", "/tmp/no/such/socket"}) {
        ::setenv("NOTIFY_SOCKET", wrong, 1);
        CHECK_FALSE(notify_service_manager("READY=1"));
    }
    ::setenv("NOTIFY_SOCKET", std::string(200, '/').c_str(), 1);
    CHECK_FALSE(notify_service_manager("READY=1"));

    std::string const name = "@relais-test-" + std::to_string(::getpid());
    int const manager = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::memcpy(at.sun_path + 1, name.data() + 1, name.size() - 1);
    REQUIRE(::bind(manager, reinterpret_cast<sockaddr*>(&at),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())) == 0);
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
    CHECK(notify_service_manager("READY=1\nSTATUS=here"));
    char told[100];
    auto const size = ::recv(manager, told, sizeof told, 0);
    REQUIRE(size > 0);
    CHECK(std::string(told, static_cast<std::size_t>(size)) == "READY=1\nSTATUS=here");
    {
        reload_notice loading;
        auto const length = ::recv(manager, told, sizeof told, 0);
        REQUIRE(length > 0);
        std::string const begun(told, static_cast<std::size_t>(length));
        REQUIRE(begun.starts_with("RELOADING=1\nMONOTONIC_USEC="));
        auto const when = std::chrono::microseconds(std::stoll(begun.substr(begun.rfind('=') + 1)));
        auto const now = std::chrono::steady_clock::now().time_since_epoch(); // the same clock
        CHECK(when <= now);
        CHECK(when > now - std::chrono::minutes(1));
        CHECK(::recv(manager, told, sizeof told, 0) < 0);
    }
    REQUIRE(::recv(manager, told, sizeof told, 0) == 7);
    CHECK(std::string(told, 7) == "READY=1");
    ::close(manager);
    CHECK_FALSE(notify_service_manager("STOPPING=1"));
    ::unsetenv("NOTIFY_SOCKET");
}

TEST_CASE("service manager: how often it wants to hear of this process") {
    auto limit = [](char const* microseconds, std::string const& pid) {
        ::setenv("WATCHDOG_USEC", microseconds, 1);
        ::setenv("WATCHDOG_PID", pid.c_str(), 1);
        auto const read = watchdog_limit();
        ::unsetenv("WATCHDOG_USEC");
        ::unsetenv("WATCHDOG_PID");
        return read;
    };
    using std::chrono::microseconds;
    CHECK(watchdog_limit() == microseconds(0));
    CHECK(limit("1500000", std::to_string(::getpid())) == microseconds(1500000));
    CHECK(limit("1500000", "") == microseconds(1500000)); // whom it concerns need not be said
    CHECK(limit("1500000", std::to_string(::getppid())) == microseconds(0));
    CHECK(limit("-1", "") == microseconds(0));
    CHECK(limit("soon", "") == microseconds(0));
}
