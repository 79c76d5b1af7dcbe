#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/head_buffer.hpp>

#include <cstring>
#include <utility>
#include <vector>

namespace relais {

namespace detail {

struct head_buffers {
    static constexpr std::size_t kept = 128;
    std::vector<std::unique_ptr<char[]>> idle;

    static head_buffers& current() {
        static char const key = 0;
        return worker::current().lasting<head_buffers>(&key, [] { return std::make_shared<head_buffers>(); });
    }
};

} // namespace detail

RELAIS_DECL head_buffer::head_buffer(head_buffer&& other) noexcept
    : bytes_(std::move(other.bytes_)), capacity_(std::exchange(other.capacity_, 0)) {}

RELAIS_DECL head_buffer& head_buffer::operator=(head_buffer&& other) noexcept {
    release();
    bytes_ = std::move(other.bytes_);
    capacity_ = std::exchange(other.capacity_, 0);
    return *this;
}

RELAIS_DECL head_buffer head_buffer::take(std::size_t capacity) {
    head_buffer made;
    auto& idle = detail::head_buffers::current().idle;
    if (capacity <= usual && !idle.empty()) {
        made.bytes_ = std::move(idle.back());
        idle.pop_back();
        made.capacity_ = usual;
        return made;
    }
    made.capacity_ = capacity <= usual ? usual : capacity;
    made.bytes_.reset(new char[made.capacity_]);
    return made;
}

RELAIS_DECL void head_buffer::grow(std::size_t capacity, std::size_t used) {
    auto larger = take(capacity);
    std::memcpy(larger.data(), data(), used);
    *this = std::move(larger);
}

RELAIS_DECL void head_buffer::release() noexcept {
    if (!bytes_)
        return;
    if (capacity_ == usual && worker::on_a_worker()) {
        auto& idle = detail::head_buffers::current().idle;
        if (idle.size() < detail::head_buffers::kept)
            idle.push_back(std::move(bytes_));
    }
    bytes_.reset();
    capacity_ = 0;
}

} // namespace relais
