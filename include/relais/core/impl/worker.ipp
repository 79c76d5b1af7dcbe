#pragma once

#include <relais/core/worker.hpp>

namespace relais {

RELAIS_DECL worker::worker(worker_options options)
    : index_(options.index), time_(options.time ? options.time : &own_time_),
      began_(time_->steady()), scratch_(new std::byte[scratch_size]),
      outgoing_(new std::byte[outgoing_size]),
      deadlines_([](void* self) { static_cast<worker*>(self)->start_beat(); }, this),
      context_(std::in_place, 1), timer_(std::in_place, *context_),
      waiter_(make_waiter(options.waiter, *context_, *this)) {
    free_slots_.unlink(); // where a worker is made on another one's thread
    free_slots_.previous_ = free_slots_.next_ = &free_slots_;
    before_batch();
}

RELAIS_DECL free_slot::free_slot() noexcept {
    if (!worker::on_a_worker())
        return;
    auto& ring = worker::current().free_slots_;
    previous_ = &ring;
    next_ = ring.next_;
    next_->previous_ = this;
    ring.next_ = this;
}

RELAIS_DECL worker::~worker() {
    // Coroutines that still wait are destroyed with their handlers, and they use this worker on their way out.
    scoped_current guard(*this);
    while (watched_) {
        // A coroutine may own the very gate at which it waits: taken off the list first.
        detail::readiness_gate* g = watched_;
        unlink(g);
        g->writer.abandon();
        g->reader.abandon(); // a gate that went with its coroutine is only retired so far
    }
    while (free_slots_.next_ != &free_slots_) {
        auto* slot = free_slots_.next_;
        slot->unlink();
        slot->abandon();
    }
    ending_ = true;
    while (!locals_.empty()) // the last one made goes first
        locals_.pop_back();
    waiter_.reset();
    timer_.reset();
    context_.reset();
    while (!lasting_.empty())
        lasting_.pop_back();
    retired_.clear();
}

RELAIS_DECL void worker::unlink(detail::readiness_gate* g) noexcept {
    if (g->previous)
        g->previous->next = g->next;
    else if (watched_ == g)
        watched_ = g->next;
    if (g->next)
        g->next->previous = g->previous;
    g->previous = g->next = nullptr;
}

RELAIS_DECL void worker::run() {
    scoped_current guard(*this);
    context_->run();
}

RELAIS_DECL std::size_t worker::poll() {
    scoped_current guard(*this);
    context_->restart();
    return context_->poll();
}

RELAIS_DECL ticks worker::elapsed() const {
    return static_cast<ticks>((time_->steady() - began_) / deadline_wheel::resolution) + 1;
}

RELAIS_DECL void worker::catch_up() {
    scoped_current guard(*this);
    before_batch();
    deadlines_.advance_to(elapsed());
    after_batch();
}

RELAIS_DECL void worker::start_beat() {
    deadlines_.reset_to(elapsed());
    if (time_->flows())
        beat();
}

RELAIS_DECL void worker::beat() {
    timer_->expires_after(deadline_wheel::resolution);
    timer_->async_wait([this](boost::system::error_code error) {
        if (error)
            return;
        catch_up();
        if (!deadlines_.empty())
            beat();
    });
}

RELAIS_DECL detail::readiness_gate* worker::watch(int descriptor, int& error) {
    std::unique_ptr<detail::readiness_gate> g;
    if (gates_.empty()) {
        g = std::make_unique<detail::readiness_gate>();
    } else {
        g = std::move(gates_.back());
        gates_.pop_back();
    }
    error = waiter_->add(descriptor, *g);
    if (error) {
        gates_.push_back(std::move(g));
        return nullptr;
    }
    g->next = watched_;
    if (watched_)
        watched_->previous = g.get();
    watched_ = g.get();
    return g.release();
}

RELAIS_DECL void worker::unwatch(int descriptor, detail::readiness_gate* g) noexcept {
    if (waiter_)
        waiter_->remove(descriptor, *g);
    unlink(g);
    g->closed = true;
    g->on_hang_up = nullptr;
    retired_.emplace_back(g); // before its coroutines go: they may retire others
    g->reader.abandon();
    g->writer.abandon();
}

RELAIS_DECL void worker::after_batch() noexcept {
    constexpr std::size_t kept = 256;
    for (auto& g : retired_) {
        if (gates_.size() >= kept)
            break;
        g->readable = g->writable = g->hung_up = g->broken = g->closed = g->holds_input =
            g->read_needs_write = false;
        gates_.push_back(std::move(g));
    }
    retired_.clear();
}

} // namespace relais
