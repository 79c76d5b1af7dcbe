#pragma once

#include <relais/config.hpp>
#include <relais/http/fields.hpp>
#include <relais/http/parser.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace relais {

/// What the decoder found in the bytes it was given.
enum class chunk_state : std::uint8_t {
    need_more, ///< all bytes are used up; the body goes on
    data,      ///< a piece of the body; what follows it has not been looked at
    end,       ///< the body is over; what follows belongs to the next message
    rejected,  ///< the framing is broken: nothing on this connection can be trusted any more
};

/// What came of decoding.
struct chunk_result {
    chunk_state state = chunk_state::need_more;
    std::size_t consumed =
        0; ///< bytes of the input that are done with, the piece of data among them
    std::span<std::byte const> data = {}; ///< a slice of the input
    char const* sentence = "";            ///< what is wrong, for a log
};

/// Bounds of a chunked body's framing.
struct chunk_limits {
    std::size_t max_extensions = 256;        ///< bytes of chunk extensions in the whole body
    std::size_t max_trailer_size = 8 * 1024; ///< bytes of the trailer section
    std::size_t max_trailers = 32;           ///< trailer fields
};

/// Takes the chunked coding off a body, without input and output of its own and without a copy.
///
///     for (;;) {
///         auto const r = decoder.decode(input);
///         input = input.subspan(r.consumed);
///         if (r.state != chunk_state::data) break;
///         ... r.data ...
///     }
///
/// It is strict: sizes are 1 to 16 hexadecimal digits below 2^63, lines end with CRLF, no white
/// space is passed over. Extensions are counted and dropped. Trailers are kept apart from the
/// head's fields; one that would change framing, routing or authentication rejects the body.
/// Nothing is allocated where there are no trailers.
///
/// Thread safety: none. Source: RFC 9112, section 7.1; RFC 9110, section 6.5.1.
class chunked_decoder {
public:
    explicit chunked_decoder(chunk_limits const& limits = {}) noexcept : limits_(limits) {}

    /// Looks at bytes of the body, in order, in pieces of any size.
    chunk_result decode(std::span<std::byte const> input);

    /// Bytes of the chunk's data that are still to come; 0 between chunks.
    std::uint64_t data_left() const noexcept { return phase_ == phase::data ? left_ : 0; }

    /// Data that was passed on without being looked at. \param size bytes, at most `data_left()`.
    void skip(std::uint64_t size) noexcept {
        RELAIS_ASSERT(size <= data_left());
        left_ -= size;
        if (left_ == 0 && phase_ == phase::data)
            phase_ = phase::data_cr;
    }

    /// True once the body has ended as it should.
    bool done() const noexcept { return phase_ == phase::end; }

    /// The trailer fields, null where there were none. They live as long as the decoder, up to
    /// `reset()`.
    fields const* trailers() const noexcept {
        return done() && trailers_ ? &trailers_->into : nullptr;
    }

    /// Gets ready for the next body.
    void reset() noexcept;

private:
    enum class phase : std::uint8_t {
        size,
        extension,
        size_lf,
        data,
        data_cr,
        data_lf,
        trailer,
        last_lf,
        end,
        rejected
    };

    struct trailer_section {
        std::string bytes;
        fields into;
        head_parser parser;
    };

    bool framing(std::byte byte, char const*& sentence) noexcept;
    chunk_result trailer(std::span<std::byte const> input, std::size_t at);
    chunk_result reject(std::size_t at, char const* sentence) noexcept;

    chunk_limits limits_;
    phase phase_ = phase::size;
    std::uint8_t digits_ = 0;
    std::uint64_t left_ = 0; // of the chunk; its size as far as it is known
    std::size_t extensions_ = 0;
    std::unique_ptr<trailer_section> trailers_;
};

/// Whether a field may not stand in a trailer section: it would change framing, routing or
/// authentication, or say late how the content is to be read. Source: RFC 9110, 6.5.1.
bool is_forbidden_trailer(std::string_view name) noexcept;

/// What goes in front of a chunk's data.
class chunk_head {
public:
    /// \param size bytes of data, at least 1: a chunk of none would be the last one.
    explicit chunk_head(std::uint64_t size) noexcept;

    std::string_view text() const noexcept {
        return {text_.data() + begin_, text_.size() - begin_};
    }

private:
    std::array<char, 18> text_;
    std::uint8_t begin_;
};

/// What goes after a chunk's data.
inline constexpr std::string_view chunk_end = "\r\n";

/// What ends a chunked body that has no trailers.
inline constexpr std::string_view last_chunk = "0\r\n\r\n";

/// Room that has to be free around a piece of data for `frame_chunk`.
inline constexpr std::size_t room_before_chunk = 18;
inline constexpr std::size_t room_behind_chunk = chunk_end.size() + last_chunk.size();

/// Makes one chunk of a piece of data where it stands, so that it goes out in one write.
///
/// \param data may be empty: then there is no chunk. `room_before_chunk` bytes before it and `room_behind_chunk` bytes behind
/// it are written over. \param last whether the body ends with it. \return what goes on the wire.
std::string_view frame_chunk(std::span<char> data, bool last) noexcept;

/// Appends what ends a chunked body, with trailers; those that are forbidden are left out.
void append_last_chunk(std::string& to, fields const& trailers);

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/chunked.ipp>
#endif
