#pragma once

#include <relais/config.hpp>
#include <relais/core/deadline.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/system_executor.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace relais {

/// How a wait ended.
enum class wait_result : std::uint8_t {
    ready,     ///< try again: what was waited for may have come, or the stream was closed
    timed_out, ///< the limit passed
    cancelled  ///< Asio's cancellation of this operation
};

/// A place where at most one operation waits: its handler and its deadline, without an allocation.
///
/// Used on the thread of its worker only.
class wait_slot : private deadline {
public:
    wait_slot() noexcept : deadline(&wait_slot::expire) {}
    ~wait_slot() { abandon(); }

    /// Whether an operation waits here.
    bool occupied() const noexcept { return act_ != nullptr; }

    /// Completes the waiting operation at once, on this stack; does nothing when none waits.
    void wake(wait_result result) {
        if (act_)
            complete(result);
        else if (peer_)
            peer_->wake(result);
    }

    /// Completes the waiting operation with `wait_result::cancelled` from the event loop.
    void cancel();

    /// Destroys the waiting operation without completing it.
    void abandon() noexcept;

    /// Waits here. \param limit zero or less: no deadline.
    template <class Handler>
    void occupy(Handler handler, std::chrono::milliseconds limit);

    /// What wakes `other` wakes the operation that waits here as well, until it has completed.
    void join(wait_slot& other) noexcept {
        peer_ = &other;
        other.peer_ = this;
    }

private:
    enum class act : std::uint8_t { run, post, drop };
    static constexpr std::size_t room = 32;

    template <class Handler>
    static void act_inline(wait_slot& self, act what, wait_result result);
    template <class Handler>
    static void act_boxed(wait_slot& self, act what, wait_result result);
    template <class Handler>
    static void finish(Handler handler, act what, wait_result result);

    static void expire(deadline& node);
    void complete(wait_result result);
    void arm(std::chrono::milliseconds limit);
    void leave_peer() noexcept {
        if (peer_)
            peer_ = peer_->peer_ = nullptr;
    }

    void (*act_)(wait_slot&, act, wait_result) = nullptr;
    wait_slot* peer_ = nullptr;
    alignas(void*) unsigned char store_[room];
};

/// Who has to be asked again after each wait. Only a waiter without edge-triggered events needs this.
class rearm {
public:
    virtual void want_read() = 0;
    virtual void want_write() = 0;

protected:
    ~rearm() = default;
};

namespace detail {

/// The readiness of one peer: flags, and a place to wait for each of them. All layers of a stream share one.
struct readiness_gate {
    bool readable = false;    ///< a read may bring something
    bool writable = false;    ///< a write may take something
    bool hung_up = false;     ///< the peer sent its end, or the connection broke
    bool broken = false;      ///< the connection broke: nothing can be sent any more
    bool closed = false;      ///< closed on this side: every try ends at once
    bool holds_input = false; ///< a layer holds bytes that were read from the descriptor already
    bool read_needs_write = false; ///< the next read has to wait until what it produced was sent

    wait_slot reader;
    wait_slot writer;

    /// Called on the worker when `hung_up` goes up; one observer.
    void (*on_hang_up)(void*) = nullptr;
    void* hang_up_context = nullptr;

    rearm* again = nullptr;

    readiness_gate* previous = nullptr; ///< the list of its worker
    readiness_gate* next = nullptr;

    /// Takes in what the operating system reports, and wakes who waits for it.
    void notify(bool now_readable, bool now_writable, bool now_hung_up, bool now_broken = false);

    /// Takes the flags down for good and ends the waits, from the event loop, with `wait_result::cancelled`.
    void close() noexcept;

    /// Has `observer(context)` called when the peer hangs up; a null observer ends that.
    void observe_hang_up(void (*observer)(void*), void* context) {
        on_hang_up = observer;
        hang_up_context = context;
        if (observer && again)
            again->want_read();
    }
};

struct initiate_wait {
    template <class Handler>
    void operator()(Handler handler, wait_slot* slot, std::chrono::milliseconds limit) const {
        slot->occupy(std::move(handler), limit);
    }
};

} // namespace detail

/// Waits at a slot: an Asio operation with the signature `void(wait_result)` and no coroutine frame of its own.
///
/// \param limit zero or less: none. Cancellation: all types, `wait_result::cancelled`. Completes on the worker.
template <class Token = boost::asio::deferred_t const&>
auto wait_at(wait_slot& slot, std::chrono::milliseconds limit,
             Token&& token = boost::asio::deferred) {
    return boost::asio::async_initiate<Token, void(wait_result)>(detail::initiate_wait{}, token,
                                                                 &slot, limit);
}

/// Tells gates what became possible on descriptors. A worker owns one.
class waiter {
public:
    virtual ~waiter() = default;

    /// Begins to watch a descriptor; the gate is told until `remove`.
    /// \return an errno value, 0 when it worked.
    virtual int add(int descriptor, detail::readiness_gate& g) = 0;

    /// Stops watching; to be called before the descriptor is closed. The gate is not named afterwards once the
    /// running batch of events has ended.
    virtual void remove(int descriptor, detail::readiness_gate& g) noexcept = 0;
};

/// Which waiter a worker uses.
enum class waiter_kind : std::uint8_t {
    native,  ///< one edge-triggered epoll set per worker on Linux, `portable` elsewhere
    portable ///< Asio's own waits: every system Asio runs on
};

/// Who is told when a batch of events is handed out.
class batch_observer {
public:
    virtual void before_batch() = 0;
    virtual void after_batch() noexcept = 0;

protected:
    ~batch_observer() = default;
};

/// Makes a waiter on `context`.
std::unique_ptr<waiter> make_waiter(waiter_kind kind, boost::asio::io_context& context,
                                    batch_observer& observer);

} // namespace relais

#include <relais/core/impl/waiter.hpp>
#include <relais/core/worker.hpp> // the bodies follow the class that both belong to
