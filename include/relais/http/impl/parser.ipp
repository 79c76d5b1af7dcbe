#pragma once

#include <relais/http/impl/octets.hpp>
#include <relais/http/parser.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace relais {
namespace detail {

// std::countr_zero without its case for 0.
inline std::size_t trailing_zeros(unsigned bits) noexcept {
#if defined(__GNUC__)
    return static_cast<std::size_t>(__builtin_ctz(bits));
#else
    return static_cast<std::size_t>(std::countr_zero(bits));
#endif
}

// The first octet at or after p that is at most Last or DEL. Sixteen at once: values make up most
// of a head. `begin` is where the memory begins that may be read.
template <unsigned char Last>
inline char const* find_control(char const* p, char const* end,
                                [[maybe_unused]] char const* begin) noexcept {
#if defined(__SSE2__)
    auto const hits_at = [](char const* at) {
        auto const v = _mm_loadu_si128(reinterpret_cast<__m128i const*>(at));
        auto const low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(static_cast<char>(Last))), v);
        auto const del = _mm_cmpeq_epi8(v, _mm_set1_epi8('\x7f'));
        return static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(low, del)));
    };
    if (end - p >= 16) {
        auto const* const last = end - 16;
        do {
            if (auto const hits = hits_at(p); hits != 0)
                return p + trailing_zeros(hits);
            p += 16;
        } while (p <= last);
    }
    if (end - begin >= 16) {
        auto const hits = hits_at(end - 16) >> (16 - (end - p));
        return hits != 0 ? p + trailing_zeros(hits) : end;
    }
#endif
    while (p != end && static_cast<unsigned char>(*p) > Last && *p != '\x7f')
        ++p;
    return p;
}

// The first octet at or after p that may not stand in a field value.
inline char const* find_value_end(char const* p, char const* end, char const* begin) noexcept {
    for (;; ++p) {
        p = find_control<0x1f>(p, end, begin);
        if (p == end || *p != '\t')
            return p;
    }
}

// The length of a name of at most 15 letters, digits and hyphens, as nearly every one is, and which
// field it is; 0 where it has to be looked at byte by byte. At least 16 bytes can be read.
[[gnu::always_inline]] inline std::size_t short_name([[maybe_unused]] char const* p,
                                                     [[maybe_unused]] known_field& id) noexcept {
#if defined(__SSE2__)
    auto const v = _mm_loadu_si128(reinterpret_cast<__m128i const*>(p));
    auto const bits = [](__m128i x) { return static_cast<unsigned>(_mm_movemask_epi8(x)); };
    auto const colons = bits(_mm_cmpeq_epi8(v, _mm_set1_epi8(':')));
    if (colons == 0)
        return 0;
    auto const size = trailing_zeros(colons);
    id = lookup_known_field({p, size});
    if (id != known_field::other)
        return size;
    auto const at_most = [](__m128i x, char most) {
        return _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(most)), x);
    };
    auto const lower = _mm_or_si128(v, _mm_set1_epi8(0x20));
    auto const letters = at_most(_mm_sub_epi8(lower, _mm_set1_epi8('a')), 25);
    auto const digits = at_most(_mm_sub_epi8(v, _mm_set1_epi8('0')), 9);
    auto const hyphens = _mm_cmpeq_epi8(v, _mm_set1_epi8('-'));
    auto const plain = bits(_mm_or_si128(_mm_or_si128(letters, digits), hyphens));
    return (~plain & ((1u << size) - 1)) == 0 ? size : 0;
#else
    return 0;
#endif
}

inline verb verb_of(std::string_view method) noexcept {
    if (method == "POST")
        return verb::post;
    return boost::beast::http::string_to_verb({method.data(), method.size()});
}

} // namespace detail

// One call: from the line at which the last one stopped to the end of the head or of the bytes.
struct head_parser::pass {
    head_parser& self;
    fields& into;
    char const* base;
    char const* end; // of what may be looked at
    bool full;       // the head may not be longer than this
    bool response;
    char const* line = base;
    std::size_t count = self.lines_; // field lines so far
    parse_result result{};

    // Each step says whether to go on; where not, result is what came of it.

    bool wait() noexcept {
        if (full) {
            bool const target = !self.started_ && !response;
            result.state = parse_state::rejected;
            result.why = response ? end_reason::response_head_too_large
                         : target ? end_reason::target_too_long
                                  : end_reason::head_too_large;
            result.sentence =
                target ? "the request line is longer than a head may be" : "the head is too long";
            return false;
        }
        self.line_ = self.scanned_ = static_cast<std::size_t>(line - base);
        self.partial_ = true;
        return false;
    }

    // A fault of a line counts once the line has ended or has a control byte, so that it does not
    // matter how much of it came at once.
    bool fail(char const* at, end_reason why, char const* sentence) noexcept {
        if (!ends(at))
            return wait();
        result.state = parse_state::rejected;
        result.why =
            response && why != end_reason::response_head_too_large ? end_reason::bad_response : why;
        result.sentence = sentence;
        return false;
    }
    bool fail(char const* at, char const* sentence) noexcept {
        return fail(at, end_reason::bad_request, sentence);
    }

    bool ends(char const* at) noexcept {
        stop = detail::find_value_end(at, end, base);
        return stop != end && (*stop != '\r' || stop + 1 != end);
    }
    char const* stop = nullptr;

    // At an octet that ends what the line may consist of: a CRLF, or a fault. Steps over the CRLF.
    bool line_end(char const*& p) noexcept {
        if (end - p >= 2 && p[0] == '\r' && p[1] == '\n') {
            p += 2;
            line = p;
            return true;
        }
        if (p == end || (*p == '\r' && p + 1 == end))
            return wait();
        return fail(p, *p == '\r'   ? "a CR without an LF"
                       : *p == '\n' ? "an LF without a CR"
                                    : "a control byte in the head");
    }

    bool version(char const*& p, unsigned& version) noexcept {
        if (end - p >= 8) {
            if (std::memcmp(p, "HTTP/1.1", 8) == 0 || std::memcmp(p, "HTTP/1.0", 8) == 0) {
                version = 10u + static_cast<unsigned>(p[7] - '0');
                p += 8;
                return true;
            }
            if (std::memcmp(p, "HTTP/", 5) == 0 && detail::is(detail::octet_digit, p[5]) &&
                p[6] == '.' && detail::is(detail::octet_digit, p[7]))
                return fail(p, end_reason::version_not_supported,
                            "an HTTP version other than 1.0 and 1.1");
        }
        return fail(p, "the start line has no HTTP version where it belongs");
    }

    bool start(char const*& p, request_line& out) noexcept {
        if (p != end && *p == '\r') {
            if (self.skipped_)
                return fail(p, "more than one empty line before the request line");
            if (!line_end(p))
                return false;
            self.skipped_ = true;
            if (p != end && *p == '\r')
                return fail(p, "more than one empty line before the request line");
        }
        auto const* method = p;
        if (end - p >= 4 && std::memcmp(p, "GET ", 4) == 0) {
            out.method = verb::get;
            p += 3;
        } else {
            while (p != end && detail::is(detail::octet_token, *p))
                ++p;
            if (p == end)
                return wait();
            if (p == method || *p != ' ')
                return fail(p, "the method is no token");
            out.method = detail::verb_of({method, static_cast<std::size_t>(p - method)});
        }
        out.method_text = {method, static_cast<std::size_t>(p - method)};
        auto const* target = ++p;
        p = detail::find_control<' '>(p, end, base);
        if (p == end)
            return wait();
        out.target = {target, static_cast<std::size_t>(p - target)};
        if (*p != ' ') {
            if (*p == '\r' || *p == '\n')
                return fail(p, "the request line has no HTTP version");
            return fail(p, end_reason::bad_target, "a control byte in the request target");
        }
        if (p == target)
            return fail(p, "the request line has no target, or a space too many");
        if (out.target.size() > self.limits_.max_target_size)
            return fail(p, end_reason::target_too_long, "the request target is too long");
        if (!version(++p, out.version))
            return false;
        if (p != end && *p != '\r')
            return fail(p, "something follows the HTTP version in the request line");
        if (!line_end(p))
            return false;
        return true;
    }

    bool start(char const*& p, status_line& out) noexcept {
        if (!version(p, out.version))
            return false;
        auto const digit = [p](int i) { return detail::is(detail::octet_digit, p[i]); };
        if (end - p < 5 || p[0] != ' ' || p[1] == '0' || !digit(1) || !digit(2) || !digit(3) ||
            p[4] != ' ')
            return fail(p, "the status is not three digits between spaces");
        out.status = static_cast<unsigned>((p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0'));
        p += 5;
        auto const* reason = p;
        p = detail::find_value_end(p, end, base);
        out.reason = {reason, static_cast<std::size_t>(p - reason)};
        return line_end(p);
    }

    bool start(char const*&, no_line&) noexcept { return true; }

    // The lines of fields and the empty line after them. \return where the body begins, null where
    // it does not go on.
    char const* lines(char const* p) {
        auto const* const last = end;
        auto const& limits = self.limits_;
        for (;;) {
            auto const* const name = p;
            auto id = known_field::other;
            bool underscore = false;
            std::size_t size = last - p >= 18 ? detail::short_name(p, id) : 0;
            // One space and a value, as nearly always: 18 bytes reach to its first one.
            if (size != 0 && name[size + 1] == ' ' && name[size + 2] > ' ') [[likely]] {
                p += size + 2;
            } else {
                for (; p != last && detail::is(detail::octet_token, *p); ++p)
                    underscore |= *p == '_';
                if (p == last || *p != ':' || p == name)
                    return other_line(p);
                size = static_cast<std::size_t>(p - name);
                id = known_field_of({name, size});
                for (++p; p != last && detail::is_blank(*p);)
                    ++p;
            }
            auto const* const value = p;
            p = detail::find_control<0x1f>(p, last, base);
            if (last - p < 2 || std::memcmp(p, "\r\n", 2) != 0) {
                p = detail::find_value_end(p, last, base);
                auto const* at = p;
                if (!line_end(at))
                    return nullptr;
            }
            auto const* value_end = p;
            while (static_cast<unsigned char>(value_end[-1]) <= ' ' && value_end != value)
                --value_end;
            p += 2;
            line = p;
            if (++count > limits.max_fields) {
                fail(p - 2,
                     response ? end_reason::response_head_too_large : end_reason::head_too_large,
                     "there are too many fields");
                return nullptr;
            }
            if (underscore && limits.underscore_names != underscores::keep) {
                if (limits.underscore_names == underscores::drop)
                    continue;
                fail(p - 2, "the name of a field has an underscore");
                return nullptr;
            }
            into.append_view({name, size}, {value, static_cast<std::size_t>(value_end - value)},
                             id);
        }
    }

    // The empty line, or one that does not begin with a name and a colon.
    char const* other_line(char const* p) noexcept {
        if (p == end)
            wait();
        else if (p == line && *p == '\r')
            return line_end(p) ? p : nullptr;
        else if (p == line && detail::is_blank(*p))
            fail(p, "a line of the head begins with white space");
        else if (p == line && *p == ':')
            fail(p, "a field without a name");
        else if (detail::is_blank(*p))
            fail(p, "white space before the colon of a field");
        else
            fail(p, "a byte in the name of a field that may not be there");
        return nullptr;
    }
};

template <class Line>
parse_result head_parser::run(std::string_view bytes, Line& first, fields& into) {
    if (base_ == nullptr || base_ != bytes.data()) {
        base_ = bytes.data();
        line_ = scanned_ = lines_ = 0;
        started_ = std::is_same_v<Line, no_line>;
        skipped_ = partial_ = false;
        into.clear();
    }
    pass it{.self = *this,
            .into = into,
            .base = bytes.data(),
            .end = bytes.data() + std::min(bytes.size(), limits_.max_head_size),
            .full = bytes.size() >= limits_.max_head_size,
            .response = std::is_same_v<Line, status_line>};
    it.line = it.base + line_;
    if (partial_) {
        // Only the new bytes, until the line ends.
        if (!it.ends(it.base + scanned_)) {
            auto const* stop = it.stop;
            it.wait();
            scanned_ = static_cast<std::size_t>(stop - it.base);
            return it.result;
        }
        partial_ = false;
    }
    auto const* p = it.line;
    if (!started_) {
        if (!it.start(p, first))
            return it.result;
        started_ = true;
    }
    p = it.lines(p);
    lines_ = it.count;
    if (p != nullptr) {
        it.result.state = parse_state::complete;
        it.result.size = static_cast<std::size_t>(p - it.base);
    }
    return it.result;
}

RELAIS_DECL parse_result head_parser::parse(std::string_view bytes, request_line& line,
                                            fields& into) {
    return run(bytes, line, into);
}

RELAIS_DECL parse_result head_parser::parse(std::string_view bytes, status_line& line,
                                            fields& into) {
    return run(bytes, line, into);
}

RELAIS_DECL parse_result head_parser::parse_trailers(std::string_view bytes, fields& into) {
    no_line none;
    return run(bytes, none, into);
}

} // namespace relais
