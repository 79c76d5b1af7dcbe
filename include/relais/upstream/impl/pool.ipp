#pragma once

#include <relais/core/worker.hpp>
#include <relais/upstream/pool.hpp>

#include <algorithm>

namespace relais {

RELAIS_DECL connection_pool::connection_pool(std::size_t size, std::chrono::milliseconds timeout)
    : most_(size), timeout_(deadline_wheel::ticks_of(timeout)), sweeper_(*this) {}

RELAIS_DECL connection_pool::~connection_pool() = default;

RELAIS_DECL std::unique_ptr<stream> connection_pool::take() {
    auto now = worker::current().deadlines().now();
    while (!idle_.empty()) {
        auto one = std::move(idle_.back());
        idle_.pop_back();
        if (now - one.since < timeout_ && one.connection->quiet())
            return std::move(one.connection);
    }
    return nullptr;
}

RELAIS_DECL void connection_pool::give(std::unique_ptr<stream> idle) {
    if (idle_.size() >= most_ || !idle->quiet())
        return;
    auto& deadlines = worker::current().deadlines();
    if (!sweeper_.is_armed())
        deadlines.arm(sweeper_, deadline_wheel::ticks_of(std::chrono::seconds(1)));
    idle_.push_back({std::move(idle), deadlines.now()});
}

RELAIS_DECL void connection_pool::sweep() {
    auto& deadlines = worker::current().deadlines();
    auto now = deadlines.now();
    std::erase_if(
        idle_, [&](entry& one) { return now - one.since >= timeout_ || !one.connection->quiet(); });
    if (!idle_.empty())
        deadlines.arm(sweeper_, deadline_wheel::ticks_of(std::chrono::seconds(1)));
}

RELAIS_DECL void connection_pool::sweeper::expired(deadline& self) {
    static_cast<sweeper&>(self).pool.sweep();
}

} // namespace relais
