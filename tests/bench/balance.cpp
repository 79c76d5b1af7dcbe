// What a choice among the servers of a group costs: nanoseconds a pick, one thread, the best of ten runs.
//
//   cmake --preset bench && cmake --build --preset bench && build/bench/bin/bench_balance

#include <relais/relais.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

using namespace relais;

namespace {

double nanoseconds_a_pick(balancing const& rule, std::size_t servers, bool weighted) {
    std::vector<std::atomic<std::uint32_t>> active(servers);
    std::vector<candidate> list;
    for (std::size_t i = 0; i < servers; ++i) {
        active[i] = static_cast<std::uint32_t>(100 + i % 3);
        list.push_back({server_id("10.0.0." + std::to_string(i) + ":8080"),
                        weighted ? 1.0 + static_cast<double>(i % 5) : 1.0, &active[i]});
    }
    auto const c = rule.among(list, nullptr, 1);
    exchange x;
    exchange first;
    c->answered(first, list[servers / 2]);
    if (auto const set = first.response["Set-Cookie"]; !set.empty())
        x.request.set("Cookie", "session=0123456789abcdef; theme=dark; " +
                                    std::string(set.substr(0, set.find(';'))));
    double best = 1e9;
    for (int run = 0; run < 10; ++run) {
        constexpr int picks = 200'000;
        auto const began = std::chrono::steady_clock::now();
        for (int i = 0; i < picks; ++i) {
            auto const chosen = c->choose(x);
            auto& count = active[chosen]; // as an exchange that begins, and one that ends
            count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
            auto& other = active[(chosen + static_cast<std::size_t>(i)) % servers];
            auto const left = other.load(std::memory_order_relaxed);
            other.store(left - (left > 0), std::memory_order_relaxed);
        }
        std::chrono::duration<double, std::nano> const took =
            std::chrono::steady_clock::now() - began;
        best = std::min(best, took.count() / picks);
    }
    return best;
}

} // namespace

int main() {
    struct row {
        char const* name;
        balancing rule;
    };
    // A thousand clients, so that no branch predictor learns them by heart.
    std::vector<std::string> clients;
    for (int i = 0; i < 1024; ++i)
        clients.push_back("192.168." + std::to_string(i / 256) + "." + std::to_string(i % 256));
    std::size_t turn = 0;
    auto const client = [&](exchange&) -> std::string_view { return clients[turn++ % 1024]; };

    std::vector<row> const rows = {
        {"round_robin", round_robin()},
        {"least_connections", least_connections()},
        {"two_choices", two_choices()},
        {"hash_by, no bound", hash_by(client, {.bound = 0})},
        {"hash_by, bound 1.25", hash_by(client)},
        {"sticky_cookie", sticky_cookie({.key = "0123456789abcdef"})},
    };
    std::printf("%-22s %10s %10s %10s %10s\n", "ns a pick", "3", "3 weighted", "50", "50 weighted");
    for (auto const& one : rows)
        std::printf("%-22s %10.1f %10.1f %10.1f %10.1f\n", one.name,
                    nanoseconds_a_pick(one.rule, 3, false), nanoseconds_a_pick(one.rule, 3, true),
                    nanoseconds_a_pick(one.rule, 50, false),
                    nanoseconds_a_pick(one.rule, 50, true));
}
