#pragma once

#include <relais/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace relais {

/// Follows the frames of one direction of a WebSocket without holding a byte of them.
///
/// A relay passes bytes on in whatever pieces they come. What it has to know for a Close of its own is where one
/// frame ends and the next one begins, and that cannot be found out later: the follower therefore sees every byte
/// from the first one after the handshake. It reads frame heads only and skips payloads, so that a large payload
/// costs nothing and may go past it through the kernel (`skip`).
///
/// A frame whose length cannot be right (not the shortest form, or over 2^63 - 1) makes it `lost()`: the bytes are
/// still relayed, and the receiver will refuse them, but nothing can be put between them any more. Opcodes, reserved
/// bits and masking are the endpoints' affair. A control frame may stand between the fragments of a message, so every
/// end of a frame will do.
///
/// Thread safety: none. Source: RFC 6455, sections 5.2, 5.4 and 5.5.
class frame_follower {
public:
    /// What the longest head has.
    static constexpr std::size_t head_size = 14;

    /// Bytes that were passed on, in order, in pieces of any size.
    void consume(std::span<std::byte const> bytes) noexcept;

    /// Payload that was passed on without being looked at.
    /// \param size bytes, at most `payload_left()`.
    void skip(std::uint64_t size) noexcept {
        RELAIS_ASSERT(size <= payload_left());
        left_ -= size;
    }

    /// How many of `bytes`, which come next, have to be passed on until a frame ends: 0 at a boundary, `bytes.size()` where
    /// none ends within them.
    std::size_t until_boundary(std::span<std::byte const> bytes) const noexcept;

    /// True between two frames and before the first one.
    bool at_boundary() const noexcept { return phase_ == phase::opcode && left_ == 0; }

    /// How many bytes of the current frame's payload are still to come, 0 within a head and when lost.
    std::uint64_t payload_left() const noexcept { return phase_ == phase::opcode ? left_ : 0; }

    /// True once a Close frame has begun: nothing may follow it in this direction.
    bool close_seen() const noexcept { return close_seen_; }

    /// True once the frames cannot be followed any more. It stays so.
    bool lost() const noexcept { return phase_ == phase::lost; }

private:
    enum class phase : std::uint8_t { opcode, length, extended_length, key, lost };

    std::size_t step(std::byte const* data, std::size_t size) noexcept;
    void byte(std::uint8_t value) noexcept;
    void length_is(std::uint64_t length, unsigned extended) noexcept;

    std::uint64_t left_ = 0; // of the payload; within a head, the length as far as it is known
    phase phase_ = phase::opcode;
    std::uint8_t to_come_ = 0;  // bytes of the extended length or of the key
    std::uint8_t extended_ = 0; // bytes that the extended length has
    bool masked_ : 1 = false;
    bool close_seen_ : 1 = false;
};

static_assert(sizeof(frame_follower) <= 16);

/// The bytes of one Close frame.
class close_frame {
public:
    /// What goes on the wire.
    std::span<std::byte const> bytes() const noexcept { return {data_.data(), size_}; }

private:
    friend close_frame make_close(std::uint16_t, std::string_view, bool);

    std::array<std::byte, 131> data_;
    std::uint8_t size_ = 0;
};

/// Makes a Close frame.
/// \param code 1000 to 1003, 1007 to 1014 or 3000 to 4999.
/// \param reason UTF-8; what is over 123 bytes is cut off, never within a character.
/// \param masked true towards a server: a key that nobody can foresee is drawn for it.
/// \throws std::invalid_argument for a code that must not be sent, std::runtime_error where there is no randomness.
/// Source: RFC 6455, sections 5.3, 5.5.1 and 7.4.
close_frame make_close(std::uint16_t code, std::string_view reason, bool masked);

} // namespace relais

#include <relais/websocket/impl/frame.hpp>
#if defined(RELAIS_HEADER_ONLY)
#include <relais/websocket/impl/frame.ipp>
#endif
