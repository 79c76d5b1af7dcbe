#pragma once

#include <relais/config.hpp>
#include <relais/net/stream.hpp>

#include <cstddef>
#include <limits>
#include <memory>
#include <utility>

namespace relais::testing {

/// How a memory stream behaves towards who uses it.
struct memory_options {
    std::size_t read_at_most =
        std::numeric_limits<std::size_t>::max(); ///< bytes that one read brings
    std::size_t write_at_most =
        std::numeric_limits<std::size_t>::max(); ///< bytes that one write takes
    std::size_t capacity =
        64 * 1024; ///< bytes on their way to the other end before a write would block
};

/// One end of a connection within the process: what is written to one end is read from the other.
///
/// It keeps the contract of a socket: the flags of its gate tell what a try may bring, and who waits is woken from
/// the event loop, never on the stack of the other end. A test that only tries needs no worker.
class memory_stream final : public stream {
public:
    using ends = std::pair<std::unique_ptr<memory_stream>, std::unique_ptr<memory_stream>>;

    /// Two connected ends. An end at which a coroutine waits has to go before its worker does.
    static ends make(memory_options first = {}, memory_options second = {});

    ~memory_stream() override;

    io_result try_read(std::span<std::byte> to) override;
    io_result try_write(std::span<boost::asio::const_buffer const> from) override;
    using stream::try_write;
    void shutdown_send() override;
    void close() noexcept override;
    void abort() noexcept override;

    /// Lets the read or write number `count` from now (0: the next one) fail, and with it all that follow.
    void fail_after(std::size_t count) noexcept { until_failure_ = count; }

    /// How many bytes this end takes from now on before a write would block.
    void set_capacity(std::size_t bytes);

    /// Changes how many bytes one read brings from now on.
    void set_read_at_most(std::size_t bytes) noexcept { options_.read_at_most = bytes; }

    /// How many bytes wait to be read at this end.
    std::size_t unread() const noexcept;

    /// How many bytes this end has taken in all.
    std::size_t written() const noexcept { return written_; }

private:
    struct direction;
    struct wiring;

    memory_stream(std::shared_ptr<wiring> wires, std::size_t side, memory_options options);

    bool fails() noexcept;
    void tell(std::size_t side, bool readable, bool writable, bool hung_up);
    direction& incoming() const noexcept;
    direction& outgoing() const noexcept;

    detail::readiness_gate& own_gate_; // in the wiring: it may be named after its end is gone
    std::shared_ptr<wiring> wires_;
    std::size_t side_;
    memory_options options_;
    std::size_t until_failure_ = std::numeric_limits<std::size_t>::max();
    std::size_t written_ = 0;
};

} // namespace relais::testing

#if defined(RELAIS_HEADER_ONLY)
#include <relais/testing/impl/memory_stream.ipp>
#endif
