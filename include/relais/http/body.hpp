#pragma once

#include <relais/config.hpp>
#include <relais/core/error.hpp>
#include <relais/http/chunked.hpp>
#include <relais/http/framing.hpp>
#include <relais/net/stream.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace relais {

/// The content of a message, pulled in pieces by whoever sends or keeps it.
///
/// A stage transforms a body by wrapping it: a class of its own that owns the inner body and reads from it. A body
/// owns what it needs; it never refers to something in a stage's frame.
class body {
public:
    body() = default;
    body(body const&) = delete;
    body& operator=(body const&) = delete;
    virtual ~body() = default;

    /// Reads what is there: `ok` with bytes, `would_block`, `end` after the last byte, or `error`.
    virtual io_result try_read(std::span<std::byte> to) = 0;

    /// What to wait on after `would_block`, until it is readable. Null for bodies that never block.
    virtual stream* waits_on() noexcept { return nullptr; }

    /// How long one wait for more bytes may take.
    virtual std::chrono::milliseconds wait_limit() const noexcept {
        return std::chrono::seconds(60);
    }

    /// Why the message is over after such a wait in which nothing came.
    virtual end_reason silence() const noexcept { return end_reason::response_timeout; }

    /// How many bytes are still to come, where that is known.
    virtual std::optional<std::uint64_t> remaining() const noexcept { return std::nullopt; }

    /// Why `try_read` failed.
    virtual end_reason failure() const noexcept { return end_reason::response_incomplete; }

    /// The raw bytes behind a body that nobody has to look at.
    struct source {
        socket* from = nullptr;        ///< null: there is no such source
        std::uint64_t* left = nullptr; ///< the taker counts it down
    };

    /// Offers the bytes that are still to come straight from the kernel's socket, for splice.
    virtual source raw() noexcept { return {}; }

    /// Says that everything was taken; called once, by the writer, after the end was read.
    virtual void finished() {}
};

/// A body that is in memory.
class text_body final : public body {
public:
    explicit text_body(std::string text) : text_(std::move(text)) {}
    io_result try_read(std::span<std::byte> to) override;
    std::optional<std::uint64_t> remaining() const noexcept override { return text_.size() - at_; }

private:
    std::string text_;
    std::size_t at_ = 0;
};

/// The rest of one message on a stream: what came with its head, then what its framing says.
///
/// Serves requests and responses. It never reads past the end of the message from the stream's own buffers except
/// for chunked framing, where what came too much is kept in `excess()`.
class framed_body : public body {
public:
    framed_body() = default;

    /// \param came bytes that were read with the head; they have to outlive this body or its first reads.
    void begin(stream& from, body_framing framing, std::string_view came,
               std::chrono::milliseconds limit);

    io_result try_read(std::span<std::byte> to) override;
    stream* waits_on() noexcept override { return from_; }
    std::chrono::milliseconds wait_limit() const noexcept override { return limit_; }
    std::optional<std::uint64_t> remaining() const noexcept override;
    end_reason failure() const noexcept override { return failure_; }
    source raw() noexcept override;

    /// What a stream that ends too early, and what bytes that make no sense are reported as.
    void set_failures(end_reason incomplete, end_reason malformed) noexcept {
        incomplete_ = incomplete;
        malformed_ = malformed;
    }

    /// How much of a chunked body is read at once, and so how much may have to be kept that is behind its end.
    void set_chunked_read_size(std::size_t bytes) noexcept { chunked_read_size_ = bytes; }

    /// Takes the bytes that came with the head, of a body of known length, without copying them.
    std::string_view take_came() noexcept;

    /// Puts back what `take_came` took, where that was the whole message.
    void restore(std::string_view whole) noexcept;

    /// Back to an empty body, for the next message.
    void recycle() noexcept;

    /// Whether the message has been read to its end.
    bool complete() const noexcept {
        return state_ == state::ended || (kind_ == framing_kind::length && left_ == 0);
    }

    /// Whether every byte of the message has come, read or not.
    bool has_come() const noexcept {
        return complete() || (kind_ == framing_kind::length && left_ <= came_.size());
    }

    /// What was read beyond the end of the message.
    std::string_view excess() const noexcept {
        return excess_.empty() ? came_ : std::string_view(excess_);
    }

    /// The trailers of a chunked body, once it is complete; they stay as they came, in a list of their own.
    fields const* trailers() const noexcept;

protected:
    enum class state : std::uint8_t { running, ended, failed };
    void settle() noexcept;
    io_result fail(end_reason why) noexcept;
    io_result read_length(std::span<std::byte> to);
    io_result read_chunked(std::span<std::byte> to);
    io_result read_until_close(std::span<std::byte> to);

    stream* from_ = nullptr;
    std::string_view came_;
    std::string excess_;
    std::uint64_t left_ = 0;
    std::size_t chunked_read_size_ = std::numeric_limits<std::size_t>::max();
    std::unique_ptr<chunked_decoder> decoder_;
    std::chrono::milliseconds limit_{};
    framing_kind kind_ = framing_kind::none;
    state state_ = state::ended;
    end_reason incomplete_ = end_reason::response_incomplete;
    end_reason malformed_ = end_reason::bad_response;
    end_reason failure_ = end_reason::completed;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/body.ipp>
#endif
