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
#include <sys/types.h>
#include <vector>

namespace relais {

/// Whether to listen where another process does.
enum class listen_beside : std::uint8_t {
    nobody,     ///< that is an error: mostly somebody forgot a process
    predecessor ///< a process of the same user that drains soon: ports are shared, the path of a Unix socket is taken over
};

/// A socket that listens; closed with its owner, a Unix path removed by whom made it unless a successor has it.
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
    /// gone is taken over, that of a live one is not. Both are different beside a predecessor.
    /// \throws startup_error that says what is in the way and what to do.
    static std::vector<listening_socket> open(endpoint const& where, std::size_t workers,
                                              listen_beside whom = listen_beside::nobody);

    /// Has new connections go elsewhere, while those that have begun still come: they find another socket of the port when
    /// their first packet is sent again, a second later. For what shares its port and is closed soon.
    /// \return false where that makes no sense, or the system cannot.
    bool turn_away() noexcept;

private:
    listening_socket(int descriptor, socket_address address) noexcept
        : descriptor_(descriptor), address_(address) {}

    static listening_socket bind_one(socket_address const& to, endpoint const& where,
                                     bool reuse_port);
    static listening_socket bind_unix(socket_address const& to, endpoint const& where,
                                      listen_beside whom);
    static listening_socket share(int descriptor, socket_address const& address,
                                  endpoint const& where);

    int descriptor_ = -1;
    socket_address address_;
    ino_t path_ = 0; ///< the file that it made at the path of a Unix socket; 0: none
    bool shares_port_ = false;
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

    /// Comes some time before `stop()`: see `listening_socket::turn_away`.
    bool turn_away() noexcept { return socket_.turn_away(); }

    /// Accepts what waits in the queue, for it would be reset, and nothing more; from the worker's thread.
    void stop();

    socket_address const& address() const noexcept { return socket_.address(); }

private:
    enum class accepted : std::uint8_t { connection, nothing, exhausted };
    accepted accept_one();
    void serve(int descriptor, socket_address const& peer);

    listening_socket socket_;
    any_chain<connection> chain_;
    detail::readiness_gate* gate_ = nullptr;
    std::chrono::milliseconds back_off_{50};
    bool stopped_ = false;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/listener.ipp>
#endif
