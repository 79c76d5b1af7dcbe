#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

/// What the command line of the gateway says.
struct settings {
    struct route {
        std::string path;
        std::string upstream;
    };

    std::string listen = "127.0.0.1:8443";
    std::string certificate;
    std::string key;
    std::vector<route> routes;
    std::size_t workers = 0;
};

/// Reads the command line. \return the exit status where the program is to end: 0 after --help, 2 after one sentence
/// about a wrong option.
std::optional<int> read_settings(int count, char** arguments, settings& into);
