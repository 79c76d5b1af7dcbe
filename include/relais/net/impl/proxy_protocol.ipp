#pragma once

#include <relais/core/impl/time_limits.hpp>
#include <relais/core/worker.hpp>
#include <relais/net/proxy_protocol.hpp>

#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace relais {

namespace detail {

inline constexpr std::string_view proxy_v2_signature("\r\n\r\n\0\r\nQUIT\n", 12);
inline constexpr std::size_t proxy_v1_most = 107;

/// An address and a port as version 1 writes them: no sign, no leading zero, no more than there is.
RELAIS_DECL std::optional<socket_address> proxy_v1_address(std::string_view address,
                                                           std::string_view port, bool v6) {
    boost::system::error_code error;
    auto const ip = boost::asio::ip::make_address(std::string(address), error);
    if (error || ip.is_v6() != v6 || address.find('%') != address.npos)
        return {};
    std::uint16_t number = 0;
    auto const [end, wrong] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (wrong != std::errc() || end != port.data() + port.size() ||
        (port.size() > 1 && port.front() == '0'))
        return {};
    return socket_address(ip, number);
}

RELAIS_DECL proxy_header_result parse_proxy_v1(std::string_view text, proxy_header& into) {
    auto const end = text.substr(0, proxy_v1_most).find('\n');
    if (end == text.npos) {
        if (text.size() >= proxy_v1_most)
            return {.sentence = "a line of the PROXY protocol that is too long"};
        return {.missing = 1};
    }
    proxy_header_result const wrong{.sentence = "a malformed line of the PROXY protocol"};
    if (end == 0 || text[end - 1] != '\r')
        return wrong;
    into.version = proxy_version::v1;
    auto rest = text.substr(6, end - 7); // behind "PROXY "
    if (rest == "UNKNOWN" || rest.starts_with("UNKNOWN "))
        return {.size = end + 1};
    std::array<std::string_view, 5> part;
    for (std::size_t i = 0; i < part.size(); ++i) {
        auto const space = rest.find(' ');
        if ((space == rest.npos) != (i + 1 == part.size()))
            return wrong;
        part[i] = rest.substr(0, space);
        rest = rest.substr(std::min(space, rest.size() - 1) + 1);
    }
    bool const v6 = part[0] == "TCP6";
    if (!v6 && part[0] != "TCP4")
        return wrong;
    into.source = proxy_v1_address(part[1], part[3], v6);
    into.destination = proxy_v1_address(part[2], part[4], v6);
    if (!into.source || !into.destination)
        return wrong;
    return {.size = end + 1};
}

RELAIS_DECL proxy_header_result parse_proxy_v2(std::string_view text, std::size_t most,
                                               proxy_header& into) {
    if (text.size() < 16)
        return {.missing = 16 - text.size()};
    auto const at = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
    auto const pair = [&](std::size_t i) {
        return static_cast<std::uint16_t>(at(i) << 8 | at(i + 1));
    };
    if (at(12) >> 4 != 2)
        return {.sentence = "a version of the PROXY protocol that is neither 1 nor 2"};
    if ((at(12) & 0x0f) > 1)
        return {.sentence = "a command of the PROXY protocol that is neither LOCAL nor PROXY"};
    std::size_t const size = 16u + pair(14);
    if (size > most)
        return {.sentence = "a header of the PROXY protocol that is too long"};
    if (text.size() < size)
        return {.missing = size - text.size()};
    into.version = proxy_version::v2;
    bool const local = (at(12) & 0x0f) == 0;
    unsigned const family = at(13) >> 4;
    bool const is_stream = (at(13) & 0x0f) == 1;
    std::size_t const addresses = family == 1 ? 12 : family == 2 ? 36 : family == 3 ? 216 : 0;
    if (family > 3 || (at(13) & 0x0f) > 2 || size < 16 + addresses)
        return {.sentence = "addresses in a header of the PROXY protocol that are malformed"};

    if (!local && is_stream && family == 1) {
        auto const ip = [&](std::size_t i) {
            boost::asio::ip::address_v4::bytes_type b;
            std::memcpy(b.data(), text.data() + i, b.size());
            return boost::asio::ip::address_v4(b);
        };
        into.source = socket_address(ip(16), pair(24));
        into.destination = socket_address(ip(20), pair(26));
    } else if (!local && is_stream && family == 2) {
        auto const ip = [&](std::size_t i) {
            boost::asio::ip::address_v6::bytes_type b;
            std::memcpy(b.data(), text.data() + i, b.size());
            return boost::asio::ip::address_v6(b);
        };
        into.source = socket_address(ip(16), pair(48));
        into.destination = socket_address(ip(32), pair(50));
    }
    for (std::size_t i = 16 + addresses; i < size;) {
        if (size - i < 3 || size - i - 3 < pair(i + 1))
            return {.sentence = "values in a header of the PROXY protocol that are malformed"};
        if (at(i) != 0x04) // PP2_TYPE_NOOP
            into.values.push_back({at(i), std::string(text.substr(i + 3, pair(i + 1)))});
        i += 3u + pair(i + 1);
    }
    return {.size = size};
}

} // namespace detail

RELAIS_DECL std::string const* proxy_header::find(std::uint8_t type) const noexcept {
    for (auto const& v : values)
        if (v.type == type)
            return &v.bytes;
    return nullptr;
}

RELAIS_DECL proxy_header_result parse_proxy_header(std::span<std::byte const> bytes,
                                                   std::size_t most, proxy_header& into) {
    into = {};
    std::string_view const text(reinterpret_cast<char const*>(bytes.data()), bytes.size());
    constexpr std::string_view v1 = "PROXY ";
    auto const begins = [&](std::string_view mark) {
        auto const size = std::min(mark.size(), text.size());
        return text.substr(0, size) == mark.substr(0, size);
    };
    if (begins(v1))
        return text.size() < 15 ? proxy_header_result{.missing = 15 - text.size()}
                                : detail::parse_proxy_v1(text, into);
    if (begins(detail::proxy_v2_signature))
        return detail::parse_proxy_v2(text, most, into);
    return {.sentence = "no header of the PROXY protocol"};
}

RELAIS_DECL std::string make_proxy_header(proxy_version version, socket_address const& source,
                                          socket_address const& destination) {
    bool const known = !source.is_unix() && !destination.is_unix() && source.size() != 0 &&
                       destination.size() != 0;
    bool const is_v4 = source.ip().is_v4() && destination.ip().is_v4();
    auto const written = [&](socket_address const& address) {
        namespace ip = boost::asio::ip;
        auto const own = address.ip();
        return own.is_v4() == is_v4 ? own
                                    : ip::address(ip::make_address_v6(ip::v4_mapped, own.to_v4()));
    };
    auto const from = written(source);
    auto const to = written(destination);
    if (version == proxy_version::v1) {
        if (!known)
            return "PROXY UNKNOWN\r\n";
        return std::string("PROXY ") + (is_v4 ? "TCP4 " : "TCP6 ") + from.to_string() + ' ' +
               to.to_string() + ' ' + std::to_string(source.port()) + ' ' +
               std::to_string(destination.port()) + "\r\n";
    }
    std::string header(detail::proxy_v2_signature);
    auto const put_pair = [&](unsigned value) {
        header += static_cast<char>(value >> 8);
        header += static_cast<char>(value & 0xff);
    };
    auto const put_ip = [&](boost::asio::ip::address const& ip) {
        if (ip.is_v4())
            for (auto const b : ip.to_v4().to_bytes())
                header += static_cast<char>(b);
        else
            for (auto const b : ip.to_v6().to_bytes())
                header += static_cast<char>(b);
    };
    header += known ? '\x21' : '\x20';
    header += !known ? '\0' : is_v4 ? '\x11' : '\x21';
    put_pair(!known ? 0 : is_v4 ? 12 : 36);
    if (known) {
        put_ip(from);
        put_ip(to);
        put_pair(source.port());
        put_pair(destination.port());
    }
    return header;
}

struct proxy_protocol_stage::shared {
    proxy_protocol_options options;
    address_set trusted;
};

RELAIS_DECL proxy_protocol_stage::proxy_protocol_stage(proxy_protocol_options options)
    : shared_(std::make_shared<shared>(shared{std::move(options), {}})) {}

RELAIS_DECL void proxy_protocol_stage::prepare() const {
    auto const& o = shared_->options;
    shared_->trusted = address_set(o.trusted, "proxy_protocol()");
    if (shared_->trusted.empty())
        throw startup_error("proxy_protocol(): nobody is trusted to send a header: write "
                            ".trusted = {\"10.0.0.0/8\"} with the addresses of the load balancers");
    detail::require_time_limits("proxy_protocol()", {{".timeout", o.timeout}});
    if (o.max_size < 52 || o.max_size > 16 + 65535)
        throw startup_error("proxy_protocol(): .max_size has to be 52 to 65551 bytes");
}

RELAIS_DECL awaitable<> proxy_protocol_stage::operator()(connection& c,
                                                         connection::next next) const {
    if (!shared_->trusted.contains(c.client_address())) {
        if (shared_->options.others) {
            co_await next(c);
        } else {
            c.set_reason(end_reason::address_refused);
        }
        co_return;
    }
    bool const there = co_await read_header(c);
    if (there)
        co_await next(c);
}

// Never a byte more than the header has: what follows belongs to the stages that follow.
RELAIS_DECL awaitable<bool> proxy_protocol_stage::read_header(connection& c) const {
    auto const& o = shared_->options;
    auto const until = c.accepted() + o.timeout;
    std::vector<std::byte> bytes;
    for (;;) {
        proxy_header header;
        auto const result = parse_proxy_header(bytes, o.max_size, header);
        if (!result.sentence.empty()) {
            c.set_reason(end_reason::bad_proxy_header);
            co_return false;
        }
        if (result.missing == 0) {
            if (header.source)
                c.set_addresses(*header.source, *header.destination);
            c.state.emplace<proxy_header>(std::move(header));
            co_return true;
        }
        auto const room = bytes.size();
        bytes.resize(room + result.missing);
        auto const got = c.downstream().try_read(std::span(bytes).subspan(room));
        bytes.resize(room + got.count);
        if (got.state == io_state::ok)
            continue;
        if (got.state != io_state::would_block) {
            c.set_reason(bytes.empty() ? end_reason::client_idle : end_reason::bad_proxy_header);
            co_return false;
        }
        auto const left =
            std::chrono::ceil<std::chrono::milliseconds>(until - worker::current().now());
        auto why = wait_result::timed_out;
        if (left.count() > 0)
            why = co_await c.downstream().readable(left);
        if (why == wait_result::ready)
            continue;
        if (why == wait_result::timed_out)
            c.set_reason(end_reason::bad_proxy_header);
        co_return false;
    }
}

} // namespace relais
