#pragma once

#include <relais/core/worker.hpp>
#include <relais/net/splice.hpp>

#include <memory>
#include <utility>
#include <vector>
#if defined(__linux__)
#include <fcntl.h>
#include <unistd.h>
#endif

namespace relais {

namespace detail {

/// Idle pipes of a worker.
struct pipe_pool {
    static constexpr std::size_t kept = 32;
    std::vector<std::pair<int, int>> idle;

    static pipe_pool& current() {
        static char const key = 0;
        return worker::current().lasting<pipe_pool>(&key,
                                                    [] { return std::make_shared<pipe_pool>(); });
    }

    ~pipe_pool() {
#if defined(__linux__)
        for (auto [in, out] : idle) {
            ::close(in);
            ::close(out);
        }
#endif
    }
};

} // namespace detail

RELAIS_DECL bool splice_pipe::take() {
    if (is_open())
        return true;
#if defined(__linux__)
    auto& pool = detail::pipe_pool::current();
    if (!pool.idle.empty()) {
        ends_[0] = pool.idle.back().first;
        ends_[1] = pool.idle.back().second;
        pool.idle.pop_back();
        return true;
    }
    if (::pipe2(ends_, O_NONBLOCK | O_CLOEXEC) == 0) {
        ::fcntl(ends_[1], F_SETPIPE_SZ, 1 << 20); // a smaller pipe works as well
        return true;
    }
    ends_[0] = ends_[1] = -1;
#endif
    return false;
}

RELAIS_DECL void splice_pipe::give_back() noexcept {
    if (!is_open())
        return;
#if defined(__linux__)
    auto& pool = detail::pipe_pool::current();
    if (held == 0 && pool.idle.size() < detail::pipe_pool::kept) {
        pool.idle.emplace_back(ends_[0], ends_[1]);
    } else {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
#endif
    ends_[0] = ends_[1] = -1;
    held = 0;
}

} // namespace relais
