#include "catch.hpp"

#include <relais/testing/memory_stream.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <string>

namespace {

using namespace relais;
using relais::testing::memory_stream;

std::string read(stream& s, std::size_t most = 100) {
    std::string to(most, '\0');
    auto const got = s.try_read(std::as_writable_bytes(std::span(to)));
    if (got.state == io_state::would_block)
        return "(would block)";
    if (got.state == io_state::end)
        return "(end)";
    if (got.state == io_state::error)
        return "(error)";
    to.resize(got.count);
    return to;
}

awaitable<> wait_and_read(stream& s, std::string& into) {
    wait_result const why = co_await s.readable(std::chrono::milliseconds(0));
    into = why == wait_result::ready ? read(s) : "(not ready)";
}

awaitable<> wait_and_write(stream& s, bool& written) {
    wait_result const why = co_await s.writable(std::chrono::milliseconds(0));
    written = why == wait_result::ready && s.try_write("b").count == 1;
}

} // namespace

TEST_CASE("what is written to one end of a memory stream is read from the other", "[testing]") {
    auto [a, b] = memory_stream::make();
    CHECK(read(*b) == "(would block)");
    CHECK_FALSE(b->ready().readable);
    CHECK(a->try_write("hello").count == 5);
    CHECK(b->ready().readable);
    CHECK(read(*b, 3) == "hel");
    CHECK(b->ready().readable);
    CHECK(read(*b) == "lo");
    CHECK_FALSE(b->ready().readable);

    SECTION("half-close") {
        a->try_write("last");
        a->shutdown_send();
        CHECK(b->hung_up());
        CHECK(read(*b) == "last");
        CHECK(read(*b) == "(end)");
        CHECK(b->try_write("back").count == 4);
        CHECK(read(*a) == "back");
        CHECK(a->try_write("more").state == io_state::error);
    }
    SECTION("close") {
        a->try_write("last");
        a->close();
        CHECK(read(*b) == "last");
        CHECK(read(*b) == "(end)");
        CHECK(b->try_write("x").state == io_state::error);
        CHECK(read(*a) == "(error)");
    }
    SECTION("abort") {
        a->try_write("lost");
        a->abort();
        CHECK(read(*b) == "(error)");
        CHECK(b->try_write("x").state == io_state::error);
    }
    SECTION("an end that is gone is closed") {
        a.reset();
        CHECK(read(*b) == "(end)");
    }
    SECTION("failures come when they were asked for") {
        a->fail_after(1);
        CHECK(a->try_write("1").count == 1);
        CHECK(a->try_write("2").state == io_state::error);
        CHECK(read(*a) == "(error)");
    }
}

TEST_CASE("a memory stream reads and writes as little as it was told to", "[testing]") {
    auto [a, b] = memory_stream::make({.write_at_most = 4, .capacity = 6}, {.read_at_most = 1});
    CHECK(a->try_write("12345678").count == 4);
    CHECK(a->ready().writable); // short, but not full
    CHECK(a->try_write("5678").count == 2);
    CHECK_FALSE(a->ready().writable);
    CHECK(a->try_write("78").state == io_state::would_block);
    CHECK(read(*b) == "1");
    CHECK(a->ready().writable);
    CHECK(a->try_write("78").count == 1);
    a->set_capacity(100);
    CHECK(a->try_write("8").count == 1);
    CHECK(b->unread() == 7);
    CHECK(a->written() == 8);
}

TEST_CASE("who waits at a memory stream is woken from the event loop", "[testing]") {
    worker w;
    worker::scoped_current current(w);
    auto [a, b] = memory_stream::make({.capacity = 1});
    std::string got = "(waiting)";
    bool written = false;
    boost::asio::co_spawn(w.context(), wait_and_read(*b, got), boost::asio::detached);
    w.poll();
    CHECK(got == "(waiting)");
    CHECK(a->try_write("a").count == 1);
    CHECK(got == "(waiting)");
    boost::asio::co_spawn(w.context(), wait_and_write(*a, written), boost::asio::detached);
    w.poll();
    CHECK(got == "a");
    w.poll();
    CHECK(written);
    CHECK(read(*b) == "b");

    SECTION("by the other end's end too") {
        boost::asio::co_spawn(w.context(), wait_and_read(*b, got), boost::asio::detached);
        w.poll();
        a.reset();
        w.poll();
        CHECK(got == "(end)");
    }
}

TEST_CASE("a memory stream that goes with its worker leaves its other end alone", "[testing]") {
    std::unique_ptr<memory_stream> kept;
    {
        worker w;
        worker::scoped_current on(w);
        auto [one, other] = memory_stream::make();
        kept = std::move(other);
        auto holds = [](std::unique_ptr<memory_stream> s) -> awaitable<> {
            free_slot elsewhere;
            co_await wait_at(elsewhere, std::chrono::milliseconds(0));
            s->close();
        };
        boost::asio::co_spawn(w.context(), holds(std::move(one)), boost::asio::detached);
        w.poll();
    }
    CHECK(read(*kept) == "(end)");
}
