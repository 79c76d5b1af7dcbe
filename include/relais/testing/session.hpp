#pragma once

#include <relais/config.hpp>
#include <relais/core/stage.hpp>
#include <relais/core/worker.hpp>
#include <relais/http/http.hpp>
#include <relais/net/connection.hpp>
#include <relais/testing/manual_clock.hpp>
#include <relais/testing/memory_stream.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace relais::testing {

/// One client's connection to a chain of stages, without sockets and without waiting: the client's side is this object,
/// and time goes by when `advance` is called.
///
///     session s(http() | my_stage | respond(200, "hello\n"));
///     s.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
///     CHECK(s.received().starts_with("HTTP/1.1 200"));
///     s.advance(std::chrono::seconds(75));
///     CHECK(s.ended());
class session {
public:
    /// \param chain of connections, prepared here. \param near how the gateway's end behaves, \param far the client's.
    template <class Chain>
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): a session is neither copied nor moved
    explicit session(Chain&& chain, memory_options near = {}, memory_options far = {})
        : chain_(std::forward<Chain>(chain)), worker_({.time = &clock_}) {
        chain_.prepare();
        start(near, far);
    }
    session(session const&) = delete;
    session& operator=(session const&) = delete;
    ~session();

    /// Sends bytes, all that the gateway takes, and runs. \return how many it took.
    std::size_t send(std::string_view bytes);

    /// Ends the client's side. `reset` breaks the connection.
    void shutdown_send();
    void reset();

    /// Runs what is ready, on both sides.
    void run();

    /// Lets time go by.
    void advance(std::chrono::milliseconds by);

    /// What has come so far; `take_received` starts anew.
    std::string const& received() const noexcept { return received_; }
    std::string take_received() { return std::exchange(received_, {}); }

    /// Whether the client reads; true at first.
    void set_reading(bool reads) { reading_ = reads; }

    /// How the gateway ended its side, as the client sees it.
    bool saw_end() const noexcept { return saw_end_; }
    bool saw_reset() const noexcept { return saw_reset_; }

    /// Whether the chain has returned, and why the connection ended.
    bool ended() const noexcept { return ended_; }
    end_reason reason() const noexcept { return connection_->reason(); }

    /// The gateway's end of the connection.
    memory_stream& near() noexcept { return *near_; }
    relais::connection& connection() noexcept { return *connection_; }
    relais::worker& worker() noexcept { return worker_; }
    manual_clock& clock() noexcept { return clock_; }

private:
    void start(memory_options near, memory_options far);
    void read();

    any_chain<relais::connection> chain_;
    manual_clock clock_;
    relais::worker worker_;
    std::unique_ptr<memory_stream> far_;
    memory_stream* near_ = nullptr;
    relais::connection* connection_ = nullptr; // the worker's list owns it
    std::string received_;
    bool reading_ = true;
    bool saw_end_ = false;
    bool saw_reset_ = false;
    bool ended_ = false;
};

} // namespace relais::testing

#if defined(RELAIS_HEADER_ONLY)
#include <relais/testing/impl/session.ipp>
#endif
