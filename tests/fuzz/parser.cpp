// Heads, the gate and chunked bodies. The first byte chooses: r a response, c a chunked body, t
// trailers, else a request. The second one is the size of the pieces. Whatever the bytes are, it
// must not matter how they are cut.

#include <relais/http/chunked.hpp>
#include <relais/http/framing.hpp>
#include <relais/http/parser.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

using namespace relais;

namespace {

void require(bool ok) {
    if (!ok)
        std::abort();
}

struct trailers {};

struct outcome {
    parse_state state = parse_state::incomplete;
    end_reason why = end_reason::completed;
    std::size_t size = 0;
    std::string text;

    friend bool operator==(outcome const&, outcome const&) = default;
};

// The plainest form of what the table says.
bool is_token(std::string_view s) {
    for (char const c : s)
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              (c != 0 && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr)))
            return false;
    return !s.empty();
}

bool is_value(std::string_view s) {
    for (char const c : s)
        if ((static_cast<unsigned char>(c) < 32 && c != '\t') || c == 127)
            return false;
    auto const blank = [](char c) { return c == ' ' || c == '\t'; };
    return s.empty() || (!blank(s.front()) && !blank(s.back()));
}

known_field slow_id(std::string_view name) {
    for (unsigned i = 1; i < detail::known_field_count; ++i)
        if (equal_ignoring_case(name, name_of(static_cast<known_field>(i))))
            return static_cast<known_field>(i);
    return known_field::other;
}

parse_result step(head_parser& p, std::string_view s, request_line& l, fields& f) {
    return p.parse(s, l, f);
}
parse_result step(head_parser& p, std::string_view s, status_line& l, fields& f) {
    return p.parse(s, l, f);
}
parse_result step(head_parser& p, std::string_view s, trailers&, fields& f) {
    return p.parse_trailers(s, f);
}

void add(outcome& o, request_line const& l) {
    require(is_token(l.method_text));
    require(!l.target.empty() && l.target.size() <= head_limits().max_target_size);
    for (char const c : l.target)
        require(static_cast<unsigned char>(c) > 32 && c != 127);
    require(l.version == 10 || l.version == 11);
    o.text.append(l.method_text).append(" ").append(l.target).append(std::to_string(l.version));
}

void add(outcome& o, status_line const& l) {
    require(l.status >= 100 && l.status <= 999 && (l.version == 10 || l.version == 11));
    o.text.append(std::to_string(l.status)).append(l.reason).append(std::to_string(l.version));
}

void add(outcome&, trailers const&) {}

template <class Line>
outcome make(parse_result const& r, Line const& line, fields const& f, std::string_view bytes) {
    outcome o{r.state, r.why, r.size, r.sentence};
    require((r.state == parse_state::rejected) == (r.why != end_reason::completed));
    if (r.state != parse_state::complete)
        return o;
    require(r.size <= bytes.size());
    auto const head = bytes.substr(0, r.size);
    require(head.ends_with("\r\n"));
    for (std::size_t i = 0; i < head.size(); ++i) {
        if (head[i] == '\n')
            require(i != 0 && head[i - 1] == '\r');
        if (head[i] == '\r')
            require(i + 1 != head.size() && head[i + 1] == '\n');
    }
    add(o, line);
    std::size_t n = 0;
    for (auto const& e : f.entries()) {
        require(is_token(e.name) && is_value(e.value) && e.id == slow_id(e.name));
        require(e.name.find('_') == e.name.npos);
        require(f.contains(e.name) && f.count(e.name) >= 1);
        o.text.append("|").append(e.name).append("=").append(e.value);
        ++n;
    }
    require(n == f.size() && n <= head_limits().max_fields);
    return o;
}

// Memory of the exact size, so that a read past its end is seen.
struct copy {
    explicit copy(std::string_view s) : data(new char[s.size()]), size(s.size()) {
        std::memcpy(data.get(), s.data(), size);
    }
    operator std::string_view() const { return {data.get(), size}; }
    std::unique_ptr<char[]> data;
    std::size_t size;
};

template <class Line>
outcome feed(std::string_view bytes, std::size_t piece, bool moving) {
    head_parser parser;
    Line line;
    fields f;
    std::vector<copy> copies;
    for (std::size_t n = std::min(piece, bytes.size());; n = std::min(n + piece, bytes.size())) {
        auto part = bytes.substr(0, n);
        if (moving)
            part = copies.emplace_back(part);
        auto const r = step(parser, part, line, f);
        if (r.state != parse_state::incomplete || n == bytes.size())
            return make(r, line, f, part);
    }
}

void gate(std::string_view bytes, request_line const&) {
    head_parser parser;
    request_line line;
    fields f;
    if (parser.parse(bytes, line, f).state != parse_state::complete)
        return;
    auto const facts = examine_request(line, f);
    if (!facts.rejected) {
        bool const coded = f.contains(known_field::transfer_encoding),
                   sized = f.contains(known_field::content_length);
        require(!(coded && sized) && f.count("content-length") <= 1 && f.count("host") <= 1);
        require(coded == (facts.body.kind == framing_kind::chunked));
        require(facts.body.length >> 63 == 0 && (sized || facts.body.length == 0));
        require(facts.body.kind != framing_kind::until_close);
        require(line.version == 10 || !facts.host.host.empty());
        require(facts.authority.find_first_of("/?#@ \t,\\") == std::string_view::npos ||
                facts.authority.find(',') != std::string_view::npos);
        require(facts.path == "*" || facts.path.starts_with('/'));
        require(line.target.find('#') == std::string_view::npos);
    } else {
        require(!facts.keep_alive || !facts.rejected.closes);
    }
    auto const host = std::string(f["host"]);
    erase_hop_by_hop(f);
    for (auto const name : {"connection", "keep-alive", "proxy-connection", "te", "trailer",
                            "transfer-encoding", "upgrade", "proxy"})
        require(!f.contains(name));
    require(f["host"] == host);
}

void gate(std::string_view bytes, status_line const&) {
    head_parser parser;
    status_line line;
    fields f;
    if (parser.parse(bytes, line, f).state != parse_state::complete)
        return;
    for (auto const method : {verb::get, verb::head}) {
        auto const facts = examine_response(line, f, method);
        if (facts.rejected)
            continue;
        require(facts.body.kind == framing_kind::none ||
                (line.status >= 200 && method != verb::head));
        require(facts.body.kind != framing_kind::until_close || !facts.keep_alive);
    }
    erase_hop_by_hop(f);
    require(!f.contains("connection") && !f.contains("transfer-encoding"));
}

void gate(std::string_view, trailers const&) {}

template <class Line>
void heads(std::string_view bytes, std::size_t piece) {
    auto const whole = feed<Line>(copy(bytes), bytes.size(), true);
    require(feed<Line>(bytes, 1, false) == whole);
    require(feed<Line>(bytes, piece, false) == whole);
    if (bytes.size() / piece < 200)
        require(feed<Line>(bytes, piece, true) == whole);
    if (whole.state == parse_state::complete) {
        require(feed<Line>(bytes.substr(0, whole.size), bytes.size(), true) == whole);
        require(feed<Line>(bytes.substr(0, whole.size - 1), bytes.size(), true).state ==
                parse_state::incomplete);
    }
    gate(bytes, Line());
}

struct body {
    chunk_state state = chunk_state::need_more;
    std::string data, trailers;
    std::size_t size = 0;

    friend bool operator==(body const&, body const&) = default;
};

body decode(std::string_view wire, std::size_t piece) {
    chunked_decoder decoder;
    body b;
    for (std::size_t at = 0; at < wire.size() && b.state < chunk_state::end;) {
        copy const memory(wire.substr(at, piece));
        auto input = std::as_bytes(std::span(memory.data.get(), memory.size));
        while (!input.empty() && b.state < chunk_state::end) {
            auto const r = decoder.decode(input);
            require(r.consumed <= input.size() &&
                    (r.state == chunk_state::data) == !r.data.empty());
            b.data.append(reinterpret_cast<char const*>(r.data.data()), r.data.size());
            b.state = r.state == chunk_state::data ? chunk_state::need_more : r.state;
            at += r.consumed;
            input = input.subspan(r.consumed);
        }
    }
    return b;
}

void chunked(std::string_view wire, std::size_t piece) {
    auto const whole = decode(wire, wire.size());
    require(decode(wire, 1) == whole);
    require(decode(wire, piece) == whole);
    // What is written is read again.
    std::string again;
    for (std::size_t at = 0; at < wire.size(); at += piece) {
        auto const part = wire.substr(at, piece);
        again.append(chunk_head(part.size()).text()).append(part).append(chunk_end);
    }
    again += last_chunk;
    auto const read = decode(again, 7);
    require(read.state == chunk_state::end && read.data == wire);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    if (size < 3)
        return 0;
    std::string_view const bytes(reinterpret_cast<char const*>(data) + 2, size - 2);
    std::size_t const piece = data[1] % 40 + 1;
    switch (data[0]) {
    case 'r': heads<status_line>(bytes, piece); break;
    case 'c': chunked(bytes, piece); break;
    case 't': heads<trailers>(bytes, piece); break;
    default: heads<request_line>(bytes, piece); break;
    }
    return 0;
}
