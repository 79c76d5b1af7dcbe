#pragma once

#include <relais/config.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace relais {

class exchange;

/// What stages and logs see of the upstream of an exchange: `x.upstream`. Known behind `next`, `total` in `on_complete`.
struct upstream_facts {
    std::string_view server; ///< the last one that was tried, as it was configured; empty: none
    unsigned tries = 0;      ///< how many servers were tried, one more than once perhaps
    std::chrono::nanoseconds connect{}; ///< TLS included; zero where the connection was there
    std::chrono::nanoseconds
        first_byte{}; ///< from the last byte of the request to the head of the response
    std::chrono::steady_clock::time_point began{}; ///< the first try, by the worker's clock
    std::chrono::nanoseconds total{}; ///< from the first try to the end of the exchange
};

/// A server that an exchange makes use of, let go when it has ended: the upstream's side of `exchange::use`.
class upstream_use {
public:
    using end_function = void (*)(std::shared_ptr<void> const& server, std::uint64_t note,
                                  exchange& x) noexcept;

    upstream_use() = default;
    /// \param note what `end` gets back.
    upstream_use(std::shared_ptr<void> server, std::uint64_t note, end_function end) noexcept
        : server_(std::move(server)), end_(end), note_(note) {}

    void end(exchange& x) noexcept {
        if (auto const server = std::exchange(server_, nullptr))
            end_(server, note_, x);
    }

private:
    std::shared_ptr<void> server_;
    end_function end_ = nullptr;
    std::uint64_t note_ = 0;
};

} // namespace relais
