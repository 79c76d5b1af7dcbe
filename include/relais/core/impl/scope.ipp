#pragma once

#include <relais/core/scope.hpp>
#include <relais/core/worker.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>

namespace relais {

RELAIS_DECL void scope::spawn(awaitable<> coroutine) {
    ++running_;
    boost::asio::co_spawn(worker::current().context().get_executor(), std::move(coroutine),
                          [this](std::exception_ptr error) {
                              if (error && !first_)
                                  first_ = error;
                              if (--running_ == 0)
                                  done_.wake(wait_result::ready);
                          });
}

RELAIS_DECL awaitable<> scope::join() {
    bool throws = co_await boost::asio::this_coro::throw_if_cancelled();
    co_await boost::asio::this_coro::throw_if_cancelled(false);
    while (running_ > 0)
        co_await wait_at(done_, std::chrono::milliseconds(0));
    co_await boost::asio::this_coro::throw_if_cancelled(throws);
    if (first_)
        std::rethrow_exception(std::exchange(first_, nullptr));
}

} // namespace relais
