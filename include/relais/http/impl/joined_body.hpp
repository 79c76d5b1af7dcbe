#pragma once

#include <relais/http/body.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace relais::detail {

/// Bytes that were there, then the rest.
class joined_body final : public body {
public:
    joined_body(std::string first, std::unique_ptr<body> rest)
        : first_(std::move(first)), rest_(std::move(rest)) {}

    io_result try_read(std::span<std::byte> to) override {
        if (at_ < first_.size()) {
            auto count = std::min(to.size(), first_.size() - at_);
            std::memcpy(to.data(), first_.data() + at_, count);
            at_ += count;
            return {count, io_state::ok};
        }
        return rest_ ? rest_->try_read(to) : io_result{0, io_state::end};
    }
    stream* waits_on() noexcept override { return rest_ ? rest_->waits_on() : nullptr; }
    std::chrono::milliseconds wait_limit() const noexcept override {
        return rest_ ? rest_->wait_limit() : body::wait_limit();
    }
    std::optional<std::uint64_t> remaining() const noexcept override {
        std::uint64_t first = first_.size() - at_;
        if (!rest_)
            return first;
        auto more = rest_->remaining();
        return more ? std::optional(first + *more) : std::nullopt;
    }
    end_reason failure() const noexcept override {
        return rest_ ? rest_->failure() : body::failure();
    }
    end_reason silence() const noexcept override {
        return rest_ ? rest_->silence() : body::silence();
    }
    void finished() override {
        if (rest_)
            rest_->finished();
    }

private:
    std::string first_;
    std::unique_ptr<body> rest_;
    std::size_t at_ = 0;
};

} // namespace relais::detail
