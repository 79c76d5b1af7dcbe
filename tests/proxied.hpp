#pragma once

#include <relais/http/http.hpp>
#include <relais/proxy/proxy_to.hpp>
#include <relais/testing/scripted_server.hpp>
#include <relais/testing/session.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace relais::testing {

// A client, the gateway and an upstream whose part the test plays.
struct proxied {
    using peer = std::unique_ptr<scripted_server::peer>;

    explicit proxied(proxy_options options = {}, http_options towards_client = {},
                     transport over = transport::local, memory_options near = {})
        : upstream(over), reasons(std::make_shared<std::vector<end_reason>>()),
          client(http(towards_client) | noting{reasons} |
                     proxy_to(upstream.url(), std::move(options)),
                 near) {}

    // Sends a request and waits for what the upstream makes of it. Null: no new connection came.
    peer ask(std::string_view request) {
        client.send(request);
        return upstream.accept();
    }
    void answer(peer const& by, std::string_view bytes) {
        by->send(bytes);
        client.run();
    }
    // What the client got since the last call.
    std::string got() { return client.take_received(); }

    // How the exchanges ended so far.
    end_reason last_reason() const {
        return reasons->empty() ? end_reason::worker_error : reasons->back();
    }

    scripted_server upstream;

    struct noting {
        std::shared_ptr<std::vector<end_reason>> into;
        awaitable<> operator()(exchange& x, exchange::next next) const {
            x.on_complete([to = into](exchange& ended) { to->push_back(ended.reason()); });
            return next(x);
        }
    };
    std::shared_ptr<std::vector<end_reason>> reasons;
    session client;
};

inline std::string const get = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

inline std::string post(std::string_view content) {
    std::string text = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: ";
    return text.append(std::to_string(content.size())).append("\r\n\r\n").append(content);
}

inline std::string ok(std::string_view content) {
    std::string text = "HTTP/1.1 200 OK\r\nContent-Length: ";
    return text.append(std::to_string(content.size())).append("\r\n\r\n").append(content);
}

// The content of an answer as it came, framing and all.
inline std::string_view content_of(std::string_view answer) {
    auto end = answer.find("\r\n\r\n");
    return end == answer.npos ? std::string_view() : answer.substr(end + 4);
}

// Whether the head of a message has this line.
inline bool has_line(std::string_view message, std::string_view line) {
    auto head = message.substr(0, message.find("\r\n\r\n") + 2);
    return head.find("\r\n" + std::string(line) + "\r\n") != head.npos;
}

} // namespace relais::testing
