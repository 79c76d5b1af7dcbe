#pragma once

// Small stand-ins of what stages work on, for tests of the composition alone. A unit that includes
// this is never linked with the library's own classes.

#include <relais/core/stage.hpp>

#include <string>
#include <vector>

namespace relais {

class connection {
public:
    using next = basic_next<connection>;

    connection() = default;
    connection(connection const&) = delete;
    connection& operator=(connection const&) = delete;

    std::string seen;
};

class exchange {
public:
    using next = basic_next<exchange>;

    exchange() = default;
    exchange(exchange const&) = delete;
    exchange& operator=(exchange const&) = delete;

    std::string seen;
    std::vector<void const*> entries; // of each next that was called
};

class message {
public:
    using next = basic_next<message>;

    message() = default;
    message(message const&) = delete;
    message& operator=(message const&) = delete;

    std::string seen;
};

inline void next_hook<exchange>::called(exchange& in, void const*, void const* entry) {
    in.entries.push_back(entry);
}

} // namespace relais
