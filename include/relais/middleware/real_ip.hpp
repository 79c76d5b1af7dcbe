#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>
#include <relais/net/address_set.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace relais {

/// Who may say whom a request comes from.
struct real_ip_options {
    /// The proxies and load balancers in front: ranges as of `address_set`.
    std::vector<std::string> trusted{};
    /// The field in which they say it: `X-Forwarded-For`, `Forwarded`, or one with a single address, as
    /// `CF-Connecting-IP` and `X-Real-IP`.
    std::string field = "X-Forwarded-For";
};

/// Takes the client's address from what a proxy in front of this one says about it.
///
/// Where the peer is trusted, the client is the first address from the right that is not; with it changes what
/// `exchange::client_address()` says, what the access log shows and what `allow()` decides by. The list goes on to the
/// upstream with the peer behind it, and so do `X-Forwarded-Proto`, `-Host` and `-Port` as they came; the scheme of the
/// request follows `X-Forwarded-Proto`. From everybody else such fields are dropped, as without this stage.
///
/// Has to stand before `allow()`, `deny()` and what else decides on requests by the client's address.
/// Source: RFC 7239, sections 5.2, 6 and 7.
class real_ip_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("real_ip()");
    RELAIS_OUTSIDE_OF(
        address_check,
        "real_ip() has to stand before what decides by the client's address, which it finds out: "
        "write real_ip(...) | allow(...)");

    explicit real_ip_stage(real_ip_options options);
    awaitable<> operator()(exchange& x, exchange::next next) const;

    /// \throws startup_error
    void prepare() const;

private:
    struct shared;
    void take(exchange& x) const;

    std::shared_ptr<shared> shared_;
};

/// See `real_ip_stage`: `real_ip({.trusted = {"10.0.0.0/8"}})`.
[[nodiscard]] inline real_ip_stage real_ip(real_ip_options options) {
    return real_ip_stage(std::move(options));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/middleware/impl/real_ip.ipp>
#endif
