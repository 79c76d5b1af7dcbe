#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>
#include <relais/http/parser.hpp>
#include <relais/net/connection.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace relais {

/// Limits and deadlines of HTTP towards clients. Durations of zero are not allowed.
struct http_options {
    /// The whole head has to be there so long after its first byte: 408.
    std::chrono::milliseconds head_timeout = std::chrono::seconds(15);
    /// Longest pause between two pieces of a request body: 408.
    std::chrono::milliseconds body_timeout = std::chrono::seconds(60);
    /// Bytes a second that a request body has to bring on average, counting only time spent waiting for it, once
    /// `body_min_rate_after` of such time has passed: 408. Zero: none.
    std::size_t body_min_rate = 240;
    std::chrono::milliseconds body_min_rate_after = std::chrono::seconds(10);
    /// Longest pause between two requests, and before the first.
    std::chrono::milliseconds keep_alive_timeout = std::chrono::seconds(75);
    /// So many requests on one connection.
    std::size_t keep_alive_requests = 1000;
    /// Longest time for a client to take any of the bytes that wait for it.
    std::chrono::milliseconds write_timeout = std::chrono::seconds(60);
    /// Bytes of a request's head: 431.
    std::size_t max_head_size = 32 * 1024;
    /// Fields in it: 431.
    std::size_t max_fields = 100;
    /// Bytes of its target: 414.
    std::size_t max_target_size = 8 * 1024;
    /// What happens to fields with an underscore in their name.
    relais::underscores underscore_names = relais::underscores::drop;
    /// Refuse queries with quotes, angle brackets or raw bytes beyond ASCII: 400.
    bool strict_query = true;
    /// Go on for clients that end their side while they wait for the response.
    bool half_close = false;
    /// Pass 103 (Early Hints) on.
    bool early_hints = false;
};

/// Reads requests from a connection and calls what follows for each.
class http_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("http()");
    explicit http_stage(http_options options);
    awaitable<> operator()(connection& c, exchange::next next) const;
    void prepare() const;

private:
    std::shared_ptr<http_options const> options_;
};

/// HTTP/1.1 and HTTP/1.0: from connections to exchanges.
inline http_stage http(http_options options = {}) {
    return http_stage(options);
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/http.ipp>
#endif
