#pragma once

#include <relais/http/body.hpp>
#include <relais/net/socket.hpp>

#include <algorithm>
#include <cstring>

namespace relais {

RELAIS_DECL io_result text_body::try_read(std::span<std::byte> to) {
    auto count = std::min(to.size(), text_.size() - at_);
    if (!count)
        return {0, io_state::end};
    std::memcpy(to.data(), text_.data() + at_, count);
    at_ += count;
    return {count, io_state::ok};
}

RELAIS_DECL void framed_body::begin(stream& from, body_framing framing, std::string_view came,
                                    std::chrono::milliseconds limit) {
    from_ = &from;
    came_ = came;
    limit_ = limit;
    kind_ = framing.kind;
    left_ = framing.kind == framing_kind::length ? framing.length : 0;
    bool none = kind_ == framing_kind::none || (kind_ == framing_kind::length && left_ == 0);
    state_ = none ? state::ended : state::running;
    if (kind_ == framing_kind::chunked)
        decoder_ = std::make_unique<chunked_decoder>();
}

RELAIS_DECL void framed_body::recycle() noexcept {
    from_ = nullptr;
    came_ = {};
    excess_.clear();
    decoder_.reset();
    left_ = 0;
    kind_ = framing_kind::none;
    state_ = state::ended;
    failure_ = end_reason::completed;
}

RELAIS_DECL io_result framed_body::fail(end_reason why) noexcept {
    state_ = state::failed;
    failure_ = why;
    return {0, io_state::error};
}

RELAIS_DECL std::optional<std::uint64_t> framed_body::remaining() const noexcept {
    if (state_ == state::ended)
        return 0;
    if (kind_ == framing_kind::length)
        return left_;
    return std::nullopt;
}

RELAIS_DECL body::source framed_body::raw() noexcept {
    if (state_ != state::running || kind_ != framing_kind::length || !came_.empty() ||
        !from_->plain())
        return {};
    return {from_->plain(), &left_};
}

RELAIS_DECL void framed_body::settle() noexcept {
    if (state_ == state::running && kind_ == framing_kind::length && left_ == 0)
        state_ = state::ended;
}

RELAIS_DECL std::string_view framed_body::take_came() noexcept {
    if (kind_ != framing_kind::length || state_ != state::running)
        return {};
    auto count = static_cast<std::size_t>(std::min<std::uint64_t>(came_.size(), left_));
    auto taken = came_.substr(0, count);
    came_.remove_prefix(count);
    left_ -= count;
    settle();
    return taken;
}

RELAIS_DECL void framed_body::restore(std::string_view whole) noexcept {
    came_ = {whole.data(),
             whole.size() + came_.size()}; // what follows in the same buffer stands right behind it
    left_ = whole.size();
    state_ = state::running;
}

RELAIS_DECL io_result framed_body::try_read(std::span<std::byte> to) {
    if (state_ == state::failed)
        return {0, io_state::error};
    settle();
    if (state_ == state::ended)
        return {0, io_state::end};
    switch (kind_) {
    case framing_kind::length: return read_length(to);
    case framing_kind::chunked: return read_chunked(to);
    default: return read_until_close(to);
    }
}

RELAIS_DECL io_result framed_body::read_length(std::span<std::byte> to) {
    to = to.first(static_cast<std::size_t>(std::min<std::uint64_t>(to.size(), left_)));
    if (!came_.empty()) {
        auto count = std::min(to.size(), came_.size());
        std::memcpy(to.data(), came_.data(), count);
        came_.remove_prefix(count);
        left_ -= count;
        settle();
        return {count, io_state::ok};
    }
    auto got = from_->try_read(to);
    if (got.state == io_state::ok) {
        left_ -= got.count;
        settle();
    } else if (got.state != io_state::would_block) {
        return fail(incomplete_);
    }
    return got;
}

RELAIS_DECL io_result framed_body::read_until_close(std::span<std::byte> to) {
    if (!came_.empty()) {
        auto count = std::min(to.size(), came_.size());
        std::memcpy(to.data(), came_.data(), count);
        came_.remove_prefix(count);
        return {count, io_state::ok};
    }
    auto got = from_->try_read(to);
    if (got.state == io_state::end)
        state_ = state::ended;
    else if (got.state == io_state::error)
        return fail(incomplete_);
    return got;
}

RELAIS_DECL io_result framed_body::read_chunked(std::span<std::byte> to) {
    to = to.first(std::min(to.size(), chunked_read_size_));
    for (;;) {
        // What came is decoded where it is put: the content of chunks is never longer than their coding.
        std::size_t raw;
        if (!came_.empty()) {
            raw = std::min(to.size(), came_.size());
            std::memcpy(to.data(), came_.data(), raw);
            came_.remove_prefix(raw);
        } else {
            auto got = from_->try_read(to);
            if (got.state == io_state::end || got.state == io_state::error)
                return fail(incomplete_);
            if (got.state == io_state::would_block)
                return got;
            raw = got.count;
        }
        std::span<std::byte const> coded = to.first(raw);
        std::size_t content = 0;
        while (!coded.empty() && state_ == state::running) {
            auto step = decoder_->decode(coded);
            if (step.state == chunk_state::rejected)
                return fail(malformed_);
            if (!step.data.empty()) {
                std::memmove(to.data() + content, step.data.data(), step.data.size());
                content += step.data.size();
            }
            coded = coded.subspan(step.consumed);
            if (step.state == chunk_state::end) {
                state_ = state::ended;
                excess_.assign(reinterpret_cast<char const*>(coded.data()), coded.size());
                excess_.append(came_);
                came_ = {};
            }
        }
        if (content)
            return {content, io_state::ok};
        if (state_ == state::ended)
            return {0, io_state::end};
    }
}

RELAIS_DECL fields const* framed_body::trailers() const noexcept {
    return decoder_ ? decoder_->trailers() : nullptr;
}

} // namespace relais
