#pragma once

#include <relais/config.hpp>

#include <cstddef>
#include <cstring>
#include <memory>

namespace relais {

/// Blocks of memory of one size that are used again and again by one worker.
class block_pool {
public:
    static constexpr std::size_t block_size = 16 * 1024;

    block_pool() = default;
    block_pool(block_pool const&) = delete;
    block_pool& operator=(block_pool const&) = delete;
    ~block_pool() {
        while (first_)
            delete[] pop();
    }

    /// A block of `block_size` bytes, to be given back or deleted with `delete[]`.
    char* take() { return first_ ? pop() : new char[block_size]; }

    void give(char* block) noexcept {
        if (idle_ >= kept) {
            delete[] block;
            return;
        }
        std::memcpy(block, &first_,
                    sizeof first_); // an idle block holds the address of the next one
        first_ = block;
        ++idle_;
    }

private:
    static constexpr std::size_t kept = 128;

    char* pop() noexcept {
        char* block = first_;
        std::memcpy(&first_, block, sizeof first_);
        --idle_;
        return block;
    }

    char* first_ = nullptr;
    std::size_t idle_ = 0;
};

} // namespace relais
