#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/exchange.hpp>
#include <relais/http/head_buffer.hpp>
#include <relais/http/http.hpp>
#include <relais/http/parser.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace relais::detail {

/// Exchanges of a worker that are used again.
class exchange_cache {
public:
    static exchange_cache& current();

    std::unique_ptr<exchange> take();
    void give(std::unique_ptr<exchange> x) noexcept;

private:
    static constexpr std::size_t kept = 128;
    std::vector<std::unique_ptr<exchange>> idle_;
};

/// One connection that speaks HTTP/1: reads heads, lets the stages answer, writes what they answered.
///
/// The coroutine that drives it does nothing but await; every decision is a plain function here.
class http1_session final : public exchange_carrier, public drainable {
public:
    http1_session(http_options const& options, connection& c);
    http1_session(http1_session const&) = delete;
    http1_session& operator=(http1_session const&) = delete;
    ~http1_session();

    /// `ended`: by the client, or broken; `idle`: to be ended by us, in order.
    enum class head_step { complete, wait, rejected, idle, ended };

    /// Reads until a head is there, nothing more is, or it is refused.
    head_step try_head();

    /// How long the client may take for what `try_head` waits for.
    std::chrono::milliseconds head_limit() const;

    /// Goes on after a wait.
    head_step woken(wait_result why);

    exchange& current() noexcept { return *x_; }
    stream& peer() noexcept { return connection_.downstream(); }

    /// Before and after the stages run.
    void enter_stages();
    void leave_stages(std::exception_ptr thrown);

    enum class send_step { all, part, failed };

    /// Writes the head and what is there of the body in one go.
    send_step start_response();

    /// Writes the rest.
    awaitable<send_step> finish_response();

    bool takes_over() const noexcept { return takeover_ != nullptr; }
    /// Gives back what only requests need, and begins what follows a 101.
    awaitable<end_reason> begin_takeover();
    void end_takeover(end_reason why);

    /// Whether something is to be awaited before the next request: an upload, the rest of a request body.
    bool unsettled() const noexcept;
    awaitable<> settle();

    /// Ends the exchange. \return whether another request may follow.
    bool end_exchange(send_step sent);

    /// Closes so that the client reads the answer and not a reset.
    awaitable<> linger();
    bool lingers() const noexcept { return linger_; }

    awaitable<> send_interim(exchange& x, unsigned status, fields const& with) override;
    void drain() override;

private:
    head_step reject(end_reason why, std::string_view sentence = {});
    head_step accept_head(std::size_t size);
    void release_idle() noexcept;
    bool grow();
    void client_hung_up();
    void client_is_gone();
    /// Whether the client has sent more than the request; what comes to light is lost.
    bool sent_ahead();
    bool response_has_content() const noexcept;
    void write_head(text_buffer& out);
    awaitable<send_step> send_body(body& from);
    awaitable<send_step> send_raw(body& from, body::source source);
    awaitable<bool> send_rest(std::string_view rest);
    bool discard_request_body();
    bool unread_bytes();

    http_options const& options_;
    connection& connection_;
    exchange_cache& cache_;
    std::unique_ptr<exchange> x_;
    head_buffer buffer_;
    std::unique_ptr<takeover> takeover_;
    std::string unsent_; ///< of the response, what the client did not take at once
    std::string ahead_;  ///< what the client sent beyond the message that was read last
    head_parser parser_;
    std::size_t used_ = 0; ///< bytes in the buffer
    std::size_t served_ = 0;
    std::size_t discarded_ = 0; ///< of a request body that nobody wanted
    std::chrono::steady_clock::time_point head_began_{};
    enum class content : unsigned char {
        none,
        length,
        chunked,
        until_close
    } framing_ = content::none;
    bool close_ = false;
    bool draining_ = false;
    bool gone_ = false;
    bool linger_ = false;
    bool abort_ = false;
};

} // namespace relais::detail
