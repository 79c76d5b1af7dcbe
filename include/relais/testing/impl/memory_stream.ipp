#pragma once

#include <relais/core/worker.hpp>
#include <relais/testing/memory_stream.hpp>

#include <algorithm>
#include <cstring>
#include <vector>

namespace relais::testing {

struct memory_stream::direction {
    std::vector<std::byte> bytes;
    std::size_t begin = 0;
    std::size_t capacity = 0;
    bool ended = false;  // the writer said that nothing more comes
    bool broken = false; // the writer aborted, or the reader is gone

    std::size_t size() const noexcept { return bytes.size() - begin; }
};

struct memory_stream::wiring {
    direction to[2]; // what flows to side 0 and to side 1
    detail::readiness_gate of[2];
    detail::readiness_gate* gates[2] = {nullptr, nullptr}; // null once the end is gone
};

RELAIS_DECL memory_stream::ends memory_stream::make(memory_options first, memory_options second) {
    auto wires = std::make_shared<wiring>();
    return {std::unique_ptr<memory_stream>(new memory_stream(wires, 0, first)),
            std::unique_ptr<memory_stream>(new memory_stream(wires, 1, second))};
}

RELAIS_DECL memory_stream::memory_stream(std::shared_ptr<wiring> wires, std::size_t side,
                                         memory_options options)
    : stream(&wires->of[side]), own_gate_(wires->of[side]), wires_(std::move(wires)), side_(side),
      options_(options) {
    own_gate_.writable = options.capacity != 0;
    outgoing().capacity = options.capacity;
    wires_->gates[side_] = &own_gate_;
}

RELAIS_DECL memory_stream::~memory_stream() {
    close();
    wires_->gates[side_] = nullptr;
    own_gate_.reader.abandon();
    own_gate_.writer.abandon();
}

RELAIS_DECL memory_stream::direction& memory_stream::incoming() const noexcept {
    return wires_->to[side_];
}

RELAIS_DECL memory_stream::direction& memory_stream::outgoing() const noexcept {
    return wires_->to[1 - side_];
}

RELAIS_DECL std::size_t memory_stream::unread() const noexcept {
    return incoming().size();
}

RELAIS_DECL bool memory_stream::fails() noexcept {
    if (until_failure_ == std::numeric_limits<std::size_t>::max())
        return false;
    if (until_failure_ == 0)
        return true;
    --until_failure_;
    return false;
}

// The flags change at once; who waits is woken later, so that no coroutine runs on the stack of the other end.
RELAIS_DECL void memory_stream::tell(std::size_t side, bool readable, bool writable, bool hung_up) {
    detail::readiness_gate* g = wires_->gates[side];
    if (!g || g->closed)
        return;
    if (!worker::on_a_worker()) {
        g->notify(readable, writable, hung_up, wires_->to[side].broken);
        return;
    }
    g->readable = g->readable || readable;
    g->writable = g->writable || writable;
    if (!hung_up && !g->reader.occupied() && !g->writer.occupied())
        return;
    if (worker::current().is_ending()) // nobody waits any more
        return;
    worker::current().post([wires = wires_, side, readable, writable, hung_up] {
        detail::readiness_gate* const still = wires->gates[side];
        if (!still)
            return;
        direction const& in = wires->to[side]; // it may have been read meanwhile
        direction const& out = wires->to[1 - side];
        still->notify(readable && (in.size() != 0 || in.ended || in.broken),
                      writable && (out.size() < out.capacity || hung_up), hung_up, in.broken);
    });
}

RELAIS_DECL io_result memory_stream::try_read(std::span<std::byte> to) {
    if (own_gate_.closed || fails())
        return {0, io_state::error};
    auto& in = incoming();
    if (in.broken)
        return {0, io_state::error};
    std::size_t const count = std::min({to.size(), in.size(), options_.read_at_most});
    if (count == 0 && !to.empty()) {
        if (in.ended)
            return {0, io_state::end};
        own_gate_.readable = false;
        return {0, io_state::would_block};
    }
    std::memcpy(to.data(), in.bytes.data() + in.begin, count);
    in.begin += count;
    if (in.size() == 0) {
        in.bytes.clear();
        in.begin = 0;
        if (!in.ended)
            own_gate_.readable = false;
    }
    if (in.size() < in.capacity)
        tell(1 - side_, false, true, false);
    return {count, io_state::ok};
}

RELAIS_DECL io_result memory_stream::try_write(std::span<boost::asio::const_buffer const> from) {
    auto& out = outgoing();
    if (own_gate_.closed || fails() || out.ended || out.broken || incoming().broken)
        return {0, io_state::error};
    std::size_t room =
        std::min(options_.write_at_most, out.capacity - std::min(out.capacity, out.size()));
    std::size_t taken = 0;
    std::size_t offered = 0;
    for (auto const& part : from) {
        offered += part.size();
        std::size_t const n = std::min(room, part.size());
        auto const* data = static_cast<std::byte const*>(part.data());
        out.bytes.insert(out.bytes.end(), data, data + n);
        room -= n;
        taken += n;
    }
    written_ += taken;
    if (out.size() >= out.capacity)
        own_gate_.writable = false;
    if (taken == 0 && offered != 0)
        return {0, io_state::would_block};
    if (taken != 0)
        tell(1 - side_, true, false, false);
    return {taken, io_state::ok};
}

RELAIS_DECL void memory_stream::set_capacity(std::size_t bytes) {
    outgoing().capacity = bytes;
    if (outgoing().size() < bytes)
        tell(side_, false, true, false);
    else
        own_gate_.writable = false;
}

RELAIS_DECL void memory_stream::shutdown_send() {
    if (own_gate_.closed)
        return;
    outgoing().ended = true;
    tell(1 - side_, true, false, true);
}

RELAIS_DECL void memory_stream::close() noexcept {
    if (own_gate_.closed)
        return;
    shutdown_send();
    incoming().ended = true;
    incoming().bytes.clear();
    incoming().begin = 0;
    own_gate_.close();
    tell(1 - side_, false, true, true);
}

RELAIS_DECL void memory_stream::abort() noexcept {
    if (own_gate_.closed)
        return;
    outgoing().broken = true;
    own_gate_.close();
    tell(1 - side_, true, true, true);
}

} // namespace relais::testing
