#include "catch.hpp"

#include <relais/server/service_manager.hpp>

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
    ::close(manager);
    CHECK_FALSE(notify_service_manager("STOPPING=1"));
    ::unsetenv("NOTIFY_SOCKET");
}
