#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/error.hpp>
#include <relais/core/worker.hpp>
#include <relais/http/exchange.hpp>
#include <relais/upstream/impl/group.hpp>
#include <relais/upstream/total_limit.hpp>
#include <relais/upstream/upstream.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace relais {

/// The tries of one exchange, for terminals: which server is next, what came of it, and whether there is to be another one.
class upstream_tries {
public:
    /// \param total how long the exchange may take.
    upstream_tries(upstream const& of, exchange& x, std::optional<std::chrono::milliseconds> total);
    upstream_tries(upstream_tries const&) = delete;
    upstream_tries& operator=(upstream_tries const&) = delete;
    ~upstream_tries();

    /// When the exchange has to be over.
    total_limit total() const noexcept { return total_; }

    /// Chooses a server: `hold()`, or nothing where there is none. \param bound the only one it may be; null: any.
    /// \return false where that takes time: then `choose_later`.
    bool choose(std::shared_ptr<upstream_server> bound);
    awaitable<> choose_later();

    detail::server_hold& hold() noexcept { return hold_; }

    /// A connection for this try is begun; it is there, or it is not.
    void connect_begins() { x_.upstream.connect = worker::current().now() - began_; }
    void connect_ended() {
        x_.upstream.connect = worker::current().now() - began_ - x_.upstream.connect;
    }

    /// The try failed.
    void failed(end_reason why) noexcept { why_ = why; }

    /// The head of an answer is there. \return false where its status is one for which another server is tried.
    bool answered(unsigned status, std::chrono::nanoseconds first_byte);

    /// The exchange keeps the server to its end.
    void keep();

    /// Whether another server is to be asked, now that this one has failed; it is given up.
    bool another();

    /// Answers for servers that did not.
    void refuse();

private:
    void begin(detail::server_choice choice);
    bool may_try_again(unsigned status);
    void judge_group(unsigned status); ///< for the circuit breaker

    detail::upstream_group& group() const noexcept { return of_.group(); }
    std::span<upstream_server const* const> tried() const noexcept {
        return tried_ ? std::span<upstream_server const* const>(*tried_)
                      : std::span<upstream_server const* const>();
    }

    // It is a part of a coroutine's frame, for which small is fast.
    upstream const& of_;
    exchange& x_;
    std::chrono::steady_clock::time_point began_;
    total_limit total_;
    detail::server_hold hold_;
    std::unique_ptr<std::vector<upstream_server const*>> tried_; ///< null: none
    std::uint16_t status_ = 0; ///< of the answer, as the server sent it
    end_reason why_ = end_reason::completed;
    admission circuit_;  ///< a verdict on the group is owed
    bool again_ = false; ///< there is to be another try
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/tries.ipp>
#endif
