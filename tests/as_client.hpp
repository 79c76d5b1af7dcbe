#pragma once

#include <relais/core/stage.hpp>
#include <relais/net/connection.hpp>

#include <boost/asio/ip/address.hpp>

#include <string_view>

namespace relais::testing {

// A stage of connections that has them come from an address, or from "unix:", to 10.9.9.9:443.
inline auto as_client(std::string_view address) {
    auto const peer = address == "unix:"
                          ? socket_address()
                          : socket_address(boost::asio::ip::make_address(address), 1234);
    return stage([peer](connection& c, connection::next next) -> awaitable<> {
        c.set_addresses(peer, socket_address(boost::asio::ip::make_address("10.9.9.9"), 443));
        return next(c);
    });
}

} // namespace relais::testing
