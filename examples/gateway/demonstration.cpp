#include "demonstration.hpp"

#include "page.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

#include <chrono>
#include <deque>
#include <set>
#include <string>
#include <thread>
#include <utility>

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using net::use_awaitable;
using net::ip::tcp;

namespace {

/// The application

http::message_generator answer(http::request<http::string_body> const& asked) {
    http::response<http::string_body> response{http::status::ok, asked.version()};
    response.set(http::field::server, "demonstration");
    response.keep_alive(asked.keep_alive());
    if (asked.target() == "/") {
        response.set(http::field::content_type, "text/html; charset=utf-8");
        response.body() = demonstration_page;
    } else if (asked.target().starts_with("/api/")) {
        response.set(http::field::content_type, "text/plain; charset=utf-8");
        response.body() =
            std::string(asked.method_string()) + " " + std::string(asked.target()) + "\n";
        for (auto const& field : asked)
            response.body() +=
                std::string(field.name_string()) + ": " + std::string(field.value()) + "\n";
        response.body() += "\n" + asked.body();
    } else {
        response.result(http::status::not_found);
        response.set(http::field::content_type, "text/plain; charset=utf-8");
        response.body() = "There is /, /api/... and /stream.\n";
    }
    response.prepare_payload();
    return response;
}

net::awaitable<void> stream_numbers(beast::tcp_stream& to,
                                    http::request<http::string_body> const& asked) {
    http::response<http::empty_body> head{http::status::ok, asked.version()};
    head.set(http::field::content_type, "text/plain; charset=utf-8");
    head.chunked(true);
    http::response_serializer<http::empty_body> serializer(head);
    co_await http::async_write_header(to, serializer, use_awaitable);
    net::steady_timer pause(to.get_executor());
    for (int i = 1; i <= 10; ++i) {
        std::string line = std::to_string(i) + "\n";
        co_await net::async_write(to, http::make_chunk(net::buffer(line)), use_awaitable);
        pause.expires_after(std::chrono::milliseconds(100));
        co_await pause.async_wait(use_awaitable);
    }
    co_await net::async_write(to, http::make_chunk_last(), use_awaitable);
}

net::awaitable<void> serve_requests(tcp::socket socket) {
    beast::tcp_stream client(std::move(socket));
    beast::flat_buffer buffer;
    for (;;) {
        http::request<http::string_body> asked;
        client.expires_after(std::chrono::minutes(2));
        co_await http::async_read(client, buffer, asked, use_awaitable);
        if (asked.target() == "/stream")
            co_await stream_numbers(client, asked);
        else
            co_await beast::async_write(client, answer(asked), use_awaitable);
        if (!asked.keep_alive())
            break;
    }
    client.socket().shutdown(tcp::socket::shutdown_send);
}

/// The chat

class chat_room;

class guest {
public:
    guest(tcp::socket socket, chat_room& room) : stream_(std::move(socket)), room_(room) {}
    net::awaitable<void> run();
    void send(std::string const& text);

private:
    net::awaitable<void> write_all();

    websocket::stream<beast::tcp_stream> stream_;
    chat_room& room_;
    std::deque<std::string> waiting_;
};

class chat_room {
public:
    std::set<std::shared_ptr<guest>> guests;

    void say(std::string const& text) {
        for (auto const& g : guests)
            g->send(text);
    }
};

net::awaitable<void> guest::run() {
    stream_.set_option(websocket::stream_base::timeout::suggested(beast::role_type::server));
    stream_.read_message_max(64 * 1024);
    co_await stream_.async_accept(use_awaitable);
    room_.say("(somebody came: " + std::to_string(room_.guests.size()) + " are here)");
    for (;;) {
        beast::flat_buffer message;
        co_await stream_.async_read(message, use_awaitable);
        room_.say(beast::buffers_to_string(message.data()));
    }
}

void guest::send(std::string const& text) {
    constexpr std::size_t most = 1000; // messages for somebody who does not read
    if (!stream_.is_open() || waiting_.size() >= most)
        return;
    waiting_.push_back(text);
    if (waiting_.size() == 1)
        net::co_spawn(stream_.get_executor(), write_all(), [](std::exception_ptr) {});
}

net::awaitable<void> guest::write_all() {
    while (!waiting_.empty()) {
        co_await stream_.async_write(net::buffer(waiting_.front()), use_awaitable);
        waiting_.pop_front();
    }
}

net::awaitable<void> receive(std::shared_ptr<guest> who, chat_room& room) {
    room.guests.insert(who);
    try {
        co_await who->run();
    } catch (std::exception const&) { // gone
    }
    room.guests.erase(who);
    room.say("(somebody left: " + std::to_string(room.guests.size()) + " are here)");
}

/// Both

template <class Serve>
net::awaitable<void> accept_all(tcp::acceptor& acceptor, Serve serve) {
    for (;;) {
        auto socket = co_await acceptor.async_accept(use_awaitable);
        net::co_spawn(acceptor.get_executor(), serve(std::move(socket)), [](std::exception_ptr) {});
    }
}

std::string address_of(tcp::acceptor const& acceptor) {
    return "http://127.0.0.1:" + std::to_string(acceptor.local_endpoint().port());
}

} // namespace

struct demonstration::running {
    net::io_context context{1};
    tcp::acceptor application{context, {net::ip::make_address("127.0.0.1"), 0}};
    tcp::acceptor chat{context, {net::ip::make_address("127.0.0.1"), 0}};
    chat_room room;
    std::thread thread;
};

demonstration::demonstration() : running_(std::make_unique<running>()) {
    auto& r = *running_;
    net::co_spawn(r.context, accept_all(r.application, serve_requests), net::detached);
    net::co_spawn(r.context,
                  accept_all(r.chat,
                             [&room = r.room](tcp::socket socket) {
                                 return receive(std::make_shared<guest>(std::move(socket), room),
                                                room);
                             }),
                  net::detached);
    r.thread = std::thread([&r] { r.context.run(); });
}

demonstration::~demonstration() {
    running_->context.stop();
    running_->thread.join();
}

std::string demonstration::application() const {
    return address_of(running_->application);
}

std::string demonstration::chat() const {
    return address_of(running_->chat);
}
