#pragma once

#include <relais/core/deadline.hpp>

namespace relais {

RELAIS_DECL void deadline::unlink() noexcept {
    if (!next)
        return;
    previous->next = next;
    next->previous = previous;
    previous = next = nullptr;
    --wheel_->linked_;
}

RELAIS_DECL deadline_wheel::deadline_wheel(void (*started)(void*), void* context) noexcept
    : started_(started), context_(context) {
    for (auto& head : heads_)
        head.previous = head.next = &head;
}

RELAIS_DECL deadline_wheel::~deadline_wheel() {
    for (auto& head : heads_)
        while (head.next != &head)
            static_cast<deadline*>(head.next)->unlink();
}

RELAIS_DECL void deadline_wheel::relink(deadline& node) noexcept {
    ticks after = node.at_ - now_;
    node.unlink();
    if (linked_ == 0 && started_ && !advancing_) {
        started_(context_); // may move the time on after a pause
        node.at_ = now_ + after;
    }
    insert(node);
}

RELAIS_DECL void deadline_wheel::insert(deadline& node) noexcept {
    node.wheel_ = this;
    node.bucket_ = std::min<ticks>(node.at_, now_ + static_cast<ticks>(buckets) - 1);
    auto& head = heads_[node.bucket_ % buckets];
    node.previous = head.previous;
    node.next = &head;
    head.previous->next = &node;
    head.previous = &node;
    ++linked_;
}

RELAIS_DECL void deadline_wheel::advance_to(ticks now) {
    // After a jump of more than one turn, one turn is enough: each bucket is looked at with the time near its end.
    if (now > now_ && now - now_ > buckets)
        now_ = now - static_cast<ticks>(buckets);
    advancing_ = true; // who arms a node meanwhile must not move the time below this loop
    while (now_ < now) {
        ++now_;
        auto& head = heads_[now_ % buckets];
        while (head.next != &head) {
            auto& node =
                *static_cast<deadline*>(head.next); // afresh each time: a call may destroy any node
            node.unlink();
            if (node.at_ == 0)
                continue;
            if (node.at_ > now_) {
                insert(node);
                continue;
            }
            node.at_ = 0;
            node.expired_(node);
        }
    }
    advancing_ = false;
}

} // namespace relais
