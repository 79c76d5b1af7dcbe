#pragma once

#include <relais/config.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace relais::testing {

/// What lies between a scripted server and who connects to it.
enum class transport : std::uint8_t {
    local, ///< a Unix socket: what was sent has arrived when the call returns
    tcp,   ///< loopback: where a test needs a reset, or a port
};

/// A server whose part a test plays itself, step by step, on the thread on which it runs what it tests.
///
///     scripted_server upstream;
///     session client(http() | proxy_to(upstream.url()));
///     client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
///     auto peer = upstream.accept();
///     REQUIRE(peer);
///     CHECK(peer->take().starts_with("GET / HTTP/1.1\r\n"));
///     peer->send("HTTP/1.1 204 No Content\r\n\r\n");
///     client.run();
///     CHECK(client.received().starts_with("HTTP/1.1 204"));
class scripted_server {
public:
    class peer;

    /// Listens. \throws std::system_error
    explicit scripted_server(transport over = transport::local);
    scripted_server(scripted_server const&) = delete;
    scripted_server& operator=(scripted_server const&) = delete;
    ~scripted_server();

    /// For `proxy_to`: `unix:/path` or `http://127.0.0.1:port`.
    std::string url() const;

    /// For `relay`: `unix:/path` or `127.0.0.1:port`.
    std::string const& where() const noexcept { return where_; }

    /// The next connection; null when there is none.
    std::unique_ptr<peer> accept();

    /// From now on nobody can connect.
    void stop_listening() noexcept;

private:
    transport over_;
    int descriptor_ = -1;
    std::string where_;
    std::string path_;
};

/// One connection to a scripted server. Nothing here waits longer than it takes the kernel to carry bytes over loopback.
class scripted_server::peer {
public:
    peer(peer const&) = delete;
    peer& operator=(peer const&) = delete;
    ~peer();

    /// Reads what has come. \return all since the last `take`.
    std::string const& received();
    std::string take();

    /// Sends as much as the kernel takes. \return how many bytes.
    std::size_t send(std::string_view bytes);

    /// Ends this side; the other one goes on.
    void shutdown_send() noexcept;

    /// Ends the connection; `reset` without a clean end, where it is TCP.
    void close() noexcept;
    void reset() noexcept;

    /// What the other side has done, as far as it was read.
    bool saw_end();
    bool saw_reset();

private:
    friend class scripted_server;
    explicit peer(int descriptor) noexcept : descriptor_(descriptor) {}
    void read();

    int descriptor_;
    std::string received_;
    bool saw_end_ = false;
    bool saw_reset_ = false;
};

} // namespace relais::testing

#if defined(RELAIS_HEADER_ONLY)
#include <relais/testing/impl/scripted_server.ipp>
#endif
