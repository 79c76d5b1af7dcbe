#include "catch.hpp"

#include <relais/net/pump.hpp>
#include <relais/testing/manual_clock.hpp>
#include <relais/testing/memory_stream.hpp>
#include <relais/websocket/tunnel.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

using namespace relais;
using namespace std::chrono_literals;

namespace {

// Two peers and a pump between them; the peers read all that comes as long as they are told to.
template <class Follower>
struct trial {
    explicit trial(testing::memory_options near = {}) : w({.time = &clock}), on(w) {
        std::tie(left, client) = testing::memory_stream::make(near, {});
        std::tie(right, upstream) = testing::memory_stream::make(near, {});
        pump.emplace(*left, *right, pump_limits{10s, 2s});
    }
    void start() {
        auto run = [](pump_pair<Follower>& p, std::optional<end_reason>& out) -> awaitable<> {
            out = co_await p.run();
        };
        boost::asio::co_spawn(w.context(), run(*pump, reason), boost::asio::detached);
        settle();
    }
    void settle() {
        for (std::size_t before = 1, after = 0; before != after;) {
            before = to_client.size() + to_upstream.size();
            while (w.poll() != 0)
                ;
            read(*client, to_client, client_saw);
            read(*upstream, to_upstream, upstream_saw);
            after = to_client.size() + to_upstream.size();
        }
        while (w.poll() != 0)
            ;
    }
    void read(testing::memory_stream& from, std::string& into, io_state& last) {
        std::byte piece[1000];
        while (reading) {
            auto got = from.try_read(piece);
            last = got.state;
            if (got.state != io_state::ok)
                return;
            into.append(reinterpret_cast<char const*>(piece), got.count);
        }
    }
    void send(testing::memory_stream& from, std::string_view bytes) {
        while (!bytes.empty()) {
            auto wrote = from.try_write(bytes);
            bytes.remove_prefix(wrote.count);
            settle();
            if (wrote.count == 0)
                FAIL("a peer cannot send");
        }
    }
    void pass(std::chrono::milliseconds time) {
        clock.advance(w, time);
        settle();
    }

    testing::manual_clock clock;
    worker w;
    worker::scoped_current on;
    std::unique_ptr<testing::memory_stream> left, client, right, upstream;
    std::optional<pump_pair<Follower>> pump;
    std::optional<end_reason> reason;
    std::string to_client, to_upstream;
    io_state client_saw = io_state::ok, upstream_saw = io_state::ok;
    bool reading = true;
};

using plain = trial<no_follower>;

std::string pattern(std::size_t size, char seed) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i)
        text[i] = static_cast<char>(seed + static_cast<char>(i * 7 % 61));
    return text;
}

} // namespace

TEST_CASE("pump: all bytes arrive, both ways, however small the pieces") {
    auto most = GENERATE(std::size_t(1), std::size_t(7), std::size_t(4096), std::size_t(1) << 20);
    auto capacity = GENERATE(std::size_t(3), std::size_t(64 * 1024));
    plain t({.read_at_most = most, .write_at_most = most, .capacity = capacity});
    t.start();
    auto right = pattern(3000, '0'), left = pattern(2500, '@');
    t.send(*t.client, right);
    t.send(*t.upstream, left);
    CHECK(t.to_upstream == right);
    CHECK(t.to_client == left);
    CHECK(t.pump->moved_right() == right.size());
    CHECK(t.pump->moved_left() == left.size());
    CHECK_FALSE(t.reason);
}

TEST_CASE("pump: one end is passed on and the other direction goes on, in both orders") {
    plain t;
    t.start();
    bool client_first = GENERATE(true, false);
    auto& first = client_first ? *t.client : *t.upstream;
    auto& second = client_first ? *t.upstream : *t.client;
    auto& at_second = client_first ? t.to_upstream : t.to_client;
    auto& at_first = client_first ? t.to_client : t.to_upstream;
    t.send(first, "question");
    first.shutdown_send();
    t.settle();
    CHECK(at_second == "question");
    CHECK((client_first ? t.upstream_saw : t.client_saw) == io_state::end);
    CHECK((client_first ? t.client_saw : t.upstream_saw) == io_state::would_block);
    CHECK_FALSE(t.reason);
    t.send(second, "the longer answer");
    CHECK(at_first == "the longer answer");
    second.shutdown_send();
    t.settle();
    CHECK((client_first ? t.client_saw : t.upstream_saw) == io_state::end);
    CHECK(t.reason == end_reason::completed);
    CHECK((t.left->ready().closed && t.right->ready().closed));
}

TEST_CASE("pump: what was sent right before an end arrives, though the peer reads late") {
    plain t({.capacity = 100});
    t.reading = false;
    t.start();
    auto text = pattern(5000, '0');
    t.client->try_write(text);
    t.client->shutdown_send();
    t.settle();
    CHECK(t.upstream->unread() == 100);
    t.reading = true;
    t.settle();
    CHECK(t.to_upstream == text);
    CHECK(t.upstream_saw == io_state::end);
}

TEST_CASE(
    "pump: a slow reader holds the sender back, and never more than a scratch buffer is kept") {
    plain t({.capacity = 1000});
    t.client->set_capacity(1 << 20);
    t.reading = false;
    t.start();
    std::size_t sent = 0;
    std::string const piece(100 * 1024, 'x');
    for (io_result wrote; (wrote = t.client->try_write(piece)).count != 0; t.settle()) {
        sent += wrote.count;
        REQUIRE(sent < 4u << 20);
    }
    CHECK(sent <= (1 << 20) + worker::scratch_size + 1000);
    t.reading = true;
    t.settle();
    CHECK(t.to_upstream.size() == sent);
}

TEST_CASE("pump: a reset of one side becomes a reset of the other, and says which") {
    plain t;
    t.start();
    bool of_client = GENERATE(true, false);
    (of_client ? t.client : t.upstream)->abort();
    t.settle();
    CHECK(t.reason ==
          (of_client ? end_reason::tunnel_client_reset : end_reason::tunnel_upstream_reset));
    CHECK((of_client ? t.upstream_saw : t.client_saw) == io_state::error);
}

TEST_CASE("pump: a write that fails ends both, and says which side") {
    plain t;
    t.start();
    t.right->fail_after(1); // the read that finds nothing, then the write
    t.send(*t.client, "a");
    t.send(*t.client, "b");
    CHECK(t.reason == end_reason::tunnel_upstream_reset);
    CHECK(t.client_saw == io_state::error);
}

TEST_CASE("pump: idle counts from the last byte of either direction") {
    plain t;
    t.start();
    t.pass(9s);
    bool from_client = GENERATE(true, false);
    t.send(from_client ? *t.client : *t.upstream, "still here");
    t.pass(9500ms);
    CHECK_FALSE(t.reason);
    t.pass(1s);
    CHECK(t.reason == end_reason::tunnel_idle);
    CHECK(t.client_saw == io_state::end);
    CHECK(t.upstream_saw == io_state::end);
}

TEST_CASE("pump: a peer that takes nothing is idle too") {
    plain t({.capacity = 10});
    t.reading = false;
    t.start();
    t.client->try_write("more than ten bytes");
    t.settle();
    t.pass(9s);
    CHECK_FALSE(t.reason);
    t.pass(2s);
    CHECK(t.reason == end_reason::tunnel_idle);
}

TEST_CASE("pump: once one side has ended the other may be quiet for the linger time only") {
    plain t;
    t.start();
    bool client_first = GENERATE(true, false);
    t.pass(5s);
    (client_first ? t.client : t.upstream)->shutdown_send();
    t.settle();
    t.pass(1500ms);
    t.send(client_first ? *t.upstream : *t.client, "a byte");
    t.pass(1900ms);
    CHECK_FALSE(t.reason);
    t.pass(300ms);
    CHECK(t.reason == end_reason::tunnel_linger);
}

namespace {

// Takes bytes that it can pass on only later, as TLS does.
struct holding final : stream {
    explicit holding(stream& b) : stream(&b.ready()), below(b) {}
    io_result try_read(std::span<std::byte> to) override { return below.try_read(to); }
    io_result try_write(std::span<boost::asio::const_buffer const> from) override {
        if (!held.empty())
            return {0, io_state::would_block};
        for (auto const& part : from)
            held.append(static_cast<char const*>(part.data()), part.size());
        auto size = held.size();
        try_flush();
        return {size, io_state::ok};
    }
    io_result try_flush() override {
        if (held.empty())
            return {};
        auto wrote = below.try_write(std::string_view(held));
        held.erase(0, wrote.count);
        if (wrote.state != io_state::ok)
            return {0, wrote.state};
        return {0, held.empty() ? io_state::ok : io_state::would_block};
    }
    void shutdown_send() override { below.shutdown_send(); }
    void close() noexcept override { below.close(); }
    void abort() noexcept override { below.abort(); }
    stream& below;
    std::string held;
};

// Cannot write for want of memory.
struct exhausted final : stream {
    explicit exhausted(stream& b) : stream(&b.ready()), below(b) {}
    io_result try_read(std::span<std::byte> to) override { return below.try_read(to); }
    io_result try_write(std::span<boost::asio::const_buffer const>) override {
        throw std::bad_alloc();
    }
    void shutdown_send() override { below.shutdown_send(); }
    void close() noexcept override { below.close(); }
    void abort() noexcept override { below.abort(); }
    stream& below;
};

std::string const close_down = "\x88\x02\x03\xe9";
std::string const close_up = "\x88\x82\x01\x02\x03\x04\x02\xeb";

} // namespace

TEST_CASE("pump: what a layer holds goes out though nothing more comes") {
    auto text = pattern(500, '0');
    plain t({.capacity = 10});
    holding layer(*t.right);
    t.pump.emplace(*t.left, layer, pump_limits{10s, 2s});
    SECTION("what was read") {
        t.start();
        t.client->try_write(text);
    }
    SECTION("what was there before") {
        t.pump->preload(text, {});
        t.start();
    }
    t.settle();
    CHECK(t.to_upstream == text);
    CHECK_FALSE(t.reason);
}

TEST_CASE("pump: a farewell that a layer holds goes out as well") {
    trial<tunnel_follower> t({.capacity = 3});
    holding layer(*t.right);
    t.pump.emplace(*t.left, layer, pump_limits{10s, 2s});
    t.start();
    t.pump->end_with(close_up, close_down);
    t.settle();
    CHECK(t.to_upstream == close_up);
    CHECK(t.to_client == close_down);
}

TEST_CASE("pump: without memory for one direction both end") {
    plain t;
    exhausted none(*t.right);
    t.pump.emplace(*t.left, none, pump_limits{10s, 2s});
    t.start();
    t.send(*t.client, "a");
    CHECK(t.reason == end_reason::tunnel_upstream_reset);
    CHECK(t.client_saw == io_state::error);
    CHECK(t.upstream_saw == io_state::error);
}

TEST_CASE("pump: one turn moves a MiB or little more") {
    constexpr std::size_t all = 4u << 20;
    plain t({.capacity = all});
    t.client->set_capacity(all);
    t.reading = false;
    t.start();
    REQUIRE(t.client->try_write(std::string(all, 'x')).count == all);
    std::uint64_t before = 0, most = 0;
    std::function<void()> others = [&] { // who else has something to do on this worker
        auto now = t.pump->moved_right();
        most = std::max(most, now - before);
        before = now;
        if (now < all)
            t.w.post(others);
    };
    t.w.post(others);
    t.settle();
    CHECK(before == all);
    CHECK(most <= (1u << 20) + worker::scratch_size);
}

TEST_CASE("pump: the linger time holds for who waits to write, too") {
    plain t({.capacity = 10});
    t.reading = false;
    t.start();
    t.upstream->try_write("more than ten bytes");
    SECTION("once the other side has ended") {
        t.settle();
        t.client->shutdown_send();
    }
    SECTION("once both are to end") {
        t.client->try_write("more than ten bytes");
        t.settle();
        t.pump->end_with({}, {});
    }
    t.settle();
    t.pass(1900ms);
    CHECK_FALSE(t.reason);
    t.pass(300ms);
    CHECK(t.reason);
}

TEST_CASE("pump: a side that is closed here is no reset of a peer, though nobody waits on it") {
    plain t;
    bool const the_left = GENERATE(true, false);
    t.client->try_write(std::string_view("hello"));
    t.upstream->try_write(std::string_view("hello"));
    (the_left ? t.left : t.right)->close();
    t.start();
    CHECK(t.reason == end_reason::shutting_down);
}

TEST_CASE("pump: a side that is closed here is no reset of a peer") {
    plain t;
    t.start();
    bool the_left = GENERATE(true, false);
    t.w.post([&] { (the_left ? t.left : t.right)->close(); });
    t.settle();
    CHECK(t.reason == end_reason::shutting_down);
    CHECK(t.client_saw == io_state::end);
    CHECK(t.upstream_saw == io_state::end);
}
