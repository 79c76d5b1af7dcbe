#include "catch.hpp"

#include <relais/core/error.hpp>
#include <relais/net/listener.hpp>
#include <relais/net/relay.hpp>
#include <relais/server/server.hpp>

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <future>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

// A blocking socket: what it waits for is sure to come.
class peer {
public:
    explicit peer(int descriptor) : descriptor_(descriptor) { REQUIRE(descriptor >= 0); }
    peer(peer&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    ~peer() { close(); }

    static peer to(socket_address const& at) {
        int s = ::socket(at.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
        peer made(s);
        REQUIRE(::connect(s, at.data(), at.size()) == 0);
        return made;
    }
    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            auto count = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (count <= 0)
                throw std::runtime_error("a peer cannot send");
            bytes.remove_prefix(static_cast<std::size_t>(count));
        }
    }
    std::string receive(std::size_t size) {
        std::string bytes(size, '\0');
        auto count = ::recv(descriptor_, bytes.data(), size, MSG_WAITALL);
        bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
        return bytes;
    }
    std::string receive_all() {
        std::string all;
        for (std::string piece = receive(64 * 1024); !piece.empty(); piece = receive(64 * 1024))
            all += piece;
        return all;
    }
    // 0 at the end, an errno value when the connection broke.
    int end() {
        char one;
        auto count = ::recv(descriptor_, &one, 1, 0);
        REQUIRE(count <= 0);
        return count < 0 ? errno : 0;
    }
    void shutdown() { ::shutdown(descriptor_, SHUT_WR); }
    void reset() {
        linger none{1, 0};
        ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        close();
    }
    void close() {
        if (descriptor_ >= 0)
            ::close(std::exchange(descriptor_, -1));
    }

private:
    int descriptor_;
};

// An upstream that accepts when it is told to.
struct origin {
    explicit origin(std::string const& where = "127.0.0.1:0") {
        listening = std::move(listening_socket::open(endpoint::parse(where), 1)[0]);
        int flags = ::fcntl(listening.descriptor(), F_GETFL);
        ::fcntl(listening.descriptor(), F_SETFL, flags & ~O_NONBLOCK);
    }
    peer accept() {
        return peer(::accept4(listening.descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
    }
    std::string name() const { return listening.address().to_string(); }
    listening_socket listening;
};

struct proxy {
    explicit proxy(std::string const& upstream, relay_options options = {})
        : srv({.workers = 2,
               .handle_signals = false,
               .stop_timeout = 100ms,
               .waiter = GENERATE(waiter_kind::native, waiter_kind::portable)}) {
        srv.listen("127.0.0.1:0", relay(upstream, options));
        srv.start();
        REQUIRE(srv.endpoints().size() == 1);
        at = srv.endpoints()[0];
        REQUIRE(at.port() != 0);
    }
    ~proxy() { srv.stop(); }
    server srv;
    socket_address at;
};

} // namespace

TEST_CASE("relay: bytes go both ways, and each end is passed on by itself") {
    origin o;
    proxy p(o.name());
    bool client_first = GENERATE(true, false);
    auto client = peer::to(p.at);
    auto upstream = o.accept();
    CHECK(p.srv.connections() == 1);
    client.send("ping");
    CHECK(upstream.receive(4) == "ping");
    upstream.send("pong!");
    CHECK(client.receive(5) == "pong!");
    auto& first = client_first ? client : upstream;
    auto& second = client_first ? upstream : client;
    first.shutdown();
    CHECK(second.end() == 0);
    second.send("afterwards");
    CHECK(first.receive(10) == "afterwards");
    second.shutdown();
    CHECK(first.end() == 0);
}

TEST_CASE("relay: the upstream is told who connects") {
    origin o;
    proxy p(o.name(), {.proxy_protocol = proxy_version::v2});
    auto client = peer::to(p.at);
    auto upstream = o.accept();
    client.send("ping");
    auto const bytes = upstream.receive(28);
    proxy_header header;
    auto const read = parse_proxy_header(std::as_bytes(std::span(bytes)), 4096, header);
    CHECK(read.size == 28);
    REQUIRE(header.source);
    CHECK(header.source->ip().is_loopback());
    CHECK(header.source->port() != 0);
    CHECK(*header.destination == p.at);
    CHECK(upstream.receive(4) == "ping");
    upstream.send("pong!");
    CHECK(client.receive(5) == "pong!");
}

TEST_CASE("relay: large transfers both ways at once arrive whole") {
    origin o;
    proxy p(o.name());
    auto client = peer::to(p.at);
    auto upstream = o.accept();
    std::string up(6 * 1024 * 1024 + 17, '\0'), down(5 * 1024 * 1024 + 3, '\0');
    for (std::size_t i = 0; i < up.size(); ++i)
        up[i] = static_cast<char>(i * 31 >> 3);
    for (std::size_t i = 0; i < down.size(); ++i)
        down[i] = static_cast<char>(i * 57 >> 5);
    auto sends = [](peer& from, std::string const& bytes) {
        return std::async(std::launch::async, [&] {
            from.send(bytes);
            from.shutdown();
        });
    };
    auto sending_up = sends(client, up);
    auto sending_down = sends(upstream, down);
    auto receiving = std::async(std::launch::async, [&] { return client.receive_all(); });
    auto arrived = upstream.receive_all();
    CHECK((arrived == up)); // not printed
    CHECK((receiving.get() == down));
    sending_up.get();
    sending_down.get();
}

TEST_CASE("relay: a reset of one side becomes a reset of the other") {
    origin o;
    proxy p(o.name());
    auto client = peer::to(p.at);
    auto upstream = o.accept();
    client.send("a");
    CHECK(upstream.receive(1) == "a");
    bool of_client = GENERATE(true, false);
    (of_client ? client : upstream).reset();
    CHECK((of_client ? upstream : client).end() == ECONNRESET);
}

TEST_CASE("relay: an upstream that refuses costs the client its connection, and only that one") {
    auto gone = origin().name();
    proxy p(gone);
    for (int i = 0; i < 3; ++i) {
        auto client = peer::to(p.at);
        CHECK(client.end() == ECONNRESET);
    }
    origin back(gone);
    auto client = peer::to(p.at);
    auto upstream = back.accept();
    client.send("a");
    CHECK(upstream.receive(1) == "a");
}

TEST_CASE("relay: to a Unix socket") {
    char folder[] = "/tmp/relais-relay-XXXXXX";
    REQUIRE(::mkdtemp(folder));
    {
        origin o("unix:" + std::string(folder) + "/s");
        proxy p(o.name());
        auto client = peer::to(p.at);
        auto upstream = o.accept();
        upstream.send("hello");
        upstream.close();
        CHECK(client.receive_all() == "hello");
    }
    std::filesystem::remove_all(folder);
}

TEST_CASE("relay: stopping ends what goes on and gives the port back") {
    origin o;
    proxy p(o.name());
    auto client = peer::to(p.at);
    auto upstream = o.accept();
    client.send("a");
    CHECK(upstream.receive(1) == "a");
    p.srv.stop();
    CHECK(p.srv.connections() == 0);
    CHECK(client.receive_all().empty());
    CHECK(upstream.receive_all().empty());
    origin again(p.at.to_string());
}

TEST_CASE("relay: what is wrong is said at the start, and nothing is thrown before") {
    auto said = [](relay_stage const& stage) -> std::string {
        server srv({.workers = 1, .handle_signals = false});
        srv.listen("127.0.0.1:0", stage);
        try {
            srv.start();
        } catch (startup_error const& e) {
            return e.what();
        }
        return "started";
    };
    CHECK_THAT(said(relay("nowhere")),
               Contains("\"nowhere\" is not an address: the port is missing"));
    CHECK_THAT(said(relay("127.0.0.1:1", {.connect_timeout = 0ms})),
               Contains("relay(\"127.0.0.1:1\"): .connect_timeout has to"));
    CHECK_THAT(said(relay("127.0.0.1:1", {.tunnel_timeout = -1ms})), Contains(".tunnel_timeout"));
    CHECK_THAT(said(relay("127.0.0.1:1", {.linger = 0ms})),
               Contains(".linger has to be longer than 0"));
}
