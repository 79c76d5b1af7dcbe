#pragma once

#include <relais/http/exchange.hpp>
#include <relais/server/server.hpp>

#include <atomic>
#include <memory>

namespace relais {

/// Answers whether the server wants new connections: 200, or 503 from the moment it drains.
class readiness_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("readiness()");
    explicit readiness_stage(server const& of) : ready_(of.ready_) {}
    awaitable<> operator()(exchange& x) const {
        if (ready_->load(std::memory_order_relaxed))
            x.respond(200, "ready\n");
        else
            x.respond(503, "draining\n");
        co_return;
    }

private:
    std::shared_ptr<std::atomic<bool> const> ready_;
};

/// A terminal for the health checks of load balancers and orchestrators: `at(exact("/ready")) | readiness(srv)`. May outlive `of`.
[[nodiscard]] inline readiness_stage readiness(server const& of) {
    return readiness_stage(of);
}

} // namespace relais
