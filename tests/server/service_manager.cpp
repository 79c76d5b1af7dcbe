#include "catch.hpp"
#include "loopback.hpp"
#include "proxied.hpp"
#include "server/threads.hpp"

#include <relais/server/server.hpp>
#include <relais/server/service_manager.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;

namespace {

// The socket of a manager at an abstract name that the environment tells.
class manager {
public:
    manager() : socket_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
        std::string const name = "@relais-test-" + std::to_string(::getpid());
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        std::memcpy(at.sun_path + 1, name.data() + 1, name.size() - 1);
        REQUIRE(::bind(socket_, reinterpret_cast<sockaddr*>(&at),
                       static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())) == 0);
        ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
    }
    manager(manager const&) = delete;
    manager& operator=(manager const&) = delete;
    ~manager() {
        ::close(socket_);
        ::unsetenv("NOTIFY_SOCKET");
        ::unsetenv("WATCHDOG_USEC");
    }

    // What comes next within a time, or nothing.
    std::string hears(std::chrono::milliseconds within = 10s) const {
        pollfd waiting{socket_, POLLIN, 0};
        char told[100];
        if (::poll(&waiting, 1, static_cast<int>(within.count())) != 1)
            return {};
        return {told, static_cast<std::size_t>(::recv(socket_, told, sizeof told, 0))};
    }

private:
    int socket_;
};

} // namespace

TEST_CASE("service manager: is told where it says so, and only there") {
    ::unsetenv("NOTIFY_SOCKET");
    CHECK_FALSE(notify_service_manager("READY=1"));
    for (auto wrong : {"", "@", "/", "relative", "/tmp/no/such/socket"}) {
        ::setenv("NOTIFY_SOCKET", wrong, 1);
        CHECK_FALSE(notify_service_manager("READY=1"));
    }
    ::setenv("NOTIFY_SOCKET", std::string(200, '/').c_str(), 1);
    CHECK_FALSE(notify_service_manager("READY=1"));
}

TEST_CASE("service manager: hears what is said, and that something is loaded again") {
    manager at;
    CHECK(notify_service_manager("READY=1\nSTATUS=here"));
    CHECK(at.hears() == "READY=1\nSTATUS=here");
    {
        reload_notice loading;
        auto const begun = at.hears();
        REQUIRE(begun.starts_with("RELOADING=1\nMONOTONIC_USEC="));
        std::chrono::microseconds const when(std::stoll(begun.substr(begun.rfind('=') + 1)));
        auto const now = std::chrono::steady_clock::now().time_since_epoch(); // the same clock
        CHECK(when <= now);
        CHECK(when > now - 1min);
        CHECK(at.hears(0ms).empty());
    }
    CHECK(at.hears() == "READY=1");
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

TEST_CASE("service manager: hears nothing more when a worker is stuck") {
    constexpr auto limit = 40ms;
    manager at;
    ::setenv("WATCHDOG_USEC", "40000", 1);
    std::atomic<bool> entered{false}, go{false};
    auto const block = [&](exchange& x) -> awaitable<> {
        entered = true;
        go.wait(false);
        x.respond(204);
        co_return;
    };
    server srv(quiet());
    srv.listen("127.0.0.1:0", http() | block);
    running run(srv);
    CHECK(at.hears() == "READY=1");
    CHECK(at.hears() == "WATCHDOG=1");
    CHECK(at.hears() == "WATCHDOG=1");
    loopback_client client(srv.endpoints()[0]);
    client.send(get);
    REQUIRE(eventually([&] { return entered.load(); }));
    int more = 0; // told before, or while the answers to the last question came
    while (more < 10 && !at.hears(3 * limit).empty())
        ++more;
    CHECK(more < 10);
    go = true;
    go.notify_all();
    CHECK(at.hears() == "WATCHDOG=1");
}
