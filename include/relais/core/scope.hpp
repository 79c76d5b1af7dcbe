#pragma once

#include <relais/core/awaitable.hpp>
#include <relais/core/worker.hpp>

#include <boost/asio/cancellation_signal.hpp>

#include <cstddef>
#include <exception>

namespace relais {

/// Coroutines that end before the scope does.
///
/// The owner spawns into it and awaits `join()` before it is destroyed. One worker's thread only.
class scope {
public:
    scope() = default;
    scope(scope const&) = delete;
    scope& operator=(scope const&) = delete;

    /// Starts a coroutine on the current worker. Its first exception is kept for `join()`. \param cancel what cancels it.
    void spawn(awaitable<> coroutine, boost::asio::cancellation_slot cancel = {});

    /// How many have not ended yet.
    std::size_t running() const noexcept { return running_; }

    /// Whether `join()` has nothing to wait for and nothing to throw.
    bool settled() const noexcept { return running_ == 0 && !first_; }

    /// Waits until all have ended, whatever cancellation says, and throws the first exception that left one.
    awaitable<> join();

private:
    std::size_t running_ = 0;
    std::exception_ptr first_;
    free_slot done_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/core/impl/scope.ipp>
#endif
