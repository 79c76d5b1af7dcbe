#pragma once

#include <relais/core/scope.hpp>
#include <relais/core/worker.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>

namespace relais {

RELAIS_DECL void scope::spawn(awaitable<> coroutine, boost::asio::cancellation_slot cancel) {
    ++running_;
    auto ended = [this](std::exception_ptr error) {
        if (error && !first_)
            first_ = error;
        if (--running_ == 0)
            done_.wake(wait_result::ready);
    };
    auto executor = worker::current().context().get_executor();
    if (cancel.is_connected())
        boost::asio::co_spawn(executor, std::move(coroutine),
                              boost::asio::bind_cancellation_slot(cancel, ended));
    else
        boost::asio::co_spawn(executor, std::move(coroutine), ended);
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
