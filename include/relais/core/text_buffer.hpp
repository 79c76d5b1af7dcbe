#pragma once

#include <relais/config.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <string_view>

namespace relais {

/// Text that is put together piece by piece and sent at once: a growing buffer without a terminating zero, whose
/// storage is used again and again.
class text_buffer {
public:
    text_buffer() = default;
    text_buffer(text_buffer const&) = delete;
    text_buffer& operator=(text_buffer const&) = delete;

    [[gnu::always_inline]] text_buffer& put(std::string_view piece) {
        if (piece.empty())
            return *this;
        if (static_cast<std::size_t>(end_ - at_) < piece.size())
            grow(piece.size());
        std::memcpy(at_, piece.data(), piece.size());
        at_ += piece.size();
        return *this;
    }

    /// One line of a head.
    [[gnu::always_inline]] text_buffer& put_field(std::string_view name, std::string_view value) {
        auto size = name.size() + value.size() + 4;
        if (static_cast<std::size_t>(end_ - at_) < size)
            grow(size);
        std::memcpy(at_, name.data(), name.size());
        at_ += name.size();
        std::memcpy(at_, ": ", 2);
        at_ += 2;
        std::memcpy(at_, value.data(), value.size());
        at_ += value.size();
        std::memcpy(at_, "\r\n", 2);
        at_ += 2;
        return *this;
    }

    text_buffer& put_number(std::uint64_t number) {
        char digits[20];
        auto* first = std::end(digits);
        do
            *--first = static_cast<char>('0' + number % 10);
        while (number /= 10);
        return put({first, static_cast<std::size_t>(std::end(digits) - first)});
    }

    void clear() noexcept { at_ = begin_.get(); }

    /// Takes off what has been sent. \param count at most `size()`.
    void erase_front(std::size_t count) noexcept {
        auto rest = size() - count;
        if (rest)
            std::memmove(begin_.get(), begin_.get() + count, rest);
        at_ = begin_.get() + rest;
    }

    std::size_t size() const noexcept { return static_cast<std::size_t>(at_ - begin_.get()); }
    std::string_view view() const noexcept { return {begin_.get(), size()}; }

private:
    void grow(std::size_t more) {
        auto used = size();
        auto capacity = static_cast<std::size_t>(end_ - begin_.get());
        capacity = capacity * 2 + more + 4096;
        std::unique_ptr<char[]> larger(new char[capacity]);
        if (used)
            std::memcpy(larger.get(), begin_.get(), used);
        begin_ = std::move(larger);
        at_ = begin_.get() + used;
        end_ = begin_.get() + capacity;
    }

    std::unique_ptr<char[]> begin_;
    char* at_ = nullptr;
    char* end_ = nullptr;
};

} // namespace relais
