#include "catch.hpp"

#include <relais/core/error.hpp>
#include <relais/http/exchange.hpp>
#include <relais/upstream/balance.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

using namespace relais;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

// Servers called a, b, c ..., which can be given requests.
struct group {
    explicit group(std::vector<double> const& weights) : active(weights.size()) {
        for (std::size_t i = 0; i < weights.size(); ++i)
            list.push_back(
                {server_id(std::string(1, static_cast<char>('a' + i))), weights[i], &active[i]});
    }

    std::string name(std::size_t i) const {
        for (char c = 'a'; c <= 'z'; ++c)
            if (server_id(std::string(1, c)) == list[i].id)
                return {c};
        return "?";
    }

    std::vector<std::atomic<std::uint32_t>> active;
    std::vector<candidate> list;
};

std::string sequence(chooser& c, group const& g, int count) {
    exchange x;
    std::string names;
    for (int i = 0; i < count; ++i)
        names += g.name(c.choose(x));
    return names;
}

// How often each index is chosen while nothing is under way.
std::vector<double> shares(chooser& c, std::size_t servers, int count) {
    exchange x;
    std::vector<double> share(servers);
    for (int i = 0; i < count; ++i)
        share[c.choose(x)] += 1.0 / count;
    return share;
}

std::vector<std::size_t> placed(chooser& c, int keys) {
    std::vector<std::size_t> where;
    exchange x;
    for (int i = 0; i < keys; ++i) {
        x.set_client_address("10." + std::to_string(i / 65536) + "." +
                             std::to_string(i / 256 % 256) + "." + std::to_string(i % 256));
        where.push_back(c.choose(x));
    }
    return where;
}

balancing by_path(double bound) {
    return hash_by([](exchange& x) { return x.request["X-Key"]; }, {.bound = bound});
}

std::string const key = "0123456789abcdef0123456789abcdef";

// The cookie that an answer of one of the group's sets; empty where none is set.
std::string cookie_of(chooser& c, exchange& x, candidate const& by) {
    x.response.reset();
    c.answered(x, by);
    auto const line = x.response["Set-Cookie"];
    return std::string(line.substr(0, line.find(';')));
}

} // namespace

TEST_CASE("balance: round robin mixes the servers as nginx does") {
    group g({5, 1, 1});
    auto const c = round_robin().among(g.list, nullptr);
    CHECK(sequence(*c, g, 14) == "aabacaaaabacaa");

    group equal({1, 1, 1});
    CHECK(sequence(*round_robin().among(equal.list, nullptr), equal, 7) == "abcabca");

    group two({3, 2});
    CHECK(sequence(*round_robin().among(two.list, nullptr), two, 10) == "ababaababa");

    group one({4});
    CHECK(sequence(*round_robin().among(one.list, nullptr), one, 3) == "aaa");
}

TEST_CASE("balance: round robin goes on where the one before was") {
    group g({1, 1, 1});
    auto const before = round_robin().among(g.list, nullptr);
    CHECK(sequence(*before, g, 2) == "ab");
    CHECK(sequence(*round_robin().among(g.list, before.get()), g, 3) == "cab");

    // a goes, and what c was about to get it still gets
    auto less = g.list;
    less.erase(less.begin());
    group rest({1, 1});
    rest.list = less;
    CHECK(sequence(*round_robin().among(less, before.get()), rest, 6) == "ccbcbc");

    // in another order
    std::reverse(rest.list.begin(), rest.list.end());
    CHECK(sequence(*round_robin().among(rest.list, before.get()), rest, 6) == "ccbcbc");

    // and none of another rule
    auto const other = two_choices().among(g.list, nullptr);
    CHECK(sequence(*round_robin().among(g.list, other.get()), g, 3) == "abc");
}

TEST_CASE("balance: fewest connections for the weight") {
    group g({1, 2, 4});
    auto const c = least_connections().among(g.list, nullptr);
    exchange x;
    auto const chosen = [&](std::uint32_t a, std::uint32_t b, std::uint32_t d) {
        g.active[0] = a;
        g.active[1] = b;
        g.active[2] = d;
        return g.name(c->choose(x));
    };
    CHECK(chosen(1, 1, 3) == "b");
    CHECK(chosen(1, 3, 3) == "c");
    CHECK(chosen(0, 1, 1) == "a");
    CHECK(chosen(7, 15, 29) == "a");

    // ones that have as few, by fractions that no double holds, take turns by weight
    group thirds({3, 3, 3, 1});
    auto const d = least_connections().among(thirds.list, nullptr);
    for (auto const i : {0, 1, 2})
        thirds.active[static_cast<std::size_t>(i)] = 3;
    thirds.active[3] = 1;
    CHECK(sequence(*d, thirds, 10) == "abcdabcabc");
    thirds.active[1] = 4;
    auto const some = sequence(*d, thirds, 70);
    CHECK(std::count(some.begin(), some.end(), 'a') == 30);
    CHECK(std::count(some.begin(), some.end(), 'c') == 30);
    CHECK(std::count(some.begin(), some.end(), 'd') == 10);

    // each goes to where there is least, and so they fill up evenly
    group filled({1, 2, 4});
    auto const e = least_connections().among(filled.list, nullptr);
    for (int i = 0; i < 700; ++i)
        ++filled.active[e->choose(x)];
    CHECK(filled.active[0] == 100);
    CHECK(filled.active[1] == 200);
    CHECK(filled.active[2] == 400);
}

TEST_CASE("balance: fewest connections goes on where the one before was") {
    group g({1, 1, 1});
    auto const before = least_connections().among(g.list, nullptr);
    CHECK(sequence(*before, g, 2) == "ab");
    CHECK(sequence(*least_connections().among(g.list, before.get()), g, 3) == "cab");
}

TEST_CASE("balance: two choices draw by weight and take the less loaded one") {
    group g({1, 2, 5});
    auto const c = two_choices().among(g.list, nullptr, 1);
    auto const idle = shares(*c, 3, 80000);
    // Nothing is under way: the one drawn first. Five standard deviations are 0.009.
    CHECK(idle[0] == Approx(0.125).margin(0.009));
    CHECK(idle[1] == Approx(0.25).margin(0.009));
    CHECK(idle[2] == Approx(0.625).margin(0.009));

    // The most loaded one of two different ones is never taken; the least loaded is, whenever it is drawn.
    g.active[0] = 3, g.active[1] = 4, g.active[2] = 5;
    auto const loaded = shares(*c, 3, 80000);
    CHECK(loaded[0] == 0); // 3 > 4 / 2 and 5 / 5
    CHECK(loaded[2] > 0.8);
    CHECK(loaded[1] > 0.05);
    CHECK(loaded[0] + loaded[1] + loaded[2] == Approx(1));

    // the more, the less likely is one that is twice as full as it should be
    group many(std::vector<double>(20, 1));
    auto const d = two_choices().among(many.list, nullptr, 2);
    exchange x;
    for (int i = 0; i < 2000; ++i)
        ++many.active[d->choose(x)];
    for (auto const& active : many.active)
        CHECK(std::abs(static_cast<int>(active) - 100) < 6);

    // one of nearly all the weight leaves something to others
    group odd({1e6, 1});
    odd.active[0] = 5'000'000;
    CHECK(shares(*two_choices().among(odd.list, nullptr, 3), 2, 100)[1] > 0.99);

    group alone({2});
    CHECK(sequence(*two_choices().among(alone.list, nullptr), alone, 3) == "aaa");
}

TEST_CASE("balance: what is drawn at random differs by seed and goes on") {
    group g(std::vector<double>(10, 1));
    auto const draw = [&](std::optional<std::uint64_t> seed) {
        return sequence(*two_choices().among(g.list, nullptr, seed), g, 40);
    };
    CHECK(draw(1) == draw(1));
    CHECK(draw(1) != draw(2));
    CHECK(draw({}) != draw({}));

    auto const one = two_choices().among(g.list, nullptr, 7);
    auto const other = two_choices().among(g.list, nullptr, 7);
    CHECK(sequence(*one, g, 5) == sequence(*other, g, 5));
    auto const after = two_choices().among(g.list, other.get(), 99);
    CHECK(sequence(*one, g, 20) == sequence(*after, g, 20));
}

TEST_CASE("balance: hashing keeps a key at its server, and shares keys by weight") {
    constexpr int keys = 100'000;
    group g({1, 1, 2, 4});
    auto const c = hash_client_address().among(g.list, nullptr);
    auto const where = placed(*c, keys);
    CHECK(where == placed(*hash_client_address().among(g.list, nullptr, 5), keys));
    for (std::size_t i = 0; i < 4; ++i) {
        auto const share = g.list[i].weight / 8;
        auto const got = static_cast<double>(std::count(where.begin(), where.end(), i)) / keys;
        CAPTURE(i);
        CHECK(std::abs(got - share) < 4 * std::sqrt(share * (1 - share) / keys));
    }
}

TEST_CASE("balance: a server more or less moves its own keys only") {
    constexpr int keys = 50'000;
    for (std::size_t const n : {1u, 2u, 5u, 20u}) {
        CAPTURE(n);
        group g(std::vector<double>(n + 1, 1));
        auto const all = placed(*hash_client_address().among(g.list, nullptr), keys);
        auto const fewer = std::span(g.list).first(n);
        auto const before = placed(*hash_client_address().among(fewer, nullptr), keys);
        int moved = 0;
        std::map<std::size_t, int> from;
        for (std::size_t i = 0; i < keys; ++i)
            if (all[i] != before[i]) {
                REQUIRE(all[i] == n); // to the new one, never among the others
                ++moved;
                ++from[before[i]];
            }
        auto const p = 1.0 / static_cast<double>(n + 1);
        CHECK(std::abs(moved / double(keys) - p) < 4 * std::sqrt(p * (1 - p) / keys));
        CHECK(from.size() == n); // a share of each of them
    }

    // another order is no change
    group g({1, 2, 3});
    auto const before = placed(*hash_client_address().among(g.list, nullptr), 1000);
    std::reverse(g.list.begin(), g.list.end());
    auto const after = placed(*hash_client_address().among(g.list, nullptr), 1000);
    for (std::size_t i = 0; i < 1000; ++i)
        REQUIRE(after[i] == 2 - before[i]);

    // more weight takes keys from all others and gives none away
    group h({1, 1, 1});
    auto const even = placed(*hash_client_address().among(h.list, nullptr), 10'000);
    h.list[1].weight = 2;
    auto const heavy = placed(*hash_client_address().among(h.list, nullptr), 10'000);
    for (std::size_t i = 0; i < 10'000; ++i)
        REQUIRE((heavy[i] == even[i] || heavy[i] == 1));
    CHECK(std::count(heavy.begin(), heavy.end(), 1u) == Approx(5000).margin(200));
}

TEST_CASE("balance: where keys and servers are is the same in every release and on every machine") {
    CHECK(server_id("") == 0xf598333d8025f6c3u);
    CHECK(server_id("10.0.0.1:8080") == 0xdc6d357ddd1e00b9u);
    CHECK(server_id("http://unix:/run/app.sock:/") == 0x7335482cfb2c7fa5u);
    group g({1, 2, 1, 1});
    auto const where = placed(*hash_client_address().among(g.list, nullptr), 24);
    std::string names;
    for (auto const i : where)
        names += g.name(i);
    CHECK(names == "bdcddabbdbcdbdbddcbbabbc");
}

TEST_CASE("balance: no server gets more of a key than its bound") {
    group g({1, 1, 2});
    auto const c = by_path(1.25).among(g.list, nullptr, 1);
    exchange x;
    x.request.set("X-Key", "hot");
    auto const home = c->choose(x);
    for (int total = 1; total <= 400; ++total) {
        auto const i = c->choose(x);
        ++g.active[i];
        REQUIRE(g.active[i] <= std::ceil(1.25 * total * g.list[i].weight / 4));
    }
    for (auto const& active : g.active)
        CHECK(active > 0);
    CHECK(g.active[home] == std::ceil(1.25 * 400 * g.list[home].weight / 4));

    // what overflows goes to the key's next one, not to all others
    group many(std::vector<double>(10, 1));
    auto const d = by_path(2).among(many.list, nullptr, 1);
    for (int i = 0; i < 100; ++i)
        ++many.active[d->choose(x)];
    CHECK(std::count_if(many.active.begin(), many.active.end(), [](auto& a) { return a > 0; }) ==
          5);

    // without a bound it is one server
    group all({1, 1, 1});
    auto const e = by_path(0).among(all.list, nullptr, 1);
    for (int i = 0; i < 100; ++i)
        ++all.active[e->choose(x)];
    CHECK(std::count_if(all.active.begin(), all.active.end(), [](auto& a) { return a == 100; }) ==
          1);
}

TEST_CASE("balance: requests without a key are shared") {
    group g({1, 1, 1, 1});
    auto const c = by_path(1.25).among(g.list, nullptr, 1);
    for (auto const share : shares(*c, 4, 4000))
        CHECK(share == Approx(0.25).margin(0.04));
}

TEST_CASE("balance: a key may be made for the request") {
    auto const text = [](exchange& x) { return "id-" + std::string(x.request["X-Key"]) + "!"; };
    group g(std::vector<double>(8, 1));
    auto const c = hash_by(text, {.bound = 0}).among(g.list, nullptr);
    exchange x;
    std::set<std::size_t> used;
    for (int i = 0; i < 100; ++i) {
        x.request.set("X-Key", std::to_string(i));
        used.insert(c->choose(x));
        REQUIRE(c->choose(x) == c->choose(x));
    }
    CHECK(used.size() == 8);
}

TEST_CASE("balance: a bound that cannot be kept to is found at start") {
    CHECK_NOTHROW(by_path(0).prepare());
    CHECK_NOTHROW(by_path(1.01).prepare());
    for (double const bound : {1.0, 0.5, -1.0, std::nan(""), HUGE_VAL}) {
        CAPTURE(bound);
        CHECK_THROWS_AS(by_path(bound).prepare(), startup_error);
    }
    CHECK_NOTHROW(round_robin().prepare());
}

TEST_CASE("balance: a client comes back to its server by its cookie") {
    group g(std::vector<double>(6, 1));
    auto const rule = sticky_cookie({.key = key});
    auto const c = rule.among(g.list, nullptr, 1);
    std::set<std::string> cookies;
    for (auto const& server : g.list) {
        exchange x;
        auto const cookie = cookie_of(*c, x, server);
        REQUIRE(cookie.starts_with("route="));
        REQUIRE(cookie.size() == 6 + 43);
        cookies.insert(cookie);

        // to its server, on other workers and gateways too, and no new cookie
        exchange again;
        again.request.set("Cookie", "a=b; " + cookie + "; c=d");
        auto const elsewhere = sticky_cookie({.key = key}).among(g.list, nullptr, 2);
        for (int i = 0; i < 20; ++i) {
            REQUIRE(g.list[c->choose(again)].id == server.id);
            REQUIRE(g.list[elsewhere->choose(again)].id == server.id);
        }
        CHECK(cookie_of(*c, again, server).empty());

        // another one answered after all
        auto const& other = g.list[&server == &g.list[0] ? 1 : 0];
        auto const moved = cookie_of(*c, again, other);
        CHECK(moved.starts_with("route="));
        CHECK(moved != cookie);
    }
    CHECK(cookies.size() == 6);
}

TEST_CASE("balance: a cookie that is not good counts as none") {
    group g(std::vector<double>(6, 1));
    auto const c = sticky_cookie({.key = key}).among(g.list, nullptr, 1);
    exchange first;
    auto const good = cookie_of(*c, first, g.list[2]);
    auto const of_other_key =
        sticky_cookie({.key = "fedcba9876543210fedcba9876543210"}).among(g.list, nullptr, 1);
    auto const of_other_name =
        sticky_cookie({.name = "path", .key = key}).among(g.list, nullptr, 1);
    auto const is_shared = [&](std::string const& cookie) {
        exchange x;
        x.request.set("Cookie", cookie);
        std::set<std::size_t> used;
        for (int i = 0; i < 100; ++i)
            used.insert(c->choose(x));
        return used.size() == 6 && cookie_of(*c, x, g.list[2]) == good;
    };
    CHECK_FALSE(is_shared(good));
    CHECK(is_shared(""));
    CHECK(is_shared("route="));
    CHECK(is_shared("route=2"));
    CHECK(is_shared(good + "A"));
    CHECK(is_shared(good.substr(0, good.size() - 1)));
    CHECK(is_shared(cookie_of(*of_other_key, first, g.list[2])));
    auto named = cookie_of(*of_other_name, first, g.list[2]);
    CHECK(is_shared("route=" + named.substr(5)));
    for (std::size_t at = 6; at < good.size(); ++at) {
        auto forged = good;
        forged[at] = forged[at] == 'A' ? 'B' : 'A';
        CAPTURE(forged);
        CHECK(is_shared(forged));
    }

    // gone
    auto rest = g.list;
    rest.erase(rest.begin() + 2);
    auto const without = sticky_cookie({.key = key}).among(rest, nullptr, 1);
    exchange x;
    x.request.set("Cookie", good);
    std::set<std::size_t> used;
    for (int i = 0; i < 100; ++i)
        used.insert(without->choose(x));
    CHECK(used.size() == 5);
    CHECK(cookie_of(*without, x, rest[3]).starts_with("route="));
}

TEST_CASE("balance: cookies follow a change of the list, and of the key") {
    group g(std::vector<double>(4, 1));
    auto const rule = sticky_cookie({.key = key});
    auto const first = rule.among(g.list, nullptr, 1);
    exchange x;
    auto const cookie = cookie_of(*first, x, g.list[3]);
    x.request.set("Cookie", cookie);

    auto weighted = g.list;
    weighted[3].weight = 0.1; // same servers
    auto const second = rule.among(weighted, first.get(), 1);
    CHECK(second->choose(x) == 3);
    auto const less = std::vector(g.list.begin() + 1, g.list.end());
    auto const third = rule.among(less, second.get(), 1);
    CHECK(third->choose(x) == 2);
    CHECK(cookie_of(*third, x, less[2]).empty());

    auto const changed =
        sticky_cookie({.key = "fedcba9876543210fedcba9876543210", .former_keys = {key}})
            .among(g.list, first.get(), 1);
    CHECK(changed->choose(x) == 3);
    auto const renewed = cookie_of(*changed, x, g.list[3]);
    CHECK(renewed.starts_with("route="));
    CHECK(renewed != cookie);
    x.request.set("Cookie", renewed);
    CHECK(changed->choose(x) == 3);
    CHECK(cookie_of(*changed, x, g.list[3]).empty());
}

TEST_CASE("balance: what a new client's cookie says besides") {
    group g({1});
    auto const said = [&](sticky_options options, bool secure) {
        exchange x;
        x.request.set_secure(secure);
        options.key = key;
        auto const rule = sticky_cookie(options);
        rule.prepare();
        rule.among(g.list, nullptr)->answered(x, g.list[0]);
        auto const line = x.response["Set-Cookie"];
        return std::string(line.substr(line.find(';')));
    };
    CHECK(said({}, false) == "; Path=/; HttpOnly; SameSite=Lax");
    CHECK(said({}, true) == "; Path=/; Secure; HttpOnly; SameSite=Lax");
    CHECK(said({.secure = false}, true) == "; Path=/; HttpOnly; SameSite=Lax");
    CHECK(said({.secure = true}, false) == "; Path=/; Secure; HttpOnly; SameSite=Lax");
    CHECK(said({.same_site = same_site::none}, false) ==
          "; Path=/; Secure; HttpOnly; SameSite=None");
    CHECK(said({.max_age = 1h,
                .path = "/app",
                .domain = "a.example",
                .http_only = false,
                .same_site = same_site::strict},
               false) == "; Path=/app; Domain=a.example; Max-Age=3600; SameSite=Strict");
    CHECK(said({.http_only = false, .same_site = same_site::unset}, false) == "; Path=/");
}

TEST_CASE("balance: the rule behind a cookie goes on, and hears of answers") {
    struct counting final : balancing::rule {
        struct one final : chooser {
            std::size_t choose(exchange&) override { return 1; }
            void answered(exchange& x, candidate const&) override {
                x.response.add("X-Heard", "yes");
            }
        };
        std::unique_ptr<chooser> among(std::span<candidate const>, chooser const* before,
                                       std::uint64_t) const override {
            goes_on = dynamic_cast<one const*>(before) != nullptr;
            return std::make_unique<one>();
        }
        mutable bool goes_on = false;
    };
    auto const own = std::make_shared<counting>();
    group g({1, 1});
    auto const rule = sticky_cookie({.key = key, .otherwise = balancing(own)});
    auto const first = rule.among(g.list, nullptr);
    CHECK_FALSE(own->goes_on);
    auto const second = rule.among(g.list, first.get());
    CHECK(own->goes_on);
    exchange x;
    CHECK(second->choose(x) == 1);
    second->answered(x, g.list[1]);
    CHECK(x.response["X-Heard"] == "yes");
}

TEST_CASE("balance: a cookie that cannot be set is found at start") {
    auto const refused = [](sticky_options options, std::string const& why) {
        try {
            sticky_cookie(std::move(options)).prepare();
        } catch (startup_error const& e) {
            return std::string(e.what()).find(why) != std::string::npos;
        }
        return false;
    };
    CHECK_NOTHROW(sticky_cookie({.key = key}).prepare());
    CHECK(refused({}, "openssl rand"));
    CHECK(refused({.key = "short"}, "5 bytes"));
    CHECK(refused({.key = key, .former_keys = {"123"}}, "3 bytes"));
    CHECK(refused({.name = "", .key = key}, "name"));
    CHECK(refused({.name = "a b", .key = key}, "\"a b\""));
    CHECK(refused({.name = "a=b", .key = key}, "\"a=b\""));
    CHECK(refused({.key = key, .max_age = 0s}, "max_age"));
    CHECK(refused({.key = key, .path = "app"}, "slash"));
    CHECK(refused({.key = key, .path = "/a;b"}, "path"));
    CHECK(refused({.key = key, .domain = "a\r\nb"}, "domain"));
    CHECK(refused({.key = key, .secure = false, .same_site = same_site::none}, "secure"));
    CHECK(
        refused({.key = key, .otherwise = hash_by([](exchange&) { return "x"s; }, {.bound = 0.5})},
                "bound"));
}
