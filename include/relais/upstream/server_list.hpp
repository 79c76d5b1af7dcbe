#pragma once

#include <relais/config.hpp>

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace relais {

/// What a group of servers asks of one of them.
struct server_settings {
    unsigned weight = 1; ///< its part of the requests; 0: nothing new, what is under way goes on
    bool backup = false; ///< only where none of the others is available
    std::size_t max_exchanges = 0; ///< at once, tunnels among them, of all workers; 0: any number
};

/// One server of a list: `"10.0.0.1:8080"`, `{"https://b.example", {.weight = 3}}`.
struct server_entry {
    std::string where; ///< `host:port`, `http://host`, `https://host`, `unix:/path`
    server_settings settings{};

    template <class Text>
        requires std::convertible_to<Text const&, std::string_view>
    server_entry(Text const& text, server_settings how = {}) // NOLINT(google-explicit-constructor)
        : where(std::string_view(text)), settings(how) {}
};

/// The servers of a group.
using server_list = std::vector<server_entry>;

} // namespace relais
