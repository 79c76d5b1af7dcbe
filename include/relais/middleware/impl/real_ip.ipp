#pragma once

#include <relais/core/error.hpp>
#include <relais/middleware/real_ip.hpp>

#include <optional>

namespace relais {

struct real_ip_stage::shared {
    explicit shared(real_ip_options o)
        : options(std::move(o)), known(known_field_of(options.field)) {}

    real_ip_options options;
    known_field known;
    address_set trusted;
};

namespace detail {

RELAIS_DECL std::string_view without_space(std::string_view text) noexcept {
    auto const first = text.find_first_not_of(" \t\r");
    if (first == text.npos)
        return {};
    return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// All values of a field of the head as it came, in one list: those that speak of clients are no longer among the request's
/// fields.
RELAIS_DECL std::string received_list(std::string_view head, std::string_view name) {
    std::string all;
    for (auto at = head.find('\n'); at < head.size();) {
        auto const end = std::min(head.find('\n', at + 1), head.size());
        auto const line = head.substr(at + 1, end - at - 1);
        at = end;
        if (line.size() <= name.size() || line[name.size()] != ':' ||
            !equal_ignoring_case(line.substr(0, name.size()), name))
            continue;
        auto const value = without_space(line.substr(name.size() + 1));
        if (!value.empty())
            all.append(all.empty() ? "" : ", ").append(value);
    }
    return all;
}

/// Takes the last element off a list. What a client wrote stands on the left: read from the right, a quote that it left
/// open hides nothing that proxies wrote behind it. \return empty at the end.
RELAIS_DECL std::string_view last_list_element(std::string_view& rest) noexcept {
    while (!rest.empty()) {
        bool quoted = false;
        auto at = rest.size();
        while (at > 0 && (quoted || rest[at - 1] != ','))
            quoted ^= rest[--at] == '"';
        auto const element = without_space(rest.substr(at));
        rest = rest.substr(0, at > 0 ? at - 1 : 0);
        if (!element.empty())
            return element;
    }
    return {};
}

/// The address in an element of X-Forwarded-For or in a node of Forwarded: without a port, brackets and quotes.
RELAIS_DECL std::string_view node_address(std::string_view node) noexcept {
    if (node.size() >= 2 && node.front() == '"' && node.back() == '"')
        node = node.substr(1, node.size() - 2);
    if (node.starts_with('['))
        return node.substr(1, std::min(node.find(']'), node.size()) - 1);
    auto const colon = node.find(':');
    if (colon != node.npos && node.find(':', colon + 1) == node.npos)
        return node.substr(0, colon);
    return node;
}

/// The `for` of an element of Forwarded; empty without one. Source: RFC 7239, section 4.
RELAIS_DECL std::string_view forwarded_for(std::string_view element) noexcept {
    while (!element.empty()) {
        auto const end = std::min(element.find(';'), element.size());
        auto const pair = without_space(element.substr(0, end));
        element.remove_prefix(std::min(end + 1, element.size()));
        if (pair.size() > 4 && equal_ignoring_case(pair.substr(0, 4), "for="))
            return pair.substr(4);
    }
    return {};
}

/// An address in the one form that logs and rules know; empty for everything else, as `unknown` and `_hidden` are.
RELAIS_DECL std::string canonical_address(std::string_view text) {
    boost::system::error_code error;
    auto address = boost::asio::ip::make_address(std::string(text), error);
    if (error)
        return {};
    if (address.is_v6() && address.to_v6().is_v4_mapped())
        address = boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address.to_v6());
    return address.to_string();
}

} // namespace detail

RELAIS_DECL real_ip_stage::real_ip_stage(real_ip_options options)
    : shared_(std::make_shared<shared>(std::move(options))) {}

RELAIS_DECL void real_ip_stage::prepare() const {
    auto const& o = shared_->options;
    shared_->trusted = address_set(o.trusted, "real_ip()");
    if (shared_->trusted.empty())
        throw startup_error(
            "real_ip(): nobody is trusted, so nothing would be taken: write "
            ".trusted = {\"10.0.0.0/8\"} with the addresses of the proxies in front");
    try {
        fields().set(o.field, "x");
    } catch (std::invalid_argument const&) {
        throw startup_error(
            "real_ip(): \"" + o.field +
            "\" is no name of a field: write X-Forwarded-For, Forwarded or X-Real-IP");
    }
}

RELAIS_DECL awaitable<> real_ip_stage::operator()(exchange& x, exchange::next next) const {
    if (shared_->trusted.contains(x.client_address()))
        take(x);
    return next(x);
}

RELAIS_DECL void real_ip_stage::take(exchange& x) const {
    auto& q = x.request;
    auto const& field = shared_->options.field;
    bool const rfc7239 = shared_->known == known_field::forwarded;
    std::string const list = detail::received_list(q.received(), field);
    std::string const peer(x.client_address());

    std::string client;
    std::string_view rest = list;
    for (auto element = detail::last_list_element(rest); !element.empty();
         element = detail::last_list_element(rest)) {
        auto const node = rfc7239 ? detail::forwarded_for(element) : element;
        auto address = detail::canonical_address(detail::node_address(node));
        if (address.empty()) // what stands on its left is no better known
            break;
        client = std::move(address);
        if (!shared_->trusted.contains(client))
            break;
    }
    // Who is trusted speaks for the whole way so far.
    if (!client.empty())
        x.set_client_address(client);
    if (list.empty()) {
        // the proxy in front is the first on the way
    } else if (rfc7239) {
        bool const v6 = peer.find(':') != peer.npos && peer != "unix:";
        q.set("Forwarded", list + ", for=" +
                               (peer == "unix:" ? "unknown"
                                : v6            ? "\"[" + peer + "]\""
                                                : peer));
    } else if (shared_->known == known_field::x_forwarded_for) {
        q.set("X-Forwarded-For", peer == "unix:" ? list : list + ", " + peer);
    }
    for (auto const name : {"X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port"})
        if (auto const came = detail::received_list(q.received(), name); !came.empty())
            q.set(name, came);
    auto const proto = q["X-Forwarded-Proto"];
    if (equal_ignoring_case(proto, "https") || equal_ignoring_case(proto, "http"))
        q.set_secure(equal_ignoring_case(proto, "https"));
}

} // namespace relais
