#pragma once

#include <relais/http/chunked.hpp>
#include <relais/http/impl/octets.hpp>

#include <algorithm>
#include <cstring>

namespace relais {

RELAIS_DECL bool is_forbidden_trailer(std::string_view name) noexcept {
    constexpr known_fields forbidden{known_field::transfer_encoding,
                                     known_field::content_length,
                                     known_field::host,
                                     known_field::connection,
                                     known_field::keep_alive,
                                     known_field::proxy_connection,
                                     known_field::te,
                                     known_field::trailer,
                                     known_field::upgrade,
                                     known_field::http2_settings,
                                     known_field::authorization,
                                     known_field::proxy_authorization,
                                     known_field::proxy_authenticate,
                                     known_field::www_authenticate,
                                     known_field::cookie,
                                     known_field::set_cookie,
                                     known_field::forwarded,
                                     known_field::x_real_ip,
                                     known_field::client_cert,
                                     known_field::client_cert_chain,
                                     known_field::proxy,
                                     known_field::origin,
                                     known_field::expect,
                                     known_field::max_forwards,
                                     known_field::content_encoding,
                                     known_field::content_type,
                                     known_field::content_range,
                                     known_field::range,
                                     known_field::location,
                                     known_field::cache_control,
                                     known_field::vary,
                                     known_field::age,
                                     known_field::retry_after};
    constexpr std::string_view forwarded = "X-Forwarded-";
    return forbidden.contains(known_field_of(name)) ||
           equal_ignoring_case(name.substr(0, std::min(name.size(), forwarded.size())), forwarded);
}

RELAIS_DECL void chunked_decoder::reset() noexcept {
    phase_ = phase::size;
    digits_ = 0;
    left_ = 0;
    extensions_ = 0;
    trailers_.reset();
}

RELAIS_DECL chunk_result chunked_decoder::reject(std::size_t at, char const* sentence) noexcept {
    phase_ = phase::rejected;
    return {chunk_state::rejected, at, {}, sentence};
}

// One byte between two pieces of data. \return false where it may not stand there.
RELAIS_DECL bool chunked_decoder::framing(std::byte byte, char const*& sentence) noexcept {
    auto const c = static_cast<char>(byte);
    switch (phase_) {
    case phase::size: {
        char const l = detail::to_lower(c);
        unsigned digit = 16;
        if (detail::is(detail::octet_digit, c))
            digit = static_cast<unsigned>(c - '0');
        else if (l >= 'a' && l <= 'f')
            digit = static_cast<unsigned>(l - 'a') + 10;
        if (digit < 16) {
            if (++digits_ > 16 || left_ >> 59 != 0) {
                sentence = "a chunk size that is too large";
                return false;
            }
            left_ = left_ << 4 | digit;
            return true;
        }
        if (digits_ != 0 && c == '\r') {
            phase_ = phase::size_lf;
            return true;
        }
        if (digits_ != 0 && c == ';') {
            phase_ = phase::extension;
            break;
        }
        sentence = "a chunk size that is no hexadecimal number";
        return false;
    }
    case phase::extension:
        if (c == '\r') {
            phase_ = phase::size_lf;
            return true;
        }
        if (!detail::is(detail::octet_value, c)) {
            sentence = "a control byte in a chunk extension";
            return false;
        }
        break;
    case phase::size_lf:
        if (c != '\n') {
            sentence = "a chunk size line that does not end with CRLF";
            return false;
        }
        digits_ = 0;
        phase_ = left_ != 0 ? phase::data : phase::trailer;
        return true;
    case phase::data_cr:
    case phase::data_lf:
        if (c != (phase_ == phase::data_cr ? '\r' : '\n')) {
            sentence = "the data of a chunk is not followed by CRLF";
            return false;
        }
        phase_ = phase_ == phase::data_cr ? phase::data_lf : phase::size;
        return true;
    case phase::data:
    case phase::trailer:
    case phase::last_lf:
    case phase::end:
    case phase::rejected: return true;
    }
    if (++extensions_ > limits_.max_extensions) {
        sentence = "the chunk extensions are too long";
        return false;
    }
    return true;
}

// The first byte says whether there are any: only then something is stored.
RELAIS_DECL chunk_result chunked_decoder::trailer(std::span<std::byte const> input,
                                                  std::size_t at) {
    if (at == input.size())
        return {chunk_state::need_more, at, {}, ""};
    if (phase_ == phase::trailer && !trailers_ && input[at] == std::byte{'\r'}) {
        phase_ = phase::last_lf;
        if (++at == input.size())
            return {chunk_state::need_more, at, {}, ""};
    }
    if (phase_ == phase::last_lf) {
        if (input[at] != std::byte{'\n'})
            return reject(at, "a chunked body that does not end with CRLF");
        phase_ = phase::end;
        return {chunk_state::end, at + 1, {}, ""};
    }
    if (!trailers_) {
        trailers_ = std::make_unique<trailer_section>();
        trailers_->parser.reset(
            {.max_head_size = limits_.max_trailer_size, .max_fields = limits_.max_trailers});
    }
    auto& bytes = trailers_->bytes;
    auto const before = bytes.size();
    auto const some =
        input.subspan(at, std::min(input.size() - at, limits_.max_trailer_size - before));
    bytes.append(reinterpret_cast<char const*>(some.data()), some.size());
    auto const r = trailers_->parser.parse_trailers(bytes, trailers_->into);
    switch (r.state) {
    case parse_state::incomplete: return {chunk_state::need_more, at + some.size(), {}, ""};
    case parse_state::rejected:
        return reject(at + some.size(), r.why == end_reason::head_too_large
                                            ? "the trailers are too large"
                                            : r.sentence);
    case parse_state::complete: break;
    }
    for (auto const& f : trailers_->into)
        if (is_forbidden_trailer(f.name))
            return reject(at, "a trailer that may only stand in a head");
    phase_ = phase::end;
    return {chunk_state::end, at + r.size - before, {}, ""};
}

RELAIS_DECL chunk_result chunked_decoder::decode(std::span<std::byte const> input) {
    std::size_t at = 0;
    char const* sentence = "";
    while (phase_ < phase::trailer) {
        if (at == input.size())
            return {chunk_state::need_more, at, {}, ""};
        if (phase_ == phase::data) {
            auto const size =
                static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size() - at));
            left_ -= size;
            if (left_ == 0)
                phase_ = phase::data_cr;
            return {chunk_state::data, at + size, input.subspan(at, size), ""};
        }
        if (!framing(input[at], sentence))
            return reject(at, sentence);
        ++at;
    }
    if (phase_ == phase::end)
        return {chunk_state::end, at, {}, ""};
    if (phase_ == phase::rejected)
        return {chunk_state::rejected, at, {}, "the body was rejected before"};
    return trailer(input, at);
}

RELAIS_DECL chunk_head::chunk_head(std::uint64_t size) noexcept {
    RELAIS_ASSERT(size != 0);
    std::size_t at = text_.size();
    text_[--at] = '\n';
    text_[--at] = '\r';
    do {
        text_[--at] = "0123456789abcdef"[size & 15];
        size >>= 4;
    } while (size != 0);
    begin_ = static_cast<std::uint8_t>(at);
}

RELAIS_DECL std::string_view frame_chunk(std::span<char> data, bool last) noexcept {
    auto* begin = data.data();
    auto* end = begin + data.size();
    if (!data.empty()) {
        chunk_head const head(data.size());
        begin -= head.text().size();
        std::memcpy(begin, head.text().data(), head.text().size());
        end = std::copy(chunk_end.begin(), chunk_end.end(), end);
    }
    if (last)
        end = std::copy(last_chunk.begin(), last_chunk.end(), end);
    return {begin, static_cast<std::size_t>(end - begin)};
}

RELAIS_DECL void append_last_chunk(std::string& to, fields const& trailers) {
    to += "0\r\n";
    for (auto const& f : trailers) {
        if (is_forbidden_trailer(f.name))
            continue;
        to.append(f.name).append(": ").append(f.value).append("\r\n");
    }
    to += "\r\n";
}

} // namespace relais
