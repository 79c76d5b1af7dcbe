#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/worker.hpp>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/executor_work_guard.hpp>

#include <functional>
#include <future>
#include <memory>
#include <thread>

namespace relais {

/// A worker beside those of the server, with a thread of its own, for what belongs to no connection: checks of servers,
/// names that are resolved again. All that need one share it; it ends with the last of them.
class background {
public:
    /// The one of this program.
    static std::shared_ptr<background> shared();

    background();
    background(background const&) = delete;
    background& operator=(background const&) = delete;
    ~background();

    relais::worker& worker() noexcept { return worker_; }

private:
    relais::worker worker_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
    std::thread thread_;
};

/// A coroutine on the background worker that ends with this object: it is cancelled, and awaited.
///
/// Not to be destroyed on the background worker.
class background_task {
public:
    /// \param run called there. What leaves it as an exception is reported, cancellation excepted.
    explicit background_task(std::function<awaitable<>()> run);
    background_task(background_task const&) = delete;
    background_task& operator=(background_task const&) = delete;
    ~background_task();

private:
    std::shared_ptr<background> on_;
    boost::asio::cancellation_signal cancel_; ///< the worker's
    std::promise<void> ended_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/core/impl/background.ipp>
#endif
