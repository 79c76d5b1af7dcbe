#pragma once

#include <relais/core/waiter.hpp>
#include <relais/core/worker.hpp>

#include <boost/asio/posix/stream_descriptor.hpp>

#include <cerrno>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <unordered_map>
#include <vector>
#if defined(__linux__)
#include <sys/epoll.h>
#endif

namespace relais {

RELAIS_DECL void wait_slot::arm(std::chrono::milliseconds limit) {
    worker::current().deadlines().arm(*this, deadline_wheel::ticks_of(limit));
}

RELAIS_DECL void wait_slot::complete(wait_result result) {
    disarm();
    leave_peer();
    std::exchange(act_, nullptr)(*this, act::run, result); // may destroy this object
}

RELAIS_DECL void wait_slot::cancel() {
    if (!act_) {
        if (peer_ && peer_->act_)
            peer_->cancel();
        return;
    }
    disarm();
    leave_peer();
    std::exchange(act_, nullptr)(*this, act::post, wait_result::cancelled);
}

RELAIS_DECL void wait_slot::abandon() noexcept {
    disarm();
    leave_peer();
    if (act_)
        std::exchange(act_, nullptr)(*this, act::drop, wait_result::cancelled);
}

RELAIS_DECL void wait_slot::expire(deadline& node) {
    auto& self = static_cast<wait_slot&>(node);
    if (self.act_)
        self.complete(wait_result::timed_out);
}

RELAIS_DECL void detail::readiness_gate::notify(bool now_readable, bool now_writable,
                                                bool now_hung_up, bool now_broken) {
    // The order matters: a woken coroutine may close this gate, and then nothing more is said.
    if (closed)
        return;
    readable = readable || now_readable;
    writable = writable || now_writable;
    bool news = (now_hung_up && !hung_up) || (now_broken && !broken);
    hung_up = hung_up || now_hung_up;
    broken = broken || now_broken;
    if (now_writable) {
        writer.wake(wait_result::ready);
        if (closed)
            return;
        if (read_needs_write) {
            read_needs_write = false;
            reader.wake(wait_result::ready);
        }
    }
    if (!closed && readable && !read_needs_write)
        reader.wake(wait_result::ready);
    if (!closed && news && on_hang_up)
        on_hang_up(hang_up_context);
}

RELAIS_DECL void detail::readiness_gate::close() noexcept {
    closed = hung_up = true;
    readable = writable = holds_input = false;
    on_hang_up = nullptr;
    reader.cancel();
    writer.cancel();
}

namespace detail {

RELAIS_DECL boost::asio::io_context::executor_type event_loop() noexcept {
    return worker::current().context().get_executor();
}

#if defined(__linux__)

/// One epoll set for all sockets of a worker, nested in Asio's: sockets are added once, edge-triggered.
class epoll_waiter final : public waiter {
public:
    epoll_waiter(boost::asio::io_context& context, batch_observer& observer)
        : set_(::epoll_create1(EPOLL_CLOEXEC)), nested_(context), observer_(observer) {
        if (set_ < 0)
            throw boost::system::system_error(errno, boost::system::system_category(),
                                              "epoll_create1");
        nested_.assign(set_);
        watch();
    }

    int add(int descriptor, readiness_gate& g) override {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        event.data.ptr = &g;
        return ::epoll_ctl(set_, EPOLL_CTL_ADD, descriptor, &event) == 0 ? 0 : errno;
    }

    void remove(int descriptor, readiness_gate&) noexcept override {
        // Closing takes a descriptor out of the set unless it was duplicated or passed on, so this is explicit.
        epoll_event none{};
        ::epoll_ctl(set_, EPOLL_CTL_DEL, descriptor, &none);
    }

private:
    static constexpr int batch = 512;
    static constexpr int enough = 128;

    void watch() {
        nested_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                           [this](boost::system::error_code error) {
                               if (error)
                                   return;
                               turn();
                               watch();
                           });
    }

    // Under load there is more to do by the time a batch is done. Asking again costs less than going through Asio's loop,
    // which gets its turn after `enough` events all the same.
    void turn() {
        int count = 0;
        for (int handled = 0; handled < enough; handled += count) {
            count = ::epoll_wait(set_, events_, batch, 0);
            observer_.before_batch();
            for (int i = 0; i < count; ++i)
                tell(events_[i]);
            observer_.after_batch();
            if (count < 2)
                break;
        }
    }

    static void tell(epoll_event const& one) {
        bool const broken = one.events & (EPOLLHUP | EPOLLERR);
        bool const ended = broken || (one.events & EPOLLRDHUP);
        static_cast<readiness_gate*>(one.data.ptr)
            ->notify(ended || (one.events & EPOLLIN), broken || (one.events & EPOLLOUT), ended,
                     broken);
    }

    int set_;
    boost::asio::posix::stream_descriptor nested_;
    batch_observer& observer_;
    epoll_event events_[batch];
};

#endif

/// Asio's own waits behind the same interface: each wait is one operation of Asio's reactor.
class portable_waiter final : public waiter {
public:
    portable_waiter(boost::asio::io_context& context, batch_observer& observer)
        : context_(context), observer_(observer) {}

    ~portable_waiter() override { // the descriptors belong to sockets that close them
        for (auto& [descriptor, one] : entries_) {
            one->told->again = nullptr;
            one->told = nullptr;
            one->descriptor.release();
        }
    }

    int add(int descriptor, readiness_gate& g) override {
        auto one = std::make_shared<entry>(*this, g);
        boost::system::error_code error;
        one->descriptor.assign(descriptor, error);
        if (error)
            return error.value();
        g.again = one.get();
        entries_.emplace(descriptor, one);
        one->want_write();
        one->want_read();
        return 0;
    }

    void remove(int descriptor, readiness_gate& g) noexcept override {
        auto found = entries_.find(descriptor);
        if (found == entries_.end())
            return;
        found->second->told = nullptr;
        found->second->descriptor.release();
        g.again = nullptr;
        entries_.erase(found);
    }

private:
    struct entry final : rearm, std::enable_shared_from_this<entry> {
        entry(portable_waiter& owner, readiness_gate& g)
            : owner(owner), descriptor(owner.context_), told(&g) {}

        void want_read() override {
            if (reading)
                return;
            reading = true;
            descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                  [self = shared_from_this()](boost::system::error_code error) {
                                      self->reading = false;
                                      if (!error && self->told)
                                          self->tell(true, false);
                                  });
        }

        void want_write() override {
            if (writing)
                return;
            writing = true;
            descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_write,
                                  [self = shared_from_this()](boost::system::error_code error) {
                                      self->writing = false;
                                      if (!error && self->told)
                                          self->tell(false, true);
                                  });
        }

        // No event of its own for the peer's end here. To poll takes nothing away; a read would take the error that the
        // stream's next try has to find.
        void look(bool& ended, bool& broken) {
            pollfd asked{descriptor.native_handle(), POLLIN, 0};
#if defined(POLLRDHUP)
            asked.events |= POLLRDHUP;
#endif
            ::poll(&asked, 1, 0);
            broken = asked.revents & (POLLERR | POLLHUP);
#if defined(POLLRDHUP)
            ended = broken || (asked.revents & POLLRDHUP);
#else
            char one;
            ended = broken || ::recv(asked.fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
#endif
        }

        void tell(bool read, bool write) {
            bool ended = false, broken = false;
            if (read)
                look(ended, broken);
            owner.observer_.before_batch();
            told->notify(read, write || broken, ended, broken);
            owner.observer_.after_batch();
        }

        portable_waiter& owner;
        boost::asio::posix::stream_descriptor descriptor;
        readiness_gate* told;
        bool reading = false;
        bool writing = false;
    };

    boost::asio::io_context& context_;
    batch_observer& observer_;
    std::unordered_map<int, std::shared_ptr<entry>> entries_;
};

} // namespace detail

RELAIS_DECL std::unique_ptr<waiter> make_waiter(waiter_kind kind, boost::asio::io_context& context,
                                                batch_observer& observer) {
#if defined(__linux__)
    if (kind == waiter_kind::native)
        return std::make_unique<detail::epoll_waiter>(context, observer);
#endif
    (void)kind;
    return std::make_unique<detail::portable_waiter>(context, observer);
}

} // namespace relais
