#include "settings.hpp"

#include <CLI/CLI.hpp>

#include <iostream>

std::optional<int> read_settings(int count, char** arguments, settings& into) {
    CLI::App app("A gateway: https and wss on one port, http servers behind it.\n"
                 "Without --route it serves a demonstration of its own.",
                 "gateway");
    app.add_option("--listen", into.listen, "host:port, [::]:port or unix:/path")
        ->type_name("ADDRESS")
        ->capture_default_str();
    auto* certificate = app.add_option("--certificate", into.certificate,
                                       "PEM file: the certificate, then the intermediate ones "
                                       "(without: self-signed, made in memory)")
                            ->type_name("FILE");
    app.add_option("--key", into.key, "PEM file (without: the key is in the certificate's file)")
        ->type_name("FILE")
        ->needs(certificate);
    std::vector<std::string> routes;
    app.add_option("--route", routes, "/wss=http://127.0.0.1:8888; may be given several times")
        ->type_name("PATH=URL")
        ->allow_extra_args(false)
        ->check([](std::string const& text) {
            auto equals = text.find('=');
            bool right = text.starts_with('/') && equals != text.npos && equals + 1 < text.size();
            return right ? std::string()
                         : "\"" + text + "\" is no route: write /path=http://host:port";
        });
    app.add_option("--workers", into.workers, "threads (0: one per core)")
        ->type_name("NUMBER")
        ->check(CLI::Range(0, 1024).description(""))
        ->capture_default_str();
    try {
        app.parse(count, arguments);
    } catch (CLI::CallForHelp const&) {
        std::cout << app.help();
        return 0;
    } catch (CLI::ExtrasError const&) {
        std::cerr << "gateway: \"" << app.remaining().front()
                  << "\" is no option; --help lists the options\n";
        return 2;
    } catch (CLI::ParseError const& error) {
        std::cerr << "gateway: " << error.what() << "; --help lists the options\n";
        return 2;
    }
    for (auto const& text : routes) {
        auto equals = text.find('=');
        into.routes.push_back({text.substr(0, equals), text.substr(equals + 1)});
    }
    return std::nullopt;
}
