#pragma once

namespace relais {

// Inline, because a segment may hold a hundred small frames.

inline void frame_follower::length_is(std::uint64_t length, unsigned extended) noexcept {
    bool const wrong =
        extended == 2 ? length < 126 : extended == 8 && (length < 65536 || length >> 63 != 0);
    left_ = wrong ? 0 : length;
    if (wrong)
        phase_ = phase::lost;
}

// Takes a payload or a whole head where it can, one byte of a head where it cannot.
inline std::size_t frame_follower::step(std::byte const* data, std::size_t size) noexcept {
    if (phase_ == phase::opcode) {
        if (left_ >= size) {
            left_ -= size;
            return size;
        }
        if (left_ != 0) {
            auto const rest = static_cast<std::size_t>(left_);
            left_ = 0;
            return rest;
        }
        if (size >= 2) {
            auto const at = [data](std::size_t i) {
                return std::to_integer<std::uint8_t>(data[i]);
            };
            std::size_t const key = (at(1) & 0x80) != 0 ? 4 : 0;
            std::uint64_t length = at(1) & 0x7f;
            unsigned const extended = length == 126 ? 2 : length == 127 ? 8 : 0;
            std::size_t const head = 2 + extended + key;
            if (size >= head) {
                if (extended != 0)
                    length = 0;
                for (unsigned i = 0; i < extended; ++i)
                    length = length << 8 | at(2 + i);
                if ((at(0) & 0x0f) == 8)
                    close_seen_ = true;
                length_is(length, extended);
                return head;
            }
        }
    } else if (phase_ == phase::lost) {
        return size;
    }
    byte(std::to_integer<std::uint8_t>(*data));
    return 1;
}

inline void frame_follower::consume(std::span<std::byte const> bytes) noexcept {
    std::byte const* data = bytes.data();
    std::size_t size = bytes.size();
    while (size != 0) {
        std::size_t const n = step(data, size);
        data += n;
        size -= n;
    }
}

} // namespace relais
