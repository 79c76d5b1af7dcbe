#pragma once

#include <relais/core/worker.hpp>
#include <relais/upstream/pool.hpp>

#include <algorithm>
#include <utility>

namespace relais {

RELAIS_DECL connection_pool::connection_pool(pool_options const& options)
    : most_(options.size), max_requests_(options.max_requests),
      timeout_(deadline_wheel::ticks_of(options.timeout)),
      max_age_(deadline_wheel::ticks_of(options.max_age)), sweeper_(*this) {}

RELAIS_DECL connection_pool::~connection_pool() = default;

RELAIS_DECL bool connection_pool::is_good(entry const& one, ticks now) const {
    return now - one.since < timeout_ && now - one.past.made < max_age_ && one.connection->quiet();
}

RELAIS_DECL connection_pool::idle connection_pool::take() {
    auto now = worker::current().deadlines().now();
    while (!idle_.empty()) {
        auto one = std::move(idle_.back());
        idle_.pop_back();
        if (is_good(one, now))
            return {std::move(one.connection), one.past};
    }
    return {};
}

RELAIS_DECL void connection_pool::give(std::unique_ptr<stream> idle, connection_past past) {
    if (idle_.size() >= most_ || (max_requests_ && past.requests >= max_requests_) ||
        !idle->quiet())
        return;
    auto& deadlines = worker::current().deadlines();
    if (!sweeper_.is_armed())
        deadlines.arm(sweeper_, deadline_wheel::ticks_of(std::chrono::seconds(1)));
    idle_.push_back({std::move(idle), past, deadlines.now()});
}

RELAIS_DECL void connection_pool::sweep() {
    auto& deadlines = worker::current().deadlines();
    auto now = deadlines.now();
    std::erase_if(idle_, [&](entry const& one) { return !is_good(one, now); });
    if (!idle_.empty())
        deadlines.arm(sweeper_, deadline_wheel::ticks_of(std::chrono::seconds(1)));
}

RELAIS_DECL void connection_pool::sweeper::expired(deadline& self) {
    static_cast<sweeper&>(self).pool.sweep();
}

} // namespace relais
