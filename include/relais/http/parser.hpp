#pragma once

#include <relais/core/error.hpp>
#include <relais/http/fields.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace relais {

/// What becomes of a field whose name has an underscore. CGI and FastCGI cannot tell `X_Real_IP`
/// from `X-Real-IP`.
enum class underscores : std::uint8_t {
    drop,   ///< the field is left out
    keep,   ///< it is a field like any other
    reject, ///< the head is refused
};

/// Bounds of a head.
struct head_limits {
    std::size_t max_head_size = 32 * 1024;  ///< bytes, start line and the empty line included
    std::size_t max_fields = 100;           ///< field lines
    std::size_t max_target_size = 8 * 1024; ///< bytes of the request target
    underscores underscore_names = underscores::drop;
};

/// The bounds of a response's head by default.
inline constexpr head_limits default_response_limits{.max_head_size = 64 * 1024,
                                                     .max_fields = 256,
                                                     .max_target_size = 0,
                                                     .underscore_names = underscores::keep};

/// The first line of a request.
struct request_line {
    verb method = verb::unknown;
    std::string_view method_text; ///< a token, for a method that `verb` does not know too
    std::string_view target;      ///< as it was sent: no white space or control byte is in it
    unsigned version = 11;        ///< 10 or 11
};

/// The first line of a response.
struct status_line {
    unsigned status = 0;     ///< 100 to 999
    std::string_view reason; ///< may be empty
    unsigned version = 11;   ///< 10 or 11
};

/// How far a head is.
enum class parse_state : std::uint8_t { incomplete, complete, rejected };

/// What came of parsing.
struct parse_result {
    parse_state state = parse_state::incomplete;
    end_reason why = end_reason::completed; ///< why it was rejected
    std::size_t size = 0;      ///< bytes of the complete head; what follows belongs to the body
    char const* sentence = ""; ///< what is wrong with it, for a log
};

/// A strict parser of request heads, response heads and trailer sections, without input and output
/// of its own.
///
/// It is given all the bytes that have come since the head began, again with each call. Where the
/// head is whole at the first call, it is one flat pass; otherwise the parser goes on where it
/// stopped, so that a head which comes in single bytes costs no more than twice its length. Names
/// and values are views into these bytes: where they have moved in memory meanwhile, the parse is
/// done again from the start. Everything that the grammar does not allow is refused: nothing is
/// repaired. A control byte, a bare CR and a bare LF are refused when they are seen, other faults
/// of a line when it has ended; how the bytes are cut makes no difference.
///
/// Thread safety: none. Source: RFC 9112, sections 2 to 5 and 7.1.2; RFC 9110, section 5.
class head_parser {
public:
    explicit head_parser(head_limits const& limits = {}) noexcept : limits_(limits) {}

    /// Parses the head of a request. One CRLF in front of it is skipped.
    /// \param bytes all that has come of it. \param line, into where it goes; the same objects at
    /// each call.
    parse_result parse(std::string_view bytes, request_line& line, fields& into);

    /// Parses the head of a response.
    parse_result parse(std::string_view bytes, status_line& line, fields& into);

    /// Parses the fields after a chunked body, to the empty line that ends them.
    parse_result parse_trailers(std::string_view bytes, fields& into);

    /// Gets ready for the next head.
    void reset() noexcept { base_ = nullptr; }
    void reset(head_limits const& limits) noexcept {
        limits_ = limits;
        base_ = nullptr;
    }

    head_limits const& limits() const noexcept { return limits_; }

private:
    struct no_line {};
    struct pass;

    template <class Line>
    parse_result run(std::string_view bytes, Line& line, fields& into);

    head_limits limits_;
    char const* base_ = nullptr; // where the bytes were at the last call
    std::size_t line_ = 0;       // the line that is being parsed begins here
    std::size_t scanned_ = 0;    // it does not end before here
    std::size_t lines_ = 0;      // field lines so far
    bool started_ = false;       // the start line is through
    bool skipped_ = false;       // a CRLF was skipped before it
    bool partial_ = false;       // the line was seen before, and had no end then
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/parser.ipp>
#endif
