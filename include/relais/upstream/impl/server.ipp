#pragma once

#include <relais/core/error.hpp>
#include <relais/http/path.hpp>
#include <relais/upstream/balance.hpp>
#include <relais/upstream/impl/waiting_line.hpp>
#include <relais/upstream/server.hpp>

#include <charconv>
#include <limits>

namespace relais {

namespace detail {

/// The host and the port of a URL. What is wrong goes through `wrong`: a sentence about the whole URL.
template <class Wrong>
endpoint endpoint_of_authority(std::string_view text, std::string_view usual_port,
                               Wrong const& wrong) {
    auto bracket = text.starts_with('[') ? text.find(']') : 0;
    if (bracket == text.npos)
        throw wrong("the bracket is not closed");
    auto colon = text.find(':', bracket);
    auto host = text.substr(0, colon);
    auto port = colon == text.npos ? usual_port : text.substr(colon + 1);
    if (port.find(':') != port.npos)
        throw wrong("an IPv6 address needs brackets");
    if (host.empty() || host == "[]")
        throw wrong("the host is missing");
    if (bracket != 0 && bracket + 1 != host.size())
        throw wrong("the port has to stand right behind the bracket");
    unsigned number = 0;
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number == 0 || number > 65535)
        throw wrong("the port has to be a number from 1 to 65535");
    if (bracket != 0)
        host = host.substr(1, host.size() - 2);
    return {std::string(host), std::string(port), {}};
}

} // namespace detail

RELAIS_DECL upstream_url upstream_url::parse(std::string_view text) {
    auto wrong = [&](std::string const& what) {
        return startup_error(
            "\"" + std::string(text) + "\" is not an upstream: " + what +
            "; write http://host:port, http://host:port/prefix/, https://host or unix:/path");
    };
    upstream_url made;
    auto rest = text;
    if (rest.starts_with("https://")) {
        made.secure = true;
        rest.remove_prefix(8);
    } else if (rest.starts_with("http://")) {
        rest.remove_prefix(7);
    } else if (auto scheme = rest.find("://"); scheme != rest.npos) {
        throw wrong("\"" + std::string(rest.substr(0, scheme)) +
                    "\" is no scheme it can have (a WebSocket goes through http or https)");
    }
    std::string_view path;
    if (rest.starts_with("unix:")) {
        if (auto colon = rest.find(':', 5); colon != rest.npos) {
            path = rest.substr(colon + 1);
            rest = rest.substr(0, colon);
        }
        if (rest.size() == 5)
            throw wrong("the path of the socket is missing");
        made.authority = "localhost";
        made.where = endpoint::parse(rest);
    } else {
        if (auto end = rest.find_first_of("/?#"); end != rest.npos) {
            path = rest.substr(end);
            rest = rest.substr(0, end);
        }
        if (rest.find('@') != rest.npos)
            throw wrong("names and passwords in front of the host are not supported");
        made.authority = rest;
        made.where = detail::endpoint_of_authority(rest, made.secure ? "443" : "80", wrong);
    }
    if (!path.empty()) {
        if (path.find_first_of("?#") != path.npos)
            throw wrong("the part after the host is a path, without a query or a fragment");
        std::string matched, canonical;
        auto normal = normalise_path(path, matched, canonical);
        if (normal.rejected())
            throw wrong("its path is not one: " + std::string(normal.sentence));
        made.path = normal.canonical;
    }
    return made;
}

RELAIS_DECL upstream_server::upstream_server(std::string name, server_health_options const& health,
                                             std::shared_ptr<detail::server_events> events)
    : events_(std::move(events)), health_(health, events_->changes), name_(std::move(name)),
      url_(upstream_url::parse(name_)), id_(server_id(name_)) {}

RELAIS_DECL bool upstream_server::try_enter() noexcept {
    // In one order with what the line does: who waits there is not missed. Never above the limit, not for an instant:
    // somebody who was called would find it full and wait on.
    auto const limit = limit_.load(std::memory_order_relaxed);
    if (limit == 0) {
        active_.fetch_add(1);
        return true;
    }
    auto now = active_.load();
    while (now < limit)
        if (active_.compare_exchange_weak(now, now + 1))
            return true;
    return false;
}

RELAIS_DECL void upstream_server::leave() noexcept {
    active_.fetch_sub(1);
    events_->line.call_next();
}

RELAIS_DECL void upstream_server::set_limit(std::size_t most) noexcept {
    constexpr std::size_t largest = std::numeric_limits<std::uint32_t>::max();
    limit_.store(static_cast<std::uint32_t>(std::min(most, largest)), std::memory_order_relaxed);
}

RELAIS_DECL std::shared_ptr<std::vector<socket_address> const> upstream_server::addresses() const {
    return addresses_.load();
}

RELAIS_DECL void upstream_server::set_addresses(std::vector<socket_address> found) {
    addresses_.store(std::make_shared<std::vector<socket_address> const>(std::move(found)));
}

} // namespace relais
