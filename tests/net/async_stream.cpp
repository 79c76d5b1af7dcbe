#include "catch.hpp"

#include <relais/net/async_stream.hpp>
#include <relais/testing/manual_clock.hpp>
#include <relais/testing/memory_stream.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>

#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;
namespace net = boost::asio;
namespace websockets = boost::beast::websocket;
using error_code = boost::system::error_code;

namespace {

struct trial {
    explicit trial(testing::memory_options options = {}) : w({.time = &clock}), on(w) {
        std::tie(near, far) = testing::memory_stream::make(options, options);
    }
    void settle() {
        while (w.poll() != 0)
            ;
    }
    // What a read or a write ended with.
    auto note() {
        return net::bind_cancellation_slot(cancel.slot(), [this](error_code e, std::size_t n) {
            error = e;
            count = n;
            ++ended;
        });
    }

    testing::manual_clock clock;
    worker w;
    worker::scoped_current on;
    net::cancellation_signal cancel;
    std::unique_ptr<testing::memory_stream> near, far;
    error_code error;
    std::size_t count = 0;
    int ended = 0;
};

awaitable<> serve(stream& s, std::string& seen) {
    websockets::stream<async_stream> ws{async_stream(s)};
    co_await ws.async_accept(net::use_awaitable);
    boost::beast::flat_buffer buffer;
    try {
        for (;;) {
            co_await ws.async_read(buffer, net::use_awaitable);
            std::string answer = "got " + boost::beast::buffers_to_string(buffer.data());
            buffer.clear();
            co_await ws.async_write(net::buffer(answer), net::use_awaitable);
        }
    } catch (boost::system::system_error const& e) {
        seen = e.code() == websockets::error::closed ? "closed" : e.code().message();
    }
}

awaitable<> talk(stream& s, std::string message, std::string& answer) {
    websockets::stream<async_stream> ws{async_stream(s)};
    co_await ws.async_handshake("a.example", "/", net::use_awaitable);
    co_await ws.async_write(net::buffer(message), net::use_awaitable);
    boost::beast::flat_buffer buffer;
    co_await ws.async_read(buffer, net::use_awaitable);
    answer = boost::beast::buffers_to_string(buffer.data());
    co_await ws.async_close(websockets::close_code::normal, net::use_awaitable);
    answer += ", closed";
}

} // namespace

TEST_CASE("async_stream: Beast's WebSocket runs over it, whatever the pieces") {
    auto most = GENERATE(std::size_t(1), std::size_t(3), std::size_t(1) << 20);
    auto size = GENERATE(std::size_t(5), std::size_t(10'000));
    trial t({.read_at_most = most, .write_at_most = most, .capacity = 2000});
    std::string server, client, message(size, 'm');
    net::co_spawn(t.w.context(), serve(*t.near, server), net::detached);
    net::co_spawn(t.w.context(), talk(*t.far, message, client), net::detached);
    t.settle();
    CHECK((client == "got " + message + ", closed"));
    CHECK(server == "closed");
}

TEST_CASE("async_stream: a read brings what is there, never on the caller's stack") {
    trial t;
    async_stream s(*t.near);
    std::string into(10, '\0');
    bool there = GENERATE(true, false);
    if (there)
        t.far->try_write("abc");
    s.async_read_some(net::buffer(into), t.note());
    CHECK(t.ended == 0);
    t.settle();
    CHECK(t.ended == (there ? 1 : 0));
    if (!there)
        t.far->try_write("abc");
    t.settle();
    CHECK(t.ended == 1);
    CHECK_FALSE(t.error);
    CHECK(into.substr(0, t.count) == "abc");
}

TEST_CASE("async_stream: several buffers are written in order, empty ones passed over") {
    trial t;
    async_stream s(*t.near);
    std::vector<net::const_buffer> parts(20, net::buffer("x", 1)); // more than one write takes
    parts.insert(parts.begin(), {net::const_buffer(), net::buffer("first ", 6)});
    net::async_write(s, parts, t.note());
    t.settle();
    CHECK(t.count == 26);
    std::string into(40, '\0');
    auto got = t.far->try_read(std::as_writable_bytes(std::span(into)));
    CHECK(into.substr(0, got.count) == "first " + std::string(20, 'x'));
    std::vector<net::mutable_buffer> room{net::mutable_buffer(), net::buffer(into)};
    t.far->try_write("back");
    s.async_read_some(room, t.note());
    t.settle();
    CHECK(into.substr(0, t.count) == "back");
}

TEST_CASE("async_stream: nothing asked for ends at once") {
    trial t;
    async_stream s(*t.near);
    s.async_read_some(net::mutable_buffer(), t.note());
    t.settle();
    s.async_write_some(net::const_buffer(), t.note());
    t.settle();
    CHECK(t.ended == 2);
    CHECK_FALSE(t.error);
}

TEST_CASE("async_stream: ends and errors as Asio's sockets report them") {
    trial t;
    async_stream s(*t.near);
    std::string into(10, '\0');
    s.async_read_some(net::buffer(into), t.note());
    t.settle();
    REQUIRE(t.ended == 0);
    SECTION("the peer's end") {
        t.far->shutdown_send();
        t.settle();
        CHECK(t.error == net::error::eof);
    }
    SECTION("a reset") {
        t.far->abort();
        t.settle();
        CHECK(t.error == net::error::connection_reset);
    }
    SECTION("its own close") {
        t.near->close();
        t.settle();
        CHECK(t.error == net::error::operation_aborted);
    }
    SECTION("cancellation, of each type") {
        t.cancel.emit(GENERATE(net::cancellation_type::terminal, net::cancellation_type::partial,
                               net::cancellation_type::total));
        t.settle();
        CHECK(t.error == net::error::operation_aborted);
    }
    CHECK(t.ended == 1);
    CHECK(t.count == 0);
}

TEST_CASE("async_stream: each wait has the limit") {
    trial t({.capacity = 10});
    async_stream s(*t.near, 5s);
    bool reads = GENERATE(true, false);
    std::string bytes(30, 'x');
    if (reads)
        net::async_read(s, net::buffer(bytes), t.note());
    else
        net::async_write(s, net::buffer(bytes), t.note());
    t.settle();
    t.clock.advance(t.w, 4s);
    std::byte room[10];
    if (reads)
        t.far->try_write("0123456789");
    else
        t.far->try_read(room);
    t.settle();
    t.clock.advance(t.w, 4900ms); // counts from the last progress
    CHECK(t.ended == 0);
    t.clock.advance(t.w, 300ms);
    CHECK(t.ended == 1);
    CHECK(t.error == net::error::timed_out);
    CHECK(t.count == (reads ? 10u : 20u));
}
