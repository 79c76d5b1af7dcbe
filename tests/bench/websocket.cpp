// WebSockets for the benchmark: a server that sends back what comes, and clients that wait for what they sent.
//
//   bench_websocket echo HOST PORT
//   bench_websocket talk HOST PORT tls|plain CONNECTIONS SIZE WINDOW SECONDS    prints how many messages came back
//   bench_websocket hold HOST PORT tls|plain CONNECTIONS                        prints "ready", ends with standard input

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;

namespace {

constexpr auto no_throw = asio::as_tuple(use_awaitable);

// Messages are binary, uncompressed and not looked at.
template <class Stream>
void prepare(beast::websocket::stream<Stream>& socket) {
    beast::websocket::permessage_deflate none;
    none.client_enable = none.server_enable = false;
    socket.set_option(none);
    socket.binary(true);
    socket.auto_fragment(false);
}

awaitable<void> echo(tcp::socket taken) {
    beast::websocket::stream<tcp::socket> socket(std::move(taken));
    prepare(socket);
    auto [failed] = co_await socket.async_accept(no_throw);
    beast::flat_buffer buffer;
    while (!failed) {
        auto [unread, size] = co_await socket.async_read(buffer, no_throw);
        failed = unread;
        if (!failed) {
            auto [unsent, sent] = co_await socket.async_write(buffer.data(), no_throw);
            failed = unsent;
            buffer.consume(size);
        }
    }
}

awaitable<void> serve(tcp::endpoint where) {
    auto executor = co_await asio::this_coro::executor;
    tcp::acceptor acceptor(executor, where);
    for (;;) {
        auto [failed, socket] = co_await acceptor.async_accept(no_throw);
        if (!failed) {
            socket.set_option(tcp::no_delay(true));
            asio::co_spawn(executor, echo(std::move(socket)), asio::detached);
        }
    }
}

struct clients {
    tcp::endpoint where;
    bool tls = false;
    std::size_t connections = 1;
    std::size_t size = 0;
    std::size_t window = 1;

    std::size_t open = 0;
    std::uint64_t returned = 0;
    bool over = false;
    asio::ssl::context context{asio::ssl::context::tls_client};
};

template <class Stream>
awaitable<void> talk(beast::websocket::stream<Stream>& socket, clients& all) {
    prepare(socket);
    co_await socket.async_handshake("bench.example", "/ws", use_awaitable);
    ++all.open;
    std::string message(all.size, 'x');
    beast::flat_buffer buffer;
    for (std::size_t i = 0; i < all.window && all.size; ++i)
        co_await socket.async_write(asio::buffer(message), use_awaitable);
    while (!all.over) {
        buffer.clear();
        co_await socket.async_read(buffer, use_awaitable); // holds who has nothing to say, too
        ++all.returned;
        co_await socket.async_write(asio::buffer(message), use_awaitable);
    }
}

awaitable<void> connect(clients& all) {
    auto executor = co_await asio::this_coro::executor;
    if (all.tls) {
        beast::websocket::stream<asio::ssl::stream<tcp::socket>> socket(executor, all.context);
        co_await beast::get_lowest_layer(socket).async_connect(all.where, use_awaitable);
        beast::get_lowest_layer(socket).set_option(tcp::no_delay(true));
        co_await socket.next_layer().async_handshake(asio::ssl::stream_base::client, use_awaitable);
        co_await talk(socket, all);
    } else {
        beast::websocket::stream<tcp::socket> socket(executor);
        co_await socket.next_layer().async_connect(all.where, use_awaitable);
        socket.next_layer().set_option(tcp::no_delay(true));
        co_await talk(socket, all);
    }
}

[[noreturn]] void give_up(std::exception_ptr why) {
    try {
        std::rethrow_exception(why);
    } catch (std::exception const& error) {
        std::cerr << "bench_websocket: " << error.what() << "\n";
    }
    std::_Exit(1);
}

// One after another, so that no queue of a listener runs over.
awaitable<void> connect_all(clients& all) {
    auto executor = co_await asio::this_coro::executor;
    asio::steady_timer turn(executor);
    for (std::size_t i = 0; i < all.connections; ++i) {
        asio::co_spawn(executor, connect(all), [&all](std::exception_ptr why) {
            if (why && !all.over)
                give_up(why);
        });
        while (all.open <= i) {
            turn.expires_after(std::chrono::microseconds(100));
            co_await turn.async_wait(use_awaitable);
        }
    }
}

} // namespace

int main(int count, char** words) {
    auto word = [&](int i) { return std::string(i < count ? words[i] : ""); };
    auto number = [&](int i) { return static_cast<std::size_t>(std::atol(word(i).c_str())); };
    asio::io_context context(1);
    tcp::endpoint where(asio::ip::make_address(word(2)), static_cast<std::uint16_t>(number(3)));
    if (word(1) == "echo") {
        asio::co_spawn(context, serve(where), asio::detached);
        context.run();
        return 0;
    }
    clients all;
    all.where = where;
    all.tls = word(4) == "tls";
    all.connections = number(5);
    bool talks = word(1) == "talk";
    if (talks) {
        all.size = number(6);
        all.window = number(7);
    }
    asio::co_spawn(context, connect_all(all), asio::detached);
    while (all.open < all.connections)
        context.run_one();
    std::cout << "ready" << std::endl;
    if (talks) {
        all.returned = 0;
        context.run_for(std::chrono::seconds(number(8)));
        std::cout << all.returned << std::endl;
    } else {
        std::string line;
        while (std::getline(std::cin, line)) {
        }
    }
    all.over = true;
    std::_Exit(0); // connections end as they are
}
