#include "catch.hpp"

#include <relais/core/awaitable.hpp>
#include <relais/upstream/impl/waiting_line.hpp>
#include <relais/upstream/server.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

using namespace relais;
using namespace std::chrono_literals;

namespace {

struct shop {
    std::shared_ptr<detail::server_events> events = std::make_shared<detail::server_events>(1000);
    upstream_server server{"127.0.0.1:1", server_health_options(), events};
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    std::atomic<int> served{0};
    std::atomic<int> forgotten{0};
};

awaitable<> visit(shop& s, int times) {
    for (int i = 0; i < times; ++i) {
        detail::waiting_line::place place({s.events, &s.events->line});
        while (!s.server.try_enter()) {
            (void)place.stand();
            if (s.server.try_enter())
                break;
            if (co_await place.called(20s) != wait_result::ready)
                ++s.forgotten;
        }
        place.serve();
        auto const now = ++s.inside;
        for (auto seen = s.most.load(); now > seen && !s.most.compare_exchange_weak(seen, now);) {
        }
        co_await boost::asio::post(worker::current().context(), boost::asio::deferred);
        --s.inside;
        ++s.served;
        s.server.leave();
    }
}

// Coroutines on a worker of its own, until all have ended.
void crowd(shop& s, int visitors, int times) {
    worker w;
    auto work = boost::asio::make_work_guard(w.context());
    int left = visitors;
    for (int i = 0; i < visitors; ++i)
        boost::asio::co_spawn(w.context(), visit(s, times), [&](std::exception_ptr) {
            if (--left == 0)
                w.stop();
        });
    w.run();
}

} // namespace

TEST_CASE(
    "waiting line: of several workers nobody is forgotten, and never are more inside than may be") {
    shop s;
    s.server.set_limit(2);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&s] { crowd(s, 20, 50); });
    for (auto& t : threads)
        t.join();
    CHECK(s.served == 3 * 20 * 50);
    CHECK(s.most == 2);
    CHECK(s.forgotten == 0);
    CHECK(s.server.active() == 0);
    CHECK(s.events->line.size() == 0);
}

TEST_CASE("waiting line: a worker may end while somebody of it waits, and another one calls") {
    shop s;
    s.server.set_limit(1);
    REQUIRE(s.server.try_enter());
    std::atomic<bool> over{false};
    std::thread caller([&] {
        while (!over)
            s.events->line.call_next();
    });
    for (int i = 0; i < 200; ++i) {
        worker w;
        worker::scoped_current on(w);
        boost::asio::co_spawn(w.context(), visit(s, 1), [](std::exception_ptr) {});
        for (int j = 0; j < i % 4; ++j)
            w.poll();
    }
    over = true;
    caller.join();
    CHECK(s.events->line.size() == 0);
    CHECK(s.server.active() == 1);
    s.server.leave();
}
