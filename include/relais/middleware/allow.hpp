#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>
#include <relais/net/address_set.hpp>
#include <relais/net/connection.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace relais {

namespace detail {

/// Decides by the client's address, on connections and on requests.
class address_check_stage : public stage_base {
public:
    using faces = relais::faces<face<connection>, face<exchange>>;
    using provides = tags<address_check>;

    awaitable<> operator()(connection& c, connection::next next) const;
    awaitable<> operator()(exchange& x, exchange::next next) const;

    /// \throws startup_error
    void prepare() const;

protected:
    address_check_stage(std::vector<std::string> ranges, bool allows);

private:
    struct rules {
        std::vector<std::string> ranges;
        bool allows;
        address_set set;
    };
    bool passes(std::string_view address) const noexcept;

    std::shared_ptr<rules> rules_;
};

} // namespace detail

/// Lets clients of some addresses through, and nobody else.
///
/// Before `http()` it works on connections: others are closed at once, before TLS where it stands before `tls()`, and what
/// counts is the address that connects, or what `proxy_protocol()` found out. Behind `http()` it works on requests: others
/// are answered 403, and what counts is `exchange::client_address()`, so that `real_ip()` has to stand before
/// it; another order does not compile.
class allow_stage : public detail::address_check_stage {
public:
    RELAIS_STAGE_NAME("allow()");
    explicit allow_stage(std::vector<std::string> ranges)
        : address_check_stage(std::move(ranges), true) {}
};

/// Keeps clients of some addresses out; otherwise as `allow_stage`.
class deny_stage : public detail::address_check_stage {
public:
    RELAIS_STAGE_NAME("deny()");
    explicit deny_stage(std::vector<std::string> ranges)
        : address_check_stage(std::move(ranges), false) {}
};

/// `deny({"10.0.0.66"}) | allow({"10.0.0.0/8", "::1"})`. \param ranges as of `address_set`.
[[nodiscard]] inline allow_stage allow(std::vector<std::string> ranges) {
    return allow_stage(std::move(ranges));
}

/// See `allow`.
[[nodiscard]] inline deny_stage deny(std::vector<std::string> ranges) {
    return deny_stage(std::move(ranges));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/middleware/impl/allow.ipp>
#endif
