#pragma once

#include <relais/core/background.hpp>
#include <relais/core/report.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <csignal>
#include <exception>
#include <mutex>
#include <utility>

namespace relais {

RELAIS_DECL std::shared_ptr<background> background::shared() {
    static std::mutex making;
    static std::weak_ptr<background> current;
    std::lock_guard lock(making);
    auto there = current.lock();
    if (!there)
        current = there = std::make_shared<background>();
    return there;
}

RELAIS_DECL background::background() : work_(boost::asio::make_work_guard(worker_.context())) {
    thread_ = std::thread([this] {
        sigset_t all; // signals are the program's
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
        worker_.run();
    });
}

RELAIS_DECL background::~background() {
    worker_.stop();
    thread_.join();
}

RELAIS_DECL background_task::background_task(std::function<awaitable<>()> run)
    : on_(background::shared()) {
    on_->worker().post([this, run = std::move(run)]() mutable {
        boost::asio::co_spawn(
            on_->worker().context(), std::move(run),
            boost::asio::bind_cancellation_slot(cancel_.slot(), [this](std::exception_ptr thrown) {
                try {
                    if (thrown)
                        std::rethrow_exception(thrown);
                } catch (boost::system::system_error const& error) {
                    if (error.code() != boost::asio::error::operation_aborted)
                        report_exception("in the background", thrown);
                } catch (...) {
                    report_exception("in the background", thrown);
                }
                ended_.set_value();
            }));
    });
}

RELAIS_DECL background_task::~background_task() {
    auto const ended = ended_.get_future();
    on_->worker().post([this] { cancel_.emit(boost::asio::cancellation_type::terminal); });
    ended.wait();
}

} // namespace relais
