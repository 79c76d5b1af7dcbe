#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/error.hpp>
#include <relais/core/worker.hpp>
#include <relais/http/exchange.hpp>
#include <relais/http/framing.hpp>
#include <relais/http/parser.hpp>
#include <relais/net/stream.hpp>
#include <relais/upstream/pool.hpp>
#include <relais/upstream/total_limit.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace relais {

/// How long one call may wait for its server.
struct call_limits {
    std::chrono::milliseconds
        first_byte; ///< from the last byte of the request to the whole head of the response
    std::chrono::milliseconds read;  ///< between two pieces of the response's body
    std::chrono::milliseconds write; ///< for the server to take any of the bytes that wait for it
};

/// Sends the body of a request to a server, piece by piece, without waiting.
class body_sender {
public:
    enum class step : std::uint8_t {
        done,        ///< everything went out
        wait_body,   ///< the client has to send more
        wait_send,   ///< the server has to take more
        turn,        ///< others want a turn
        body_failed, ///< the body broke off or is malformed
        body_differs, ///< a stage's body has more or fewer bytes than it said: never sent, they would be another request
        send_failed, ///< the connection to the server broke
    };

    body_sender() = default;

    /// \param held bytes that have to go first.
    void begin(request_body& from, stream& to, bool chunked, std::string held);
    step advance();

    /// Whether every byte has been taken by the connection.
    bool done() const noexcept { return done_; }

private:
    request_body* from_ = nullptr;
    stream* to_ = nullptr;
    std::string held_;
    std::optional<std::uint64_t> promised_; ///< bytes that are still to come, as the head says
    bool chunked_ = false;
    bool read_all_ = false;
    bool done_ = false;
};

/// One request to a server and the head of its response, as steps that never wait.
///
/// The coroutine that drives it waits for what a step says and calls `advance()` again.
class upstream_call {
public:
    enum class step : std::uint8_t {
        answered,      ///< the head of the response is in the exchange
        wait_response, ///< for the server to send
        wait_body,     ///< for the client to send, or the server
        wait_send,     ///< for the server to take more, or to send
        interim,       ///< an interim response is to be passed on: `interim_status()`
        turn,          ///< others want a turn
        failed,        ///< `why()`
    };

    /// \param limits outlive the call. \param total for the response to be through.
    upstream_call(exchange& x, call_limits const& limits, total_limit total = {}) noexcept
        : x_(x), limits_(limits), total_(total) {}
    upstream_call(upstream_call const&) = delete;
    upstream_call& operator=(upstream_call const&) = delete;

    /// Takes the connection that the call runs on.
    void use(std::unique_ptr<stream> connection, connection_past past, bool reused) noexcept;

    /// Sends the head and what is there of the body.
    /// \param chunked how the body is framed on this leg. \param upgrade whether a 101 is asked for.
    void begin(std::string_view head, bool chunked, bool upgrade);

    step advance();

    /// Goes on after a wait that did not end well.
    step give_up(wait_result result, step waited_for);

    /// How long the wait for this step may take.
    std::chrono::milliseconds limit(step waiting) const;

    stream& connection() noexcept { return *connection_; }
    unsigned interim_status() const noexcept { return status_.status; }
    unsigned status() const noexcept { return status_.status; }

    /// From the last byte of the request to the head of the response.
    std::chrono::nanoseconds first_byte() const {
        return worker::current().batch_time() - sent_at_;
    }
    void interim_passed_on();

    end_reason why() const noexcept { return why_; }

    /// Whether the same request may go out again on a fresh connection: a reused one failed before any byte of a
    /// response, and the server cannot have acted on it or may do so twice.
    bool stale() const noexcept;

    /// Whether the response is a 101; then `release()` and `early()` give what the tunnel needs.
    bool upgraded() const noexcept { return upgrade_ && status_.status == 101; }
    std::unique_ptr<stream> release() noexcept { return std::move(connection_); }
    std::string early() const;

    /// Makes the rest of the response the exchange's body, and lets an unfinished upload go on beside it.
    /// \param keeper gets the connection once everything was read; it outlives the exchange.
    void hand_over(connection_keeper& keeper);

private:
    step read_response();
    step judge_response(std::size_t head_size);
    step fail(end_reason why) noexcept;

    exchange& x_;
    call_limits const& limits_;
    total_limit total_;
    std::unique_ptr<stream> connection_;
    connection_past past_;
    body_sender sender_;
    head_parser parser_{default_response_limits};
    status_line status_;
    body_framing framing_;
    std::optional<std::uint64_t> told_length_;
    std::size_t head_size_ = 0;
    std::size_t used_ = 0;
    std::chrono::steady_clock::time_point sent_at_{};
    std::chrono::steady_clock::time_point first_interim_{};
    unsigned interims_ = 0;
    end_reason why_ = end_reason::completed;
    bool reused_ = false;
    bool upgrade_ = false;
    bool keep_alive_ = false;
    bool took_bytes_ = false;
    bool send_broke_ = false;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/client.ipp>
#endif
