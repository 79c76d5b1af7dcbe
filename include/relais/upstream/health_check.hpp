#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/error.hpp>
#include <relais/http/status_set.hpp>
#include <relais/tls/context.hpp>
#include <relais/upstream/impl/fast_random.hpp>
#include <relais/upstream/server.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace relais {

class connector;

/// How servers are asked whether they are well.
struct health_check_options {
    /// What is asked for: GET, without a body.
    std::string path = "/";
    /// Host; empty: as the server is configured. The name for TLS is `tls.name`.
    std::string host{};
    /// Statuses of a server that is well; none: 200 to 399.
    status_set expected{};
    /// From one check of a server to its next.
    std::chrono::milliseconds interval = std::chrono::seconds(5);
    /// Each interval is longer or shorter by up to this part of it, so that gateways do not ask all at once: 0 to 1.
    double jitter = 0.1;
    /// For connecting, TLS and the head of the answer together.
    std::chrono::milliseconds timeout = std::chrono::seconds(2);
    /// For `https://` servers.
    tls_client_options tls{};
};

/// What one check found.
struct check_result {
    end_reason why = end_reason::completed; ///< there was an answer
    unsigned status = 0;
    bool good = false;
};

/// Asks servers time and again how they are, and tells their `health()`.
class health_checker {
public:
    /// Those that are to be asked at the moment; called on the worker.
    using servers_function = std::function<std::vector<std::shared_ptr<upstream_server>>()>;

    /// \throws startup_error where the options are wrong.
    health_checker(health_check_options options, servers_function servers);
    ~health_checker();

    /// Loads what TLS to these servers needs; called at start, off the workers. \throws startup_error
    void prepare(std::span<std::shared_ptr<upstream_server> const> servers);

    /// Goes on until it is cancelled. A server that is slow delays no other one.
    awaitable<> run();

    /// Asks one server once. Cancellation: every type, `client_left`.
    awaitable<check_result> ask(upstream_server const& server) const;

private:
    struct watched;
    std::chrono::steady_clock::duration next_interval();
    awaitable<> ask_and_tell(std::shared_ptr<watched> of);

    health_check_options options_;
    servers_function servers_;
    detail::fast_random random_;
    std::shared_ptr<connector> connector_;
    std::vector<std::shared_ptr<watched>> watched_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/health_check.ipp>
#endif
