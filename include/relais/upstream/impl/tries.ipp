#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/exchange.hpp>
#include <relais/upstream/tries.hpp>

#include <algorithm>
#include <string>
#include <utility>

namespace relais {

RELAIS_DECL upstream_tries::upstream_tries(upstream const& of, exchange& x,
                                           std::optional<std::chrono::milliseconds> total)
    : of_(of), x_(x), began_(worker::current().batch_time()),
      total_(total ? total_limit(began_ + *total) : total_limit()) {}

RELAIS_DECL upstream_tries::~upstream_tries() {
    if (circuit_)
        group().breaker().abandon(circuit_);
}

RELAIS_DECL bool upstream_tries::choose(std::shared_ptr<upstream_server> bound) {
    if (!tried_ && !group().is_one()) { // one server alone has neither
        circuit_ = group().breaker().enter(began_);
        if (!circuit_) {
            why_ = end_reason::circuit_open;
            return true;
        }
        group().budget().deposit(began_);
    }
    if (!bound && group().options().choose)
        return false;
    auto choice = bound ? group().take(std::move(bound)) : group().choose(x_, tried());
    if (choice.why == end_reason::overloaded && group().options().queue > 0 && !tried_)
        return false;
    begin(std::move(choice));
    return true;
}

RELAIS_DECL awaitable<> upstream_tries::choose_later() {
    auto const& choose = group().options().choose;
    if (!choose) {
        begin(co_await group().wait_in_line(x_, tried()));
        co_return;
    }
    auto server = co_await choose(x_, of_);
    if (!server)
        begin({{}, end_reason::no_upstream});
    else
        begin(group().take(std::move(server)));
}

RELAIS_DECL void upstream_tries::begin(detail::server_choice choice) {
    hold_ = std::move(choice.hold);
    if (!hold_) {
        if (!tried_) // otherwise what the last server did says more
            why_ = choice.why;
        return;
    }
    x_.upstream.server = hold_->name();
    x_.upstream.connect = {};
    x_.upstream.first_byte = {};
    if (x_.upstream.tries++ == 0)
        x_.upstream.began = began_;
}

RELAIS_DECL bool upstream_tries::may_try_again(unsigned status) {
    auto const now = worker::current().now();
    auto const verdict =
        decide({.why = why_,
                .status = status,
                .idempotent = is_idempotent(x_.request.method()),
                .replayable = true, // who sends it again finds out
                .tries = static_cast<unsigned>(tried().size()) + 1,
                .passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - began_)},
               group().options().retry);
    return verdict == retry_verdict::again && !total_.is_over() &&
           group().has_other_than(tried().size() + 1) && group().budget().withdraw(now);
}

RELAIS_DECL bool upstream_tries::answered(unsigned status, std::chrono::nanoseconds first_byte) {
    status_ = static_cast<std::uint16_t>(status);
    x_.upstream.first_byte = first_byte;
    why_ = end_reason::completed;
    again_ = !group().options().retry.statuses.empty() && may_try_again(status);
    if (again_)
        hold_.judge(why_, status);
    else
        judge_group(status);
    return !again_;
}

RELAIS_DECL void upstream_tries::keep() {
    if (status_ == 101 || hold_.on_trial())
        hold_.judge(end_reason::completed, status_); // the end may be hours away
    group().answered(x_, *hold_);
    hold_.hand_to(x_, status_);
}

RELAIS_DECL bool upstream_tries::another() {
    if (!again_) {
        hold_.judge(why_, 0);
        again_ = may_try_again(0);
        if (!again_)
            judge_group(0);
    }
    if (!tried_)
        tried_ = std::make_unique<std::vector<upstream_server const*>>();
    tried_->push_back(hold_.server().get());
    hold_ = {};
    return std::exchange(again_, false);
}

RELAIS_DECL void upstream_tries::judge_group(unsigned status) {
    if (auto const in = std::exchange(circuit_, {}))
        group().breaker().ended(in, why_, status, worker::current().batch_time());
}

RELAIS_DECL void upstream_tries::refuse() {
    x_.refuse(why_);
    if (x_.response.status() == 503) {
        auto const wait = why_ == end_reason::circuit_open
                              ? group().breaker().retry_after(worker::current().batch_time())
                              : std::chrono::seconds(1);
        x_.response.set("Retry-After", std::to_string(wait.count()));
    }
}

} // namespace relais
