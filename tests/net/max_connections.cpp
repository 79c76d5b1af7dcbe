#include "as_client.hpp"
#include "catch.hpp"

#include <relais/net/max_connections.hpp>
#include <relais/testing/session.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

using namespace relais;
using relais::testing::as_client;
using namespace std::chrono_literals;

namespace {

// Says hello, and stays until the client has ended.
awaitable<> stay(connection& c) {
    c.downstream().try_write(std::string_view("hello"));
    std::byte one[1];
    while (c.downstream().try_read(one).state == io_state::would_block)
        co_await c.downstream().readable(1h);
}

bool let_in(testing::session const& s) {
    return s.received() == "hello" && !s.ended();
}

bool kept_out(testing::session const& s) {
    return s.received().empty() && s.ended();
}

} // namespace

TEST_CASE("no more connections than are allowed in all, and one more once one went",
          "[max_connections]") {
    auto const limit = max_connections({.total = 2});
    auto first = std::make_unique<testing::session>(limit | stay);
    testing::session second(limit | as_client("10.0.0.1") | stay); // copies count together
    CHECK(let_in(*first));
    CHECK(let_in(second));
    CHECK(kept_out(testing::session(limit | stay)));
    CHECK(kept_out(testing::session(limit | stay))); // who was kept out has left nothing behind
    first->shutdown_send();
    CHECK(first->ended());
    testing::session third(limit | stay);
    CHECK(let_in(third));
    CHECK(kept_out(testing::session(limit | stay)));
    second.reset();
    CHECK(let_in(testing::session(limit | stay)));
}

TEST_CASE("no more connections than are allowed from one address", "[max_connections]") {
    auto const limit = max_connections({.total = 6, .per_address = 2});
    auto const from = [&](std::string const& address) {
        return std::make_unique<testing::session>(as_client(address) | limit | stay);
    };
    auto a1 = from("10.0.0.1");
    auto a2 = from("10.0.0.1");
    CHECK(let_in(*a2));
    CHECK(kept_out(*from("10.0.0.1")));
    auto b = from("10.0.0.2");
    CHECK(let_in(*b));
    // A network of IPv6 is one client.
    auto c1 = from("2001:db8:0:1::1");
    auto c2 = from("2001:db8:0:1:ffff::2");
    CHECK(let_in(*c2));
    CHECK(kept_out(*from("2001:db8:0:1::3")));
    auto d = from("2001:db8:0:2::1");
    CHECK(let_in(*d));
    CHECK(kept_out(*from("10.0.0.3"))); // six there are
    a1->shutdown_send();
    CHECK(kept_out(*from("2001:db8:0:1::3")));
    CHECK(let_in(*from("10.0.0.1")));
}

TEST_CASE("clients of Unix sockets have no address to be counted by", "[max_connections]") {
    auto const limit = max_connections({.per_address = 1});
    testing::session one(as_client("unix:") | limit | stay);
    testing::session two(as_client("unix:") | limit | stay);
    CHECK(let_in(two));
}

TEST_CASE("a limit of nothing is a mistake", "[max_connections]") {
    CHECK_THROWS_WITH(max_connections({}).prepare(),
                      "max_connections(): no limit is given: write "
                      "max_connections({.total = 10000, .per_address = 100})");
}
