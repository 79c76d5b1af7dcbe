#pragma once

#include <relais/core/report.hpp>
#include <relais/core/scope.hpp>
#include <relais/core/worker.hpp>
#include <relais/http/parser.hpp>
#include <relais/http/path.hpp>
#include <relais/upstream/connector.hpp>
#include <relais/upstream/health_check.hpp>
#include <relais/upstream/total_limit.hpp>

#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace relais {

/// A server that is asked, and when it is asked again.
struct health_checker::watched {
    std::shared_ptr<upstream_server> server;
    std::chrono::steady_clock::time_point due;
    boost::asio::cancellation_signal stop{};
    bool under_way = false;
};

RELAIS_DECL health_checker::health_checker(health_check_options options, servers_function servers)
    : options_(std::move(options)), servers_(std::move(servers)),
      random_(detail::fast_random::seed()) {
    std::string matched, canonical;
    auto const path = std::string_view(options_.path).substr(0, options_.path.find('?'));
    if (normalise_path(path, matched, canonical).rejected() ||
        std::ranges::any_of(options_.path, [](char c) { return c <= ' ' || c == '\x7f'; }))
        throw startup_error("health_check: .path \"" + options_.path +
                            "\" is no path: write one such as /health");
    if (std::ranges::any_of(options_.host, [](char c) { return c <= ' ' || c == '\x7f'; }))
        throw startup_error("health_check: .host \"" + options_.host +
                            "\" is no host: write one such as app.example");
    if (options_.interval.count() <= 0 || options_.timeout.count() <= 0)
        throw startup_error("health_check: .interval and .timeout have to be longer than 0");
    if (!(options_.jitter >= 0 && options_.jitter <= 1))
        throw startup_error("health_check: .jitter is a part of the interval, from 0 to 1");
    if (options_.expected.wrong() != status_set::fine)
        throw startup_error("health_check: .expected has " +
                            std::to_string(options_.expected.wrong()) +
                            ", and a status is from 100 to 999");
    connector_ = std::make_shared<connector>(
        connector_options{options_.timeout, {.size = 0}, {}, options_.tls});
}

RELAIS_DECL health_checker::~health_checker() = default;

RELAIS_DECL void
health_checker::prepare(std::span<std::shared_ptr<upstream_server> const> servers) {
    connector_->prepare(servers);
}

RELAIS_DECL awaitable<check_result> health_checker::ask(upstream_server const& server) const {
    check_result found;
    total_limit const end(worker::current().now() + options_.timeout);
    auto made = co_await connector_->connect(server, {}, end);
    if (!made.connected) {
        found.why = made.why;
        co_return found;
    }
    auto& stream = *made.connected;
    std::string const request =
        "GET " + options_.path +
        " HTTP/1.1\r\nHost: " + (options_.host.empty() ? server.url().authority : options_.host) +
        "\r\nUser-Agent: relais health check\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    auto const sent = co_await write_all(stream, std::as_bytes(std::span<char const>(request)),
                                         end.cut(options_.timeout));
    if (sent == write_result::cancelled)
        found.why = end_reason::client_left;
    else if (sent == write_result::timed_out)
        found.why = end.or_else(end_reason::upstream_write_timeout);
    else if (sent != write_result::done)
        found.why = end_reason::upstream_reset;

    std::string head;
    fields lines;
    status_line status;
    head_parser parser(default_response_limits);
    while (found.why == end_reason::completed && !found.status) {
        if (end.is_over()) {
            found.why = end_reason::first_byte_timeout;
            break;
        }
        std::array<std::byte, 4096> piece;
        auto const got = stream.try_read(piece);
        if (got.state == io_state::would_block) {
            if (co_await stream.readable(end.cut(options_.timeout)) == wait_result::cancelled)
                found.why = end_reason::client_left;
            continue;
        }
        if (got.state != io_state::ok) {
            found.why = end_reason::upstream_reset;
            continue;
        }
        head.append(reinterpret_cast<char const*>(piece.data()), got.count);
        for (bool more = true; more;) { // interim responses come first
            parser.reset();             // the text may have moved
            lines.clear();
            auto const parsed = parser.parse(head, status, lines);
            if (parsed.state == parse_state::rejected)
                found.why = parsed.why;
            else if (parsed.state == parse_state::complete && status.status >= 200)
                found.status = status.status;
            more = parsed.state == parse_state::complete && !found.status;
            if (more)
                head.erase(0, parsed.size);
        }
    }
    found.good =
        found.status &&
        (options_.expected.empty() ? found.status < 400 : options_.expected.contains(found.status));
    co_return found;
}

RELAIS_DECL awaitable<> health_checker::ask_and_tell(std::shared_ptr<watched> of) {
    co_await boost::asio::this_coro::throw_if_cancelled(false);
    auto const found = co_await ask(*of->server);
    of->under_way = false;
    if (found.why == end_reason::client_left)
        co_return;
    auto& health = of->server->health();
    bool const was_down = health.state() == health_state::down;
    health.checked(found.good, worker::current().now());
    bool const is_down = health.state() == health_state::down;
    if (is_down && !was_down)
        report("upstream: " + of->server->name() + " is down: " +
               (found.status ? "the check was answered " + std::to_string(found.status)
                             : std::string(describe(found.why).sentence)));
    if (was_down && !is_down)
        report("upstream: " + of->server->name() + " is up again");
}

RELAIS_DECL std::chrono::steady_clock::duration health_checker::next_interval() {
    auto const drawn = static_cast<double>(random_.below(2001)) / 1000 - 1; // -1 to 1
    return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
        options_.interval * (1 + options_.jitter * drawn));
}

RELAIS_DECL awaitable<> health_checker::run() {
    co_await boost::asio::this_coro::throw_if_cancelled(false); // what is under way is awaited
    scope asking;
    free_slot pause;
    bool cancelled = false;
    while (!cancelled) {
        auto const now = worker::current().now();
        auto const servers = servers_();
        std::erase_if(watched_, [&](auto const& w) {
            return std::ranges::find(servers, w->server) == servers.end();
        });
        auto next = now + std::chrono::seconds(1); // servers may be replaced at any time
        for (auto const& server : servers) {
            auto there = std::ranges::find(watched_, server, &watched::server);
            if (there == watched_.end()) {
                watched_.push_back(std::make_shared<watched>(server, now));
                there = watched_.end() - 1;
            }
            auto& one = **there;
            if (one.due <= now && !one.under_way) {
                one.due = now + next_interval();
                one.under_way = true;
                asking.spawn(ask_and_tell(*there), one.stop.slot());
            }
            next = std::min(next, std::max(one.due, now + std::chrono::milliseconds(1)));
        }
        auto const wait = std::chrono::ceil<std::chrono::milliseconds>(next - now);
        cancelled = co_await wait_at(pause, wait) == wait_result::cancelled;
    }
    for (auto const& one : watched_)
        one->stop.emit(boost::asio::cancellation_type::terminal);
    co_await asking.join();
}

} // namespace relais
