#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/http.hpp>
#include <relais/net/connection.hpp>
#include <relais/testing/memory_stream.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/address.hpp>

#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace relais::testing {

// What a chain of exchanges answers to one request, as bytes.
struct served {
    unsigned status = 0;
    std::string head;
    std::string body;

    // All values of a field, in order.
    std::vector<std::string> all(std::string_view name) const {
        std::vector<std::string> values;
        for (std::size_t at = head.find("\r\n"); at != head.npos && at + 2 < head.size();) {
            auto const end = head.find("\r\n", at + 2);
            auto const line = std::string_view(head).substr(at + 2, end - at - 2);
            auto const colon = line.find(": ");
            if (colon != line.npos && equal_ignoring_case(line.substr(0, colon), name))
                values.emplace_back(line.substr(colon + 2));
            at = end;
        }
        return values;
    }

    // The only value of a field; "(none)", "(several)".
    std::string operator[](std::string_view name) const {
        auto const values = all(name);
        return values.empty() ? "(none)" : values.size() > 1 ? "(several)" : values.front();
    }
};

template <class Chain>
served serve(Chain const& exchanges, std::string_view method, std::string_view target,
             std::string_view more_fields = {}, std::string_view host = "a.example") {
    auto const whole = http() | exchanges;
    whole.prepare();
    worker w;
    auto [near, far] = memory_stream::make();
    std::string request(method);
    request.append(" ").append(target).append(" HTTP/1.1\r\nHost: ").append(host).append("\r\n");
    request.append(more_fields).append("\r\n");
    far->try_write(request);
    bool ended = false;
    // Freed only after the batch of events in which it ended.
    std::unique_ptr<connection> held;
    std::unique_ptr<stream> transport = std::move(near);
    auto const run = [](auto const& chain, std::unique_ptr<stream>& from,
                        std::unique_ptr<connection>& to, bool& over) -> awaitable<> {
        to = std::make_unique<connection>(
            std::move(from), socket_address(boost::asio::ip::make_address("192.0.2.1"), 1000),
            socket_address(boost::asio::ip::make_address("192.0.2.2"), 80));
        co_await chain(*to);
        over = true;
    };
    boost::asio::co_spawn(w.context(), run(whole, transport, held, ended), boost::asio::detached);
    std::string answer;
    std::string piece(64 * 1024, '\0');
    auto const be_the_client = [&] {
        auto const got = far->try_read(std::as_writable_bytes(std::span(piece)));
        if (got.state == io_state::ok)
            answer.append(piece.data(), got.count);
        if (got.state != io_state::ok && answer.find("\r\n\r\n") != answer.npos)
            far->shutdown_send();
    };
    for (int turn = 0; turn < 1000 && !ended; ++turn) {
        w.post(be_the_client);
        w.poll();
    }
    w.post([&held] { held.reset(); });
    w.poll();
    if (!ended)
        throw std::runtime_error("the connection did not end");
    served made;
    auto const end = answer.find("\r\n\r\n");
    made.head = answer.substr(0, end + 2);
    made.body = end == answer.npos ? "" : answer.substr(end + 4);
    made.status =
        made.head.size() > 12 ? static_cast<unsigned>(std::stoi(made.head.substr(9, 3))) : 0;
    return made;
}

} // namespace relais::testing
