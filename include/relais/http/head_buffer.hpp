#pragma once

#include <relais/config.hpp>
#include <relais/core/block_pool.hpp>

#include <cstddef>

namespace relais {

/// The bytes of a head, and of what was read with it. Those of the usual size are used again by their worker.
class head_buffer {
public:
    static constexpr std::size_t usual = block_pool::block_size;

    head_buffer() noexcept = default;
    head_buffer(head_buffer&& other) noexcept;
    head_buffer& operator=(head_buffer&& other) noexcept;
    ~head_buffer() { release(); }

    /// A buffer of the current worker. \param capacity bytes at least.
    static head_buffer take(std::size_t capacity = usual);

    /// Makes it larger and keeps the first `used` bytes, which move.
    void grow(std::size_t capacity, std::size_t used);

    void release() noexcept {
        if (bytes_)
            give_back();
    }

    char* data() const noexcept { return bytes_; }
    std::size_t capacity() const noexcept { return capacity_; }
    explicit operator bool() const noexcept { return bytes_ != nullptr; }

private:
    void give_back() noexcept;

    char* bytes_ = nullptr;
    std::size_t capacity_ = 0;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/head_buffer.ipp>
#endif
