#pragma once

#include <relais/config.hpp>
#include <relais/core/block_pool.hpp>
#include <relais/core/clock.hpp>
#include <relais/core/deadline.hpp>
#include <relais/core/text_buffer.hpp>
#include <relais/core/waiter.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace relais {

/// How a worker runs.
struct worker_options {
    std::size_t index = 0;                    ///< its number within the server
    waiter_kind waiter = waiter_kind::native; ///< how it learns of readiness
    time_source const* time = nullptr; ///< where it reads the time; null: the system's clocks
};

class worker;

/// A place to wait that belongs to no stream: for a time, or for another coroutine. The worker knows it, so that who waits
/// in one when the worker ends does not stay behind.
class free_slot : public wait_slot {
public:
    free_slot() noexcept;
    ~free_slot() { unlink(); }

private:
    friend class worker;
    void unlink() noexcept {
        if (next_)
            (previous_->next_ = next_)->previous_ = previous_;
        previous_ = next_ = nullptr;
    }

    free_slot* previous_ = nullptr;
    free_slot* next_ = nullptr;
};

/// One thread's share of a server: an `io_context`, the readiness of its sockets, its deadlines and its buffers.
///
/// A connection lives and dies on one worker. Everything here belongs to the worker's thread, except `post`,
/// `context` and `index`.
class worker final : private batch_observer {
public:
    explicit worker(worker_options options = {});
    worker(worker const&) = delete;
    worker& operator=(worker const&) = delete;
    ~worker();

    /// The worker whose thread this is. Only to be called where `on_a_worker()` holds: in stages and in everything
    /// they await.
    static worker& current() noexcept { return *current_; }

    /// Whether the calling thread runs a worker.
    static bool on_a_worker() noexcept { return current_ != nullptr; }

    std::size_t index() const noexcept { return index_; }
    boost::asio::io_context& context() noexcept { return *context_; }
    deadline_wheel& deadlines() noexcept { return deadlines_; }

    /// The time by the worker's clock; differences of it are durations.
    std::chrono::steady_clock::time_point now() const { return time_->steady(); }

    /// The time when the running batch of events began, which is free. Where Asio resumed a coroutine (its timers, its
    /// resolvers) it is that of the last batch, a few dozen milliseconds ago at most: for time-outs, not for a log.
    std::chrono::steady_clock::time_point batch_time() const noexcept { return batch_time_; }

    /// The date by the worker's clock.
    std::chrono::system_clock::time_point wall_time() const { return time_->wall(); }

    /// Runs until `stop()`. The calling thread becomes the worker's.
    void run();

    /// Runs what is ready and returns. The calling thread becomes the worker's for the length of the call.
    std::size_t poll();

    /// Ends `run()`; from any thread.
    void stop() { context_->stop(); }

    /// Calls `function` on the worker's thread; from any thread.
    template <class Function>
    void post(Function&& function) {
        boost::asio::post(*context_, std::forward<Function>(function));
    }

    /// Moves the deadlines on to the clock's time: for clocks that do not flow.
    void catch_up();

    /// Whether the worker is on its end and what `local` made is gone.
    bool is_ending() const noexcept { return ending_; }

    /// Bytes to read into. Their content lasts until the next suspension.
    std::span<std::byte> scratch() noexcept { return {scratch_.get(), scratch_size}; }

    /// Bytes in which TLS gathers records that are sent at once. Lasts until the next suspension.
    std::span<std::byte> outgoing() noexcept { return {outgoing_.get(), outgoing_size}; }

    /// Text that is put together to be sent at once, heads above all; empty when taken. Lasts until the next
    /// suspension.
    text_buffer& text() noexcept {
        text_.clear();
        return text_;
    }

    /// Blocks for the heads of messages.
    block_pool& blocks() noexcept { return blocks_; }

    static constexpr std::size_t scratch_size = 256 * 1024;
    static constexpr std::size_t outgoing_size = 320 * 1024;

    /// A gate for a descriptor, watched by the worker. \param error an errno value when null is returned.
    detail::readiness_gate* watch(int descriptor, int& error);

    /// Gives a gate back; it is used again only after the running batch of events.
    void unwatch(int descriptor, detail::readiness_gate* g) noexcept;

    /// The object of this worker that belongs to `key`, made by `make()` on first use; it dies with the worker.
    template <class T, class Make>
    T& local(void const* key, Make&& make) {
        return find_or_make<T>(locals_, key, std::forward<Make>(make));
    }

    /// As `local`, for what coroutines use on their way out: it dies after the `io_context` and must not need it.
    template <class T, class Make>
    T& lasting(void const* key, Make&& make) {
        return find_or_make<T>(lasting_, key, std::forward<Make>(make));
    }

    class scoped_current;

private:
    friend class free_slot;

    struct slot {
        void const* key;
        std::shared_ptr<void> object;
    };

    void start_beat();
    void beat();
    ticks elapsed() const;
    void before_batch() override { batch_time_ = time_->steady(); }
    void after_batch() noexcept override;
    void unlink(detail::readiness_gate* g) noexcept;

    template <class T, class Make>
    static T& find_or_make(std::vector<slot>& among, void const* key, Make&& make) {
        for (auto& one : among)
            if (one.key == key)
                return *static_cast<T*>(one.object.get());
        std::shared_ptr<T> made = std::forward<Make>(make)();
        among.push_back({key, made});
        return *made;
    }

    static inline constinit thread_local worker* current_ = nullptr;

    std::size_t index_;
    time_source own_time_;
    time_source const* time_;
    std::chrono::steady_clock::time_point began_;
    std::chrono::steady_clock::time_point batch_time_;
    std::unique_ptr<std::byte[]> scratch_;
    std::unique_ptr<std::byte[]> outgoing_;
    text_buffer text_;
    block_pool blocks_;
    deadline_wheel deadlines_;
    std::vector<std::unique_ptr<detail::readiness_gate>> retired_;
    std::vector<std::unique_ptr<detail::readiness_gate>> gates_;
    bool ending_ = false;
    std::vector<slot> locals_;
    std::vector<slot> lasting_;
    detail::readiness_gate* watched_ = nullptr;
    free_slot free_slots_; // a ring that begins and ends here
    std::optional<boost::asio::io_context> context_;
    std::optional<boost::asio::steady_timer> timer_;
    std::unique_ptr<waiter> waiter_;
};

/// Makes a worker the calling thread's for a scope: tests, and set-up on the worker's behalf.
class worker::scoped_current {
public:
    explicit scoped_current(worker& w) noexcept : before_(std::exchange(current_, &w)) {}
    scoped_current(scoped_current const&) = delete;
    scoped_current& operator=(scoped_current const&) = delete;
    ~scoped_current() { current_ = before_; }

private:
    worker* before_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/core/impl/waiter.ipp>
#include <relais/core/impl/worker.ipp>
#endif
