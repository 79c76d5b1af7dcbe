#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/upstream/balance.hpp>
#include <relais/upstream/circuit_breaker.hpp>
#include <relais/upstream/health.hpp>
#include <relais/upstream/health_check.hpp>
#include <relais/upstream/retry.hpp>
#include <relais/upstream/server.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

namespace relais {

class exchange;
class upstream;

/// How the servers of an upstream are used.
struct upstream_options {
    /// How they share the requests.
    balancing balance = two_choices();

    /// A choice of the user's own, in the place of `balance`: the server that is to answer, null where none may (503). The
    /// library does not go on from it to another one.
    std::function<awaitable<std::shared_ptr<upstream_server>>(exchange&, upstream const&)> choose{};

    /// When a server is left out because of what requests or checks met with.
    server_health_options health{};

    /// Requests of the gateway's own that find out how servers are; unset: none.
    std::optional<health_check_options> check{};

    /// Where a smaller share of the servers than this is available, and no backup, their health is not believed: 0 to 1.
    double panic_threshold = 0.25;

    /// When a request that failed goes to another server.
    retry_options retry{};

    /// When requests are refused at once because most of them fail.
    circuit_breaker_options breaker{};

    /// Requests that wait while every server has as many as it may (`server_settings::max_exchanges`), and how long each:
    /// 503 then.
    std::size_t queue = 1000;
    std::chrono::milliseconds queue_timeout = std::chrono::seconds(5);
};

} // namespace relais
