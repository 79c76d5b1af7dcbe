#pragma once

#include <relais/core/report.hpp>
#include <relais/core/worker.hpp>
#include <relais/http/exchange.hpp>
#include <relais/upstream/impl/group.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <utility>

namespace relais::detail {

// What becomes of a server in use

RELAIS_DECL void server_hold::judge(end_reason why, unsigned status) noexcept {
    if (auto const in = std::exchange(in_, {}))
        server_->health().ended(in, why, status, worker::current().batch_time());
}

RELAIS_DECL void server_hold::let_go() noexcept {
    if (!server_)
        return;
    if (auto const in = std::exchange(in_, {}))
        server_->health().abandon(in);
    server_->leave();
    server_ = nullptr;
}

// What is owed a verdict, as the number that an exchange keeps: it does not know what it is.
struct owed {
    admission in;
    unsigned status;
};
static_assert(sizeof(admission) == 3);

inline std::uint64_t number_of(owed const& o) noexcept {
    auto const bytes = std::bit_cast<std::array<std::uint8_t, sizeof o.in>>(o.in);
    return std::uint64_t{bytes[0]} | std::uint64_t{bytes[1]} << 8 | std::uint64_t{bytes[2]} << 16 |
           std::uint64_t{o.status} << 24;
}

inline owed owed_of(std::uint64_t number) noexcept {
    std::array<std::uint8_t, sizeof(admission)> const bytes{
        static_cast<std::uint8_t>(number), static_cast<std::uint8_t>(number >> 8),
        static_cast<std::uint8_t>(number >> 16)};
    return {std::bit_cast<admission>(bytes), static_cast<unsigned>(number >> 24)};
}

RELAIS_DECL void server_hold::hand_to(exchange& x, unsigned status) {
    auto const note = number_of({std::exchange(in_, {}), status});
    x.use(upstream_use(std::move(server_), note, &server_hold::end));
}

RELAIS_DECL void server_hold::end(std::shared_ptr<void> const& server, std::uint64_t note,
                                  exchange& x) noexcept {
    auto const [in, status] = owed_of(note);
    server_hold ended(std::static_pointer_cast<upstream_server>(server), in);
    if (!worker::on_a_worker())
        return;
    ended.judge(x.reason(), status);
    x.upstream.total = worker::current().batch_time() - x.upstream.began;
}

// What one worker sees of the servers: those that may take requests, in the form in which balancers choose.

class upstream_group::view {
public:
    explicit view(std::shared_ptr<upstream_group> of) : of_(std::move(of)) {}

    server_choice choose(exchange& x, std::span<upstream_server const* const> tried) {
        auto const now = worker::current().batch_time();
        if (of_->events_->changes.load(std::memory_order_acquire) != seen_ || now >= next_change_)
            look(now);
        bool full = false;
        for (auto* one : {&primary_, &backup_}) {
            auto const count = one->servers.size();
            auto const first = count > 1 ? one->by->choose(x) : 0;
            for (std::size_t i = 0; i < count; ++i) {
                auto const& server =
                    *one->servers[first + i < count ? first + i : first + i - count];
                if (!tried.empty() && std::ranges::find(tried, server.get()) != tried.end())
                    continue;
                if (!server->try_enter()) {
                    full = true;
                    continue;
                }
                auto const in = one->health_counts ? server->health().enter(now) : admission();
                if (one->health_counts && !in) {
                    server->leave();
                    continue;
                }
                return {server_hold(server, in)};
            }
        }
        return {{}, full ? end_reason::overloaded : end_reason::no_upstream};
    }

    void answered(exchange& x, upstream_server const& by) {
        for (auto* one : {&primary_, &backup_})
            for (std::size_t i = 0; i < one->servers.size(); ++i)
                if (one->servers[i]->get() == &by)
                    one->by->answered(x, one->candidates[i]);
    }

private:
    using time_point = std::chrono::steady_clock::time_point;

    /// Servers of one rank.
    struct rank {
        std::vector<candidate> candidates;
        std::vector<std::shared_ptr<upstream_server> const*> servers;
        std::unique_ptr<chooser> by;
        bool health_counts = true;
    };

    void look(time_point now) {
        seen_ = of_->events_->changes.load(std::memory_order_acquire); // before what it tells of
        members_ = of_->members_.load();
        next_change_ = time_point::max();
        auto const in_use =
            std::ranges::count_if(*members_, [](member const& m) { return m.settings.weight > 0; });
        bool const alone = in_use == 1;
        gather(backup_, true, now, alone);
        auto const total = std::ranges::count_if(
            *members_, [](member const& m) { return m.settings.weight > 0 && !m.settings.backup; });
        gather(primary_, false, now, alone);
        if (backup_.servers.empty() &&
            ignores_health(primary_.servers.size(), static_cast<std::size_t>(total),
                           of_->options_.panic_threshold))
            gather(primary_, false, now, true);
        for (auto* one : {&primary_, &backup_})
            if (!one->candidates.empty())
                one->by = of_->options_.balance.among(one->candidates, one->by.get());
    }

    void gather(rank& into, bool backup, time_point now, bool any_health) {
        into.candidates.clear();
        into.servers.clear();
        into.health_counts = !any_health;
        for (auto const& m : *members_) {
            if (m.settings.weight == 0 || m.settings.backup != backup)
                continue;
            auto& health = m.server->health();
            double share = 1;
            if (!any_health) {
                next_change_ = std::min(next_change_, health.next_change(now));
                if (!health.available(now))
                    continue;
                share = health.share(now);
            }
            into.candidates.push_back(
                {m.server->id(), m.settings.weight * share, &m.server->active_counter()});
            into.servers.push_back(&m.server);
        }
    }

    std::shared_ptr<upstream_group> of_; ///< its address is the key: no other one gets it
    std::uint64_t seen_ = ~std::uint64_t{0};
    time_point next_change_ = time_point::max();
    std::shared_ptr<member_list const> members_;
    rank primary_;
    rank backup_;
};

// The group

RELAIS_DECL upstream_group::upstream_group(server_list servers, upstream_options options,
                                           bool of_url)
    : options_(std::move(options)), configured_(std::move(servers)),
      events_(std::make_shared<server_events>(options_.queue)), budget_(options_.retry),
      breaker_(options_.breaker), of_url_(of_url) {}

RELAIS_DECL upstream_group::view& upstream_group::view_of_worker() {
    return worker::current().local<view>(
        this, [this] { return std::make_shared<view>(shared_from_this()); });
}

RELAIS_DECL upstream_group::member_list upstream_group::made_of(server_list const& servers) const {
    auto const before = members_.load();
    member_list made;
    for (auto const& entry : servers) {
        for (auto const& m : made)
            if (m.server->name() == entry.where)
                throw startup_error("upstream: \"" + entry.where +
                                    "\" stands there twice: give it the sum of the weights once");
        std::shared_ptr<upstream_server> server;
        if (before)
            for (auto const& m : *before)
                if (m.server->name() == entry.where)
                    server = m.server;
        if (!server)
            server = std::make_shared<upstream_server>(entry.where, options_.health, events_);
        if (!of_url_ && !server->url().path.empty())
            throw startup_error("upstream: \"" + entry.where +
                                "\" has a path, and a server of a group is only where it is: "
                                "set .prefix of proxy_to()");
        made.push_back({std::move(server), entry.settings});
    }
    return made;
}

RELAIS_DECL void upstream_group::publish(member_list made) {
    for (auto const& m : made)
        m.server->set_limit(m.settings.max_exchanges);
    members_.store(std::make_shared<member_list const>(std::move(made)));
    events_->changes.fetch_add(1, std::memory_order_release);
    events_->line.call_all();
}

RELAIS_DECL void upstream_group::resolve_names(member_list const& members) const {
    for (auto const& m : members)
        if (!m.server->addresses())
            m.server->set_addresses(resolve(m.server->url().where));
}

RELAIS_DECL std::vector<std::shared_ptr<upstream_server>>
upstream_group::servers_of(member_list const& members) {
    std::vector<std::shared_ptr<upstream_server>> all;
    for (auto const& m : members)
        all.push_back(m.server);
    return all;
}

RELAIS_DECL void upstream_group::prepare() {
    std::lock_guard lock(changing_);
    if (prepared_)
        return;
    if (options_.queue_timeout.count() <= 0)
        throw startup_error("upstream: queue_timeout has to be longer than 0");
    if (!(options_.panic_threshold >= 0 && options_.panic_threshold <= 1))
        throw startup_error("upstream: panic_threshold is a share of the servers, from 0 to 1");
    if (configured_.empty())
        throw startup_error("upstream({}) has no server: name one, such as \"10.0.0.1:8080\"");
    options_.balance.prepare();
    server_health::check(options_.health);
    retry_budget::check(options_.retry);
    circuit_breaker::check(options_.breaker);
    auto made = made_of(configured_);
    resolve_names(made);
    publish(std::move(made));
    if (options_.check) {
        checker_.emplace(*options_.check, [this] { return servers_of(*members_.load()); });
        checker_->prepare(servers_of(*members_.load()));
        checking_.emplace([this] { return checker_->run(); });
    }
    prepared_ = true;
}

RELAIS_DECL void upstream_group::replace(server_list const& servers) {
    std::lock_guard lock(changing_);
    if (!prepared_) {
        made_of(servers);
        configured_ = servers;
        return;
    }
    auto made = made_of(servers);
    resolve_names(made);
    publish(std::move(made));
}

RELAIS_DECL server_choice upstream_group::choose(exchange& x,
                                                 std::span<upstream_server const* const> tried) {
    return view_of_worker().choose(x, tried);
}

RELAIS_DECL server_choice upstream_group::take(std::shared_ptr<upstream_server> server) {
    if (!server->try_enter())
        return {{}, end_reason::overloaded};
    return {server_hold(std::move(server), {})};
}

RELAIS_DECL awaitable<server_choice>
upstream_group::wait_in_line(exchange& x, std::span<upstream_server const* const> tried) {
    waiting_line::place place(std::shared_ptr<waiting_line>(events_, &events_->line));
    auto const end = worker::current().now() + options_.queue_timeout;
    for (;;) {
        if (!place.stand())
            co_return server_choice{{}, end_reason::overloaded};
        auto choice = choose(x, tried);
        if (choice.why != end_reason::overloaded) {
            if (choice.hold)
                place.serve();
            co_return choice;
        }
        auto const left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - worker::current().now());
        if (left.count() <= 0)
            co_return choice;
        if (co_await place.called(left) == wait_result::cancelled)
            co_return server_choice{{}, end_reason::client_left};
    }
}

RELAIS_DECL void upstream_group::answered(exchange& x, upstream_server const& by) {
    if (options_.balance.marks_answers())
        view_of_worker().answered(x, by);
}

} // namespace relais::detail
