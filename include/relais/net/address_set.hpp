#pragma once

#include <relais/config.hpp>

#include <boost/asio/ip/address.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace relais {

/// Ranges of addresses, as one writes them: `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`, `::1`; `unix:` for those who come
/// through a Unix socket; `all`.
///
/// IPv4 that is mapped into IPv6 counts as IPv4. Immutable once made: may be asked from any thread.
class address_set {
public:
    address_set() = default;

    /// \param of_whom the stage or option that the ranges were written for, for the sentence.
    /// \throws startup_error for a text that is no range, and for one with bits behind its prefix (`10.0.0.1/8`).
    address_set(std::vector<std::string> const& ranges, std::string_view of_whom);

    bool contains(boost::asio::ip::address const& address) const noexcept;

    /// An address as text, as `connection::client_address()` and `exchange::client_address()` give it. A text that is no
    /// address is in no set but that of `all`.
    bool contains(std::string_view address) const noexcept;

    bool empty() const noexcept { return ranges_.empty() && !unix_ && !all_; }

private:
    struct range {
        std::array<std::uint8_t, 16> base; ///< IPv4 is mapped
        unsigned bits;
    };
    std::vector<range> ranges_;
    bool unix_ = false;
    bool all_ = false;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/address_set.ipp>
#endif
