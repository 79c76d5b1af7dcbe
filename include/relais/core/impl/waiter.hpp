#pragma once

#include <relais/core/waiter.hpp>

#include <boost/asio/post.hpp>

namespace relais {

namespace detail {

/// The current worker's.
boost::asio::io_context::executor_type event_loop() noexcept;

/// Where a handler runs: a handler without an executor of its own stays on its worker.
template <class Handler>
auto executor_of(Handler const& handler) noexcept {
    if constexpr (std::is_same_v<boost::asio::associated_executor_t<Handler>,
                                 boost::asio::system_executor>)
        return event_loop();
    else
        return boost::asio::get_associated_executor(handler);
}

} // namespace detail

template <class Handler>
void wait_slot::finish(Handler handler, act what, wait_result result) {
    // A cancellation from now on must not end who waits here next. Where the operation is dropped, its signal may be gone.
    if (what != act::drop)
        if (auto slot = boost::asio::get_associated_cancellation_slot(handler); slot.is_connected())
            slot.clear();
    if (what == act::run) {
        std::move(handler)(result);
    } else if (what == act::post) {
        auto executor = detail::executor_of(handler);
        boost::asio::post(executor,
                          [h = std::move(handler), result]() mutable { std::move(h)(result); });
    }
}

template <class Handler>
void wait_slot::act_inline(wait_slot& self, act what, wait_result result) {
    auto* stored = std::launder(reinterpret_cast<Handler*>(self.store_));
    Handler handler(std::move(*stored));
    stored->~Handler();
    finish(std::move(handler), what, result);
}

template <class Handler>
void wait_slot::act_boxed(wait_slot& self, act what, wait_result result) {
    std::unique_ptr<Handler> boxed(*std::launder(reinterpret_cast<Handler**>(self.store_)));
    Handler handler(std::move(*boxed));
    boxed.reset();
    finish(std::move(handler), what, result);
}

template <class Handler>
void wait_slot::occupy(Handler handler, std::chrono::milliseconds limit) {
    RELAIS_ASSERT(!act_ && "two operations wait for the same side of a stream");
    if (auto slot = boost::asio::get_associated_cancellation_slot(handler); slot.is_connected())
        slot.assign([this](boost::asio::cancellation_type) { cancel(); });
    if constexpr (sizeof(Handler) <= room && alignof(Handler) <= alignof(void*) &&
                  std::is_nothrow_move_constructible_v<Handler>) {
        ::new (store_) Handler(std::move(handler));
        act_ = &act_inline<Handler>;
    } else {
        ::new (store_) Handler*(new Handler(std::move(handler)));
        act_ = &act_boxed<Handler>;
    }
    if (limit.count() > 0)
        arm(limit);
}

} // namespace relais
