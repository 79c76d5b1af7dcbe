#pragma once

#include <relais/config.hpp>
#include <relais/core/worker.hpp>
#include <relais/net/stream.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <cstddef>
#include <utility>

namespace relais {

namespace detail {

/// A read or a write that tries, waits, and tries again.
template <class Buffers, bool Reading>
struct async_transfer {
    stream* of;
    Buffers buffers;
    std::chrono::milliseconds limit;
    boost::system::error_code result{};
    std::size_t count = 0;
    enum class phase : unsigned char { first, waiting, done } at = phase::first;

    template <class Self>
    void operator()(Self& self, wait_result why = wait_result::ready);

private:
    io_result attempt();
};

} // namespace detail

/// Makes a `stream` an AsyncReadStream and AsyncWriteStream of Asio, so that Beast and every library written for Asio
/// runs over it.
///
/// Refers to the stream, which has to outlive it. One read and one write at a time, on the stream's worker. Per-operation
/// cancellation: every type, with `operation_aborted`; a wait that takes longer than the limit ends with `timed_out`.
class async_stream {
public:
    using executor_type = boost::asio::io_context::executor_type;

    /// \param limit for each wait.
    explicit async_stream(stream& of, std::chrono::milliseconds limit = std::chrono::seconds(60))
        : of_(&of), limit_(limit), executor_(worker::current().context().get_executor()) {}

    executor_type get_executor() const noexcept { return executor_; }

    /// Reads some bytes; `boost::asio::error::eof` at the end.
    template <class MutableBuffers, class Token>
    auto async_read_some(MutableBuffers const& buffers, Token&& token) {
        return boost::asio::async_compose<Token, void(boost::system::error_code, std::size_t)>(
            detail::async_transfer<MutableBuffers, true>{of_, buffers, limit_}, token, executor_);
    }

    /// Writes some bytes.
    template <class ConstBuffers, class Token>
    auto async_write_some(ConstBuffers const& buffers, Token&& token) {
        return boost::asio::async_compose<Token, void(boost::system::error_code, std::size_t)>(
            detail::async_transfer<ConstBuffers, false>{of_, buffers, limit_}, token, executor_);
    }

    /// What Beast calls when a time-out or an error ends a connection, and at the end of a WebSocket.
    friend void beast_close_socket(async_stream& s) { s.of_->close(); }
    friend void teardown(boost::beast::role_type, async_stream& s,
                         boost::system::error_code& error) {
        s.of_->shutdown_send();
        error = {};
    }
    template <class Handler>
    friend void async_teardown(boost::beast::role_type, async_stream& s, Handler&& handler) {
        s.of_->shutdown_send();
        boost::asio::post(s.executor_, [h = std::forward<Handler>(handler)]() mutable {
            std::move(h)(boost::system::error_code());
        });
    }

private:
    stream* of_;
    std::chrono::milliseconds limit_;
    executor_type executor_;
};

} // namespace relais

#include <relais/net/impl/async_stream.hpp>
