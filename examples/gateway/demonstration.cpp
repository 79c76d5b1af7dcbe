#include "demonstration.hpp"

#include "page.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

#include <chrono>
#include <deque>
#include <exception>
#include <memory>
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

using request = http::request<http::string_body>;
using response = http::response<http::string_body>;

response text(request const& asked, http::status status, std::string content) {
    response made{status, asked.version(), std::move(content)};
    made.set(http::field::server, "demonstration");
    made.set(http::field::content_type, "text/plain; charset=utf-8");
    return made;
}

/// Tells what came.
response echo(request const& asked) {
    std::string content(asked.method_string());
    content.append(" ").append(asked.target()).append("\n");
    for (auto const& field : asked)
        content.append(field.name_string()).append(": ").append(field.value()).append("\n");
    return text(asked, http::status::ok, content + "\n" + asked.body());
}

/// The page takes nothing from elsewhere, and text never becomes markup or script in it.
response page(request const& asked, page_file const& file) {
    auto made = text(asked, http::status::ok, std::string(file.content));
    made.set(http::field::content_type, file.content_type);
    made.set(http::field::cache_control, "no-cache");
    made.set("Content-Security-Policy",
             "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
             "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
             "require-trusted-types-for 'script'; trusted-types 'none'");
    made.set("X-Content-Type-Options", "nosniff");
    made.set("Referrer-Policy", "no-referrer");
    // Alone in its process, a page has a clock that is fine enough for round trips on one machine.
    made.set("Cross-Origin-Opener-Policy", "same-origin");
    made.set("Cross-Origin-Embedder-Policy", "require-corp");
    return made;
}

response answer(request const& asked) {
    for (auto const& file : page_files)
        if (asked.target() == file.path)
            return page(asked, file);
    if (asked.target().starts_with("/api/"))
        return echo(asked);
    if (asked.target() == "/slow")
        return text(asked, http::status::ok, "That took two seconds.\n");
    return text(asked, http::status::not_found, "There is /, /api/..., /slow and /stream.\n");
}

net::awaitable<void> pause(std::chrono::milliseconds length) {
    net::steady_timer timer(co_await net::this_coro::executor, length);
    co_await timer.async_wait(use_awaitable);
}

net::awaitable<void> send(beast::tcp_stream& to, request const& asked, response what) {
    what.keep_alive(asked.keep_alive());
    what.prepare_payload();
    if (asked.method() == http::verb::head)
        what.body().clear(); // and Content-Length stays
    co_await http::async_write(to, what, use_awaitable);
}

net::awaitable<void> stream_numbers(beast::tcp_stream& to, request const& asked) {
    http::response<http::empty_body> head{http::status::ok, asked.version()};
    head.set(http::field::content_type, "text/plain; charset=utf-8");
    head.chunked(true);
    http::response_serializer<http::empty_body> serializer(head);
    co_await http::async_write_header(to, serializer, use_awaitable);
    if (asked.method() == http::verb::head)
        co_return;
    for (int i = 1; i <= 10; ++i) {
        std::string line = std::to_string(i) + "\n";
        co_await net::async_write(to, http::make_chunk(net::buffer(line)), use_awaitable);
        co_await pause(std::chrono::milliseconds(100));
    }
    co_await net::async_write(to, http::make_chunk_last(), use_awaitable);
}

net::awaitable<void> serve_requests(tcp::socket socket) {
    beast::tcp_stream client(std::move(socket));
    beast::flat_buffer buffer;
    for (bool more = true; more;) {
        http::request_parser<http::string_body> parser;
        parser.body_limit(1024 * 1024);
        client.expires_after(std::chrono::minutes(2));
        auto [error, size] =
            co_await http::async_read(client, buffer, parser, net::as_tuple(use_awaitable));
        auto const& asked = parser.get();
        if (error == http::error::body_limit) {
            auto refused = text(asked, http::status::payload_too_large, "At most 1 MiB.\n");
            refused.set(http::field::connection, "close");
            refused.prepare_payload();
            co_await http::async_write(client, refused, use_awaitable);
            break;
        }
        if (error)
            co_return;
        if (asked.target() == "/slow")
            co_await pause(std::chrono::seconds(2));
        if (asked.target() == "/stream")
            co_await stream_numbers(client, asked);
        else
            co_await send(client, asked, answer(asked));
        more = asked.keep_alive();
    }
    client.socket().shutdown(tcp::socket::shutdown_send);
}

/// The chat

class guest;

class chat_room {
public:
    void enter(std::shared_ptr<guest> who);
    void leave(std::shared_ptr<guest> const& who);
    void say(std::string const& line);

private:
    std::set<std::shared_ptr<guest>> guests_;
};

class guest : public std::enable_shared_from_this<guest> {
public:
    explicit guest(tcp::socket socket) : stream_(std::move(socket)) {}

    net::awaitable<void> accept() {
        stream_.set_option(websocket::stream_base::timeout::suggested(beast::role_type::server));
        stream_.read_message_max(64 * 1024);
        co_await stream_.async_accept(use_awaitable);
    }

    /// Text is for everybody; bytes come back to who sent them, who learns so how long that takes.
    /// \return when the guest has gone.
    net::awaitable<void> listen(chat_room& room) {
        for (;;) {
            beast::flat_buffer message;
            auto [error, size] = co_await stream_.async_read(message, net::as_tuple(use_awaitable));
            if (error)
                co_return;
            auto content = beast::buffers_to_string(message.data());
            if (stream_.got_text())
                room.say(content);
            else
                hear({std::move(content), false});
        }
    }

    struct message {
        std::string content;
        bool is_text = true;
    };

    void hear(message what) {
        constexpr std::size_t most = 1000; // for somebody who does not read
        if (unsent_.size() >= most)
            return;
        unsent_.push_back(std::move(what));
        if (unsent_.size() == 1)
            net::co_spawn(stream_.get_executor(), write_all(shared_from_this()), net::detached);
    }

private:
    static net::awaitable<void> write_all(std::shared_ptr<guest> self) {
        while (!self->unsent_.empty()) {
            auto const& what = self->unsent_.front();
            self->stream_.text(what.is_text);
            auto [error, size] = co_await self->stream_.async_write(net::buffer(what.content),
                                                                    net::as_tuple(use_awaitable));
            if (error)
                co_return; // and nothing more is sent: who listens finds out too
            self->unsent_.pop_front();
        }
    }

    websocket::stream<beast::tcp_stream> stream_;
    std::deque<message> unsent_;
};

void chat_room::say(std::string const& line) {
    for (auto const& g : guests_)
        g->hear({line});
}

void chat_room::enter(std::shared_ptr<guest> who) {
    guests_.insert(std::move(who));
    say("(somebody came: " + std::to_string(guests_.size()) + " here)");
}

void chat_room::leave(std::shared_ptr<guest> const& who) {
    guests_.erase(who);
    say("(somebody left: " + std::to_string(guests_.size()) + " here)");
}

net::awaitable<void> receive(std::shared_ptr<guest> who, chat_room& room) {
    co_await who->accept();
    room.enter(who);
    co_await who->listen(room);
    room.leave(who);
}

/// Both

template <class Serve>
net::awaitable<void> accept_all(tcp::acceptor& acceptor, Serve serve) {
    for (;;) {
        auto socket = co_await acceptor.async_accept(use_awaitable);
        socket.set_option(tcp::no_delay(true));
        // What is thrown is a client that has gone.
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
                                 return receive(std::make_shared<guest>(std::move(socket)), room);
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
