#pragma once

#include <atomic>
#include <thread>
#include <vector>

// Runs f(0), f(1) ... on threads that begin at the same moment.
template <class F>
void at_once(unsigned threads, F f) {
    std::atomic<unsigned> ready{0};
    std::vector<std::thread> running;
    for (unsigned i = 0; i < threads; ++i)
        running.emplace_back([&, i] {
            ++ready;
            while (ready < threads)
                std::this_thread::yield();
            f(i);
        });
    for (auto& thread : running)
        thread.join();
}
