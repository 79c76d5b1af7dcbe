#pragma once

#include <relais/config.hpp>

#include <cstddef>
#include <memory>

namespace relais {

/// The bytes of a head, and of what was read with it. Those of the usual size are used again by their worker.
class head_buffer {
public:
    static constexpr std::size_t usual = 16 * 1024;

    head_buffer() noexcept = default;
    head_buffer(head_buffer&& other) noexcept;
    head_buffer& operator=(head_buffer&& other) noexcept;
    ~head_buffer() { release(); }

    /// A buffer of the current worker. \param capacity bytes at least.
    static head_buffer take(std::size_t capacity = usual);

    /// Makes it larger and keeps the first `used` bytes, which move.
    void grow(std::size_t capacity, std::size_t used);

    void release() noexcept;

    char* data() const noexcept { return bytes_.get(); }
    std::size_t capacity() const noexcept { return capacity_; }
    explicit operator bool() const noexcept { return bytes_ != nullptr; }

private:
    std::unique_ptr<char[]> bytes_;
    std::size_t capacity_ = 0;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/head_buffer.ipp>
#endif
