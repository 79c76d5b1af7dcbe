#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/head_buffer.hpp>

#include <cstring>
#include <utility>

namespace relais {

RELAIS_DECL head_buffer::head_buffer(head_buffer&& other) noexcept
    : bytes_(std::exchange(other.bytes_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}

RELAIS_DECL head_buffer& head_buffer::operator=(head_buffer&& other) noexcept {
    release();
    bytes_ = std::exchange(other.bytes_, nullptr);
    capacity_ = std::exchange(other.capacity_, 0);
    return *this;
}

RELAIS_DECL head_buffer head_buffer::take(std::size_t capacity) {
    head_buffer made;
    made.capacity_ = capacity <= usual ? usual : capacity;
    made.bytes_ = capacity <= usual ? worker::current().blocks().take() : new char[capacity];
    return made;
}

RELAIS_DECL void head_buffer::grow(std::size_t capacity, std::size_t used) {
    auto larger = take(capacity);
    std::memcpy(larger.data(), data(), used);
    *this = std::move(larger);
}

RELAIS_DECL void head_buffer::give_back() noexcept {
    if (capacity_ == usual && worker::on_a_worker())
        worker::current().blocks().give(bytes_);
    else
        delete[] bytes_;
    bytes_ = nullptr;
    capacity_ = 0;
}

} // namespace relais
