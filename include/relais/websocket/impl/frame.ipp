#pragma once

#include <relais/websocket/frame.hpp>

#include <openssl/rand.h>

#include <algorithm>
#include <stdexcept>
#include <string>

namespace relais {

RELAIS_DECL void frame_follower::byte(std::uint8_t value) noexcept {
    auto const key_follows = [this] {
        phase_ = masked_ ? phase::key : phase::opcode;
        to_come_ = 4;
    };
    switch (phase_) {
    case phase::opcode:
        if ((value & 0x0f) == 8)
            close_seen_ = true;
        phase_ = phase::length;
        return;
    case phase::length:
        masked_ = (value & 0x80) != 0;
        left_ = value & 0x7f;
        if (left_ < 126)
            return key_follows();
        extended_ = to_come_ = left_ == 126 ? 2 : 8;
        left_ = 0;
        phase_ = phase::extended_length;
        return;
    case phase::extended_length:
        left_ = left_ << 8 | value;
        if (--to_come_ != 0)
            return;
        length_is(left_, extended_);
        if (phase_ != phase::lost)
            key_follows();
        return;
    case phase::key:
        if (--to_come_ == 0)
            phase_ = phase::opcode;
        return;
    case phase::lost: return;
    }
}

RELAIS_DECL std::size_t
frame_follower::until_boundary(std::span<std::byte const> bytes) const noexcept {
    frame_follower ahead = *this;
    std::size_t done = 0;
    while (!ahead.at_boundary() && done != bytes.size())
        done += ahead.step(bytes.data() + done, bytes.size() - done);
    return done;
}

RELAIS_DECL close_frame make_close(std::uint16_t code, std::string_view reason, bool masked) {
    bool const sendable = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                          (code >= 3000 && code <= 4999);
    if (!sendable)
        throw std::invalid_argument("the WebSocket close code " + std::to_string(code) +
                                    " must not be sent");

    std::size_t size = std::min<std::size_t>(reason.size(), 123);
    auto const continues = [&](std::size_t i) {
        return (static_cast<unsigned char>(reason[i]) & 0xc0) == 0x80;
    };
    if (size < reason.size())
        while (size != 0 && continues(size))
            --size;

    close_frame frame;
    std::size_t n = 0;
    auto const put = [&](unsigned value) { frame.data_[n++] = static_cast<std::byte>(value); };
    put(0x88);
    put(static_cast<unsigned>(size + 2) | (masked ? 0x80u : 0u));
    unsigned char key[4] = {};
    if (masked) {
        if (RAND_bytes(key, sizeof key) != 1)
            throw std::runtime_error("no random bytes for a WebSocket masking key");
        for (unsigned char const k : key)
            put(k);
    }
    put(code >> 8 ^ key[0]);
    put((code & 0xffu) ^ key[1]);
    for (std::size_t i = 0; i < size; ++i)
        put(static_cast<unsigned char>(reason[i]) ^ key[(i + 2) % 4]);
    frame.size_ = static_cast<std::uint8_t>(n);
    return frame;
}

} // namespace relais
