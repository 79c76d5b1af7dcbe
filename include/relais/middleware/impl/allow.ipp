#pragma once

#include <relais/core/error.hpp>
#include <relais/middleware/allow.hpp>

namespace relais::detail {

RELAIS_DECL address_check_stage::address_check_stage(std::vector<std::string> ranges, bool allows)
    : rules_(std::make_shared<rules>(rules{std::move(ranges), allows, {}})) {}

RELAIS_DECL void address_check_stage::prepare() const {
    std::string const name = rules_->allows ? "allow()" : "deny()";
    rules_->set = address_set(rules_->ranges, name);
    if (rules_->set.empty())
        throw startup_error(name + ": no addresses are given: write " +
                            (rules_->allows ? "allow({\"10.0.0.0/8\"})" : "deny({\"192.0.2.7\"})"));
}

RELAIS_DECL bool address_check_stage::passes(std::string_view address) const noexcept {
    return rules_->set.contains(address) == rules_->allows;
}

RELAIS_DECL awaitable<> address_check_stage::operator()(connection& c,
                                                        connection::next next) const {
    if (passes(c.client_address()))
        return next(c);
    c.set_reason(end_reason::address_refused);
    return done();
}

RELAIS_DECL awaitable<> address_check_stage::operator()(exchange& x, exchange::next next) const {
    if (passes(x.client_address()))
        return next(x);
    x.refuse(end_reason::address_refused);
    return done();
}

} // namespace relais::detail
