#pragma once

#include <relais/net/max_connections.hpp>

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace relais {

struct max_connections_stage::counters {
    /// One connection that is counted, until it goes.
    class place {
    public:
        place(counters& of, std::string client) : of_(of), client_(std::move(client)) {}
        place(place const&) = delete;
        place& operator=(place const&) = delete;
        ~place() {
            of_.all.fetch_sub(1, std::memory_order_relaxed);
            if (client_.empty())
                return;
            std::lock_guard lock(of_.mutex);
            auto const found = of_.by_client.find(client_);
            if (--found->second == 0)
                of_.by_client.erase(found);
        }

    private:
        counters& of_;
        std::string client_;
    };

    explicit counters(max_connections_options o) : options(o) {}

    /// Whether one more may come; it counts from then on, and leaving is the caller's affair.
    bool enter(std::string const& client) {
        if (all.fetch_add(1, std::memory_order_relaxed) >= options.total && options.total != 0) {
            all.fetch_sub(1, std::memory_order_relaxed);
            return false;
        }
        if (client.empty())
            return true;
        std::lock_guard lock(mutex);
        auto& count = by_client[client];
        if (count < options.per_address) {
            ++count;
            return true;
        }
        all.fetch_sub(1, std::memory_order_relaxed);
        return false;
    }

    /// Who counts as one client; empty where nobody is counted. Unix sockets have no addresses.
    std::string client_of(connection const& c) const {
        if (options.per_address == 0 || c.client_address() == "unix:")
            return {};
        auto const ip = c.peer().ip();
        if (ip.is_v4())
            return std::string(c.client_address());
        auto const bytes = ip.to_v6().to_bytes();
        return {bytes.begin(), bytes.begin() + 8};
    }

    max_connections_options const options;
    std::atomic<std::size_t> all{0};
    std::mutex mutex;
    std::unordered_map<std::string, std::size_t> by_client;
};

RELAIS_DECL max_connections_stage::max_connections_stage(max_connections_options options)
    : counters_(std::make_shared<counters>(options)) {}

RELAIS_DECL void max_connections_stage::prepare() const {
    if (counters_->options.total == 0 && counters_->options.per_address == 0)
        throw startup_error("max_connections(): no limit is given: write "
                            "max_connections({.total = 10000, .per_address = 100})");
}

RELAIS_DECL awaitable<> max_connections_stage::operator()(connection& c,
                                                          connection::next next) const {
    auto client = counters_->client_of(c);
    if (!counters_->enter(client)) {
        c.set_reason(end_reason::too_many_connections);
        co_return;
    }
    counters::place const until_it_goes(*counters_, std::move(client));
    co_await next(c);
}

} // namespace relais
