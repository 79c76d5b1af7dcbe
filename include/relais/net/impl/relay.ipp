#pragma once

#include <relais/core/impl/time_limits.hpp>
#include <relais/net/connect.hpp>
#include <relais/net/pump.hpp>
#include <relais/net/relay.hpp>

#include <string>
#include <vector>

namespace relais {

struct relay_stage::shared {
    std::string upstream;
    relay_options options;
    std::vector<socket_address> addresses;
};

namespace detail {

/// Plain bytes have no place for a farewell: a relay goes on until the server's patience ends.
class patient final : public drainable {
public:
    explicit patient(connection& c) : c_(c) { c.set_drainable(this); }
    patient(patient const&) = delete;
    patient& operator=(patient const&) = delete;
    ~patient() { c_.set_drainable(nullptr); }
    void drain() override {}

private:
    connection& c_;
};

} // namespace detail

RELAIS_DECL relay_stage::relay_stage(std::string_view upstream, relay_options options)
    : shared_(std::make_shared<shared>()) {
    shared_->upstream = upstream;
    shared_->options = options;
}

RELAIS_DECL void relay_stage::prepare() const {
    auto const& o = shared_->options;
    detail::require_time_limits("relay(\"" + shared_->upstream + "\")",
                                {{".connect_timeout", o.connect_timeout},
                                 {".tunnel_timeout", o.tunnel_timeout},
                                 {".linger", o.linger}});
    if (shared_->addresses.empty())
        shared_->addresses = resolve(endpoint::parse(shared_->upstream));
}

RELAIS_DECL awaitable<> relay_stage::operator()(connection& c) const {
    auto const& options = shared_->options;
    detail::patient while_here(c);
    auto result = co_await connect(shared_->addresses, options.connect_timeout);
    if (!result.connected) {
        c.set_reason(result.why);
        c.downstream().abort();
        co_return;
    }
    result.connected->set_keepalive();
    c.downstream().set_keepalive();
    pump_pair<no_follower> pump(c.downstream(), *result.connected,
                                {options.tunnel_timeout, options.linger});
    if (options.proxy_protocol != proxy_version::none)
        pump.preload(make_proxy_header(options.proxy_protocol, c.peer(), c.local()), {});
    auto why = co_await pump.run();
    c.set_reason(why);
}

} // namespace relais
