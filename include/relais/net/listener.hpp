#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/net/connection.hpp>
#include <relais/net/endpoint.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace relais {

/// A socket that listens; closed with its owner, a Unix path removed by whom made it.
class listening_socket {
public:
    listening_socket() noexcept = default;
    listening_socket(listening_socket&& other) noexcept;
    listening_socket& operator=(listening_socket&& other) noexcept;
    ~listening_socket() { close(); }

    int descriptor() const noexcept { return descriptor_; }
    socket_address const& address() const noexcept { return address_; }
    void close() noexcept;

    /// Opens one socket per worker for an endpoint: with SO_REUSEPORT each its own; for a Unix path, and for what the
    /// service manager has opened already (`inherited_sockets`), the same one.
    ///
    /// A port that somebody listens on is found although SO_REUSEPORT is on. The path of a Unix socket whose server is
    /// gone is taken over, that of a live one is not.
    /// \throws startup_error that says what is in the way and what to do.
    static std::vector<listening_socket> open(endpoint const& where, std::size_t workers);

private:
    listening_socket(int descriptor, socket_address address) noexcept
        : descriptor_(descriptor), address_(address) {}

    static listening_socket bind_one(socket_address const& to, endpoint const& where,
                                     bool reuse_port);
    static listening_socket bind_unix(socket_address const& to, endpoint const& where);
    static listening_socket share(int descriptor, socket_address const& address,
                                  endpoint const& where);

    int descriptor_ = -1;
    socket_address address_;
    bool owns_path_ = false;
};

/// Accepts connections on one worker and runs the chain for each.
class listener {
public:
    listener(listening_socket socket, any_chain<connection> chain);
    listener(listener const&) = delete;
    listener& operator=(listener const&) = delete;
    ~listener();

    /// Accepts until `stop()`. Runs out of descriptors: backs off for 50 to 500 ms and goes on.
    awaitable<> run();

    /// Accepts what waits in the queue, for it would be reset, and nothing more; from the worker's thread.
    void stop();

    socket_address const& address() const noexcept { return socket_.address(); }

private:
    enum class accepted : std::uint8_t { connection, nothing, exhausted };
    accepted accept_one();
    void serve(int descriptor, socket_address const& peer);

    listening_socket socket_;
    any_chain<connection> chain_;
    gate* gate_ = nullptr;
    std::chrono::milliseconds back_off_{50};
    bool stopped_ = false;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/listener.ipp>
#endif
