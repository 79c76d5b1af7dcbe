#pragma once

#include <relais/config.hpp>
#include <relais/net/endpoint.hpp>
#include <relais/net/stream.hpp>

#include <memory>

namespace relais {

/// A connected or connecting TCP or Unix socket of the current worker.
class socket final : public stream {
public:
    ~socket() override;

    /// Takes a non-blocking descriptor over. \return null, with errno set, when it cannot be watched; it is
    /// closed then.
    /// \param connected whether it may be written to right away.
    static std::unique_ptr<socket> adopt(int descriptor, bool connected);

    /// Begins to connect. Once it is writable, `connect_error()` tells how it went.
    /// \param from the address of this machine to connect from, of the same family; null: the system's choice.
    /// \return null, with errno set, when that failed at once.
    static std::unique_ptr<socket> start_connect(socket_address const& to,
                                                 socket_address const* from = nullptr);

    /// The outcome of connecting, an errno value; 0 when connected.
    int connect_error() noexcept;

    io_result try_read(std::span<std::byte> to) override;
    io_result try_write(std::span<boost::asio::const_buffer const> from) override;
    using stream::try_write;
    void shutdown_send() override;
    void close() noexcept override;
    void abort() noexcept override;
    socket* plain() noexcept override { return this; }

    int descriptor() const noexcept { return descriptor_; }

    /// The errno value of the last try that failed.
    int last_error() const noexcept { return last_error_; }

    /// The addresses of both ends.
    socket_address peer() const;
    socket_address local() const;

    /// After 60 s, each 10 s, 6 times; nothing on a Unix socket.
    void set_keepalive() noexcept override;

private:
    socket(int descriptor, detail::readiness_gate* g) noexcept
        : stream(g), descriptor_(descriptor) {}

    int descriptor_;
    int last_error_ = 0;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/socket.ipp>
#endif
