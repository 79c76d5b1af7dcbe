#pragma once

#include <relais/config.hpp>
#include <relais/core/worker.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

namespace relais::detail {

/// Exchanges of all workers that wait until a server may take one more: who came first goes first, among those that wait.
/// Where nobody waits nothing is locked.
class waiting_line {
    struct waiter {
        worker* at;
        free_slot slot;
        bool stands = false; ///< in the line; otherwise it was called. Guarded by the line's mutex
    };

    /// Takes those of a worker out of the line before the worker cannot be called any more.
    struct end_of_worker {
        end_of_worker(std::shared_ptr<waiting_line> l, worker& w) : line(std::move(l)), at(&w) {}
        end_of_worker(end_of_worker const&) = delete;
        ~end_of_worker() { line->forget(at); }
        std::shared_ptr<waiting_line> line;
        worker* at;
    };

public:
    explicit waiting_line(std::size_t most) noexcept : most_(most) {}
    waiting_line(waiting_line const&) = delete;
    waiting_line& operator=(waiting_line const&) = delete;

    /// What a coroutine of the current worker has while it waits.
    class place {
    public:
        explicit place(std::shared_ptr<waiting_line> in) noexcept : in_(std::move(in)) {}
        place(place const&) = delete;
        place& operator=(place const&) = delete;
        ~place() {
            if (who_)
                in_->leave(*who_);
        }

        /// Stands in line, at its head where it was called before and found nothing. What becomes free from now on is not
        /// missed. \return false where the line is full.
        bool stand() {
            bool const again = who_ != nullptr;
            auto& here = worker::current();
            if (!again) {
                who_ = std::make_shared<waiter>(&here);
                here.local<end_of_worker>(
                    in_.get(), [&] { return std::make_shared<end_of_worker>(in_, here); });
            }
            if (in_->stand(who_, again))
                return true;
            who_.reset();
            return false;
        }

        /// Waits to be called; as `wait_at`.
        auto called(std::chrono::milliseconds limit) { return wait_at(who_->slot, limit); }

        /// It has found a server: the call was not in vain.
        void serve() noexcept {
            if (auto const who = std::exchange(who_, nullptr))
                in_->remove(*who);
        }

    private:
        std::shared_ptr<waiting_line> in_;
        std::shared_ptr<waiter> who_;
    };

    /// Something became free; from any thread.
    void call_next() noexcept {
        if (size_.load() != 0)
            call_one();
    }

    /// Everything may have become different.
    void call_all() noexcept {
        for (auto left = size_.load(); left; --left)
            call_one();
    }

    std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

private:
    bool stand(std::shared_ptr<waiter> const& who, bool first) {
        std::lock_guard lock(mutex_);
        if (who->stands)
            return true;
        if (!first && standing_.size() >= most_)
            return false;
        standing_.insert(first ? standing_.begin() : standing_.end(), who);
        who->stands = true;
        size_.store(standing_.size());
        return true;
    }

    /// \return whether it still stood in line.
    bool remove(waiter& who) noexcept {
        std::lock_guard lock(mutex_);
        if (!std::exchange(who.stands, false))
            return false;
        standing_.erase(std::ranges::find(standing_, &who, &std::shared_ptr<waiter>::get));
        size_.store(standing_.size());
        return true;
    }

    void forget(worker const* at) noexcept {
        std::lock_guard lock(mutex_);
        std::erase_if(standing_, [at](auto const& who) {
            bool const of_it = who->at == at;
            who->stands &= !of_it;
            return of_it;
        });
        size_.store(standing_.size());
    }

    // Who was called and goes without a server passes the call on.
    void leave(waiter& who) noexcept {
        if (!remove(who))
            call_next();
    }

    void call_one() noexcept {
        std::lock_guard lock(mutex_); // as long as it is held, who stands in line has its worker
        if (standing_.empty())
            return;
        auto const who = std::move(standing_.front());
        standing_.pop_front();
        size_.store(standing_.size());
        who->stands = false;
        who->at->post([who] { who->slot.wake(wait_result::ready); });
    }

    std::size_t most_;
    std::mutex mutex_;
    std::deque<std::shared_ptr<waiter>> standing_;
    std::atomic<std::size_t> size_{0};
};

/// Whom the servers of an upstream tell.
struct server_events {
    explicit server_events(std::size_t most_waiting) noexcept : line(most_waiting) {}
    std::atomic<std::uint64_t> changes{
        0};            ///< counted up with each change of the list or of somebody's health
    waiting_line line; ///< told when a server has room again
};

} // namespace relais::detail
