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
    : of_(of), group_(of.group()), x_(x), began_(worker::current().batch_time()),
      total_(total ? total_limit(began_ + *total) : total_limit()) {}

RELAIS_DECL upstream_tries::~upstream_tries() {
    if (circuit_)
        group_.breaker().abandon(circuit_);
}

RELAIS_DECL bool upstream_tries::choose(std::shared_ptr<upstream_server> bound) {
    if (tried_.empty()) {
        circuit_ = group_.breaker().enter(began_);
        if (!circuit_) {
            why_ = end_reason::circuit_open;
            return true;
        }
        group_.budget().deposit(began_);
    }
    if (!bound && group_.options().choose)
        return false;
    auto choice = bound ? group_.take(std::move(bound)) : group_.choose(x_, tried_);
    if (choice.why == end_reason::overloaded && group_.options().queue > 0 && tried_.empty())
        return false;
    begin(std::move(choice));
    return true;
}

RELAIS_DECL awaitable<> upstream_tries::choose_later() {
    auto const& choose = group_.options().choose;
    if (!choose) {
        begin(co_await group_.wait_in_line(x_, tried_));
        co_return;
    }
    auto server = co_await choose(x_, of_);
    if (!server)
        begin({{}, end_reason::no_upstream});
    else
        begin(group_.take(std::move(server)));
}

RELAIS_DECL void upstream_tries::begin(detail::server_choice choice) {
    hold_ = std::move(choice.hold);
    if (!hold_) {
        if (tried_.empty()) // otherwise what the last server did says more
            why_ = choice.why;
        return;
    }
    x_.upstream.server = hold_->name();
    x_.upstream.connect = {};
    x_.upstream.first_byte = {};
    if (x_.upstream.tries++ == 0)
        x_.upstream.began = began_;
}

RELAIS_DECL void upstream_tries::connected() {
    x_.upstream.connect = std::chrono::duration_cast<std::chrono::microseconds>(
        worker::current().now() - connecting_since_);
}

RELAIS_DECL bool upstream_tries::may_try_again(unsigned status) {
    auto const now = worker::current().now();
    auto const verdict =
        decide({.why = why_,
                .status = status,
                .idempotent = is_idempotent(x_.request.method()),
                .replayable = true, // who sends it again finds out
                .tries = static_cast<unsigned>(tried_.size()) + 1,
                .passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - began_)},
               group_.options().retry);
    return verdict == retry_verdict::again && !total_.is_over() &&
           group_.has_other_than(tried_.size() + 1) && group_.budget().withdraw(now);
}

RELAIS_DECL bool upstream_tries::answered(unsigned status, std::chrono::microseconds first_byte) {
    status_ = status;
    x_.upstream.first_byte = first_byte;
    why_ = end_reason::completed;
    again_ = !group_.options().retry.statuses.empty() && may_try_again(status);
    if (again_)
        hold_.judge(why_, status);
    else
        judge_group(status);
    return !again_;
}

RELAIS_DECL void upstream_tries::keep() {
    if (status_ == 101 || hold_.on_trial())
        hold_.judge(end_reason::completed, status_); // the end may be hours away
    group_.answered(x_, *hold_);
    hold_.hand_to(x_, status_);
}

RELAIS_DECL bool upstream_tries::another() {
    if (!again_) {
        hold_.judge(why_, 0);
        again_ = may_try_again(0);
        if (!again_)
            judge_group(0);
    }
    tried_.push_back(hold_.server().get());
    hold_ = {};
    return std::exchange(again_, false);
}

RELAIS_DECL void upstream_tries::judge_group(unsigned status) {
    if (auto const in = std::exchange(circuit_, {}))
        group_.breaker().ended(in, why_, status, worker::current().batch_time());
}

RELAIS_DECL void upstream_tries::refuse() {
    x_.refuse(why_);
    if (x_.response.status() == 503) {
        auto const wait = why_ == end_reason::circuit_open
                              ? group_.breaker().retry_after(worker::current().batch_time())
                              : std::chrono::seconds(1);
        x_.response.set("Retry-After", std::to_string(wait.count()));
    }
}

} // namespace relais
