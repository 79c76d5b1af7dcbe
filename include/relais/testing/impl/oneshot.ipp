#pragma once

#include <relais/http/chunked.hpp>
#include <relais/http/framing.hpp>
#include <relais/http/parser.hpp>
#include <relais/testing/oneshot.hpp>
#include <relais/testing/session.hpp>

#include <span>

namespace relais::testing {

RELAIS_DECL oneshot_response oneshot(any_chain<connection> chain, oneshot_request const& request) {
    session s(std::move(chain));
    auto text = request.method + ' ' + request.target + " HTTP/1.1\r\n" + request.fields;
    if (request.fields.find("Host:") == std::string::npos)
        text += "Host: a.example\r\n";
    if (!request.body.empty() && request.fields.find("Transfer-Encoding:") == std::string::npos)
        text += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
    s.send(text + "\r\n" + request.body);

    oneshot_response answer;
    answer.raw = s.received();
    answer.closed = s.saw_end() || s.saw_reset();
    answer.head = std::make_unique<fields>();
    std::string_view rest = answer.raw;
    head_parser parser(default_response_limits);
    status_line line;
    for (;;) {
        answer.head->clear();
        parser.reset();
        auto parsed = parser.parse(rest, line, *answer.head);
        if (parsed.state != parse_state::complete)
            return answer;
        rest.remove_prefix(parsed.size);
        if (line.status >= 200 || line.status == 101)
            break;
    }
    answer.status = line.status;
    bool head_only = request.method == "HEAD";
    auto facts = examine_response(line, *answer.head, head_only ? verb::head : verb::get,
                                  line.status == 101);
    if (facts.body.kind == framing_kind::length)
        answer.body = rest.substr(0, static_cast<std::size_t>(facts.body.length));
    else if (facts.body.kind == framing_kind::until_close)
        answer.body = rest;
    else if (facts.body.kind == framing_kind::chunked) {
        chunked_decoder decoder;
        auto coded = std::as_bytes(std::span(rest));
        for (auto step = decoder.decode(coded);; step = decoder.decode(coded)) {
            answer.body.append(reinterpret_cast<char const*>(step.data.data()), step.data.size());
            coded = coded.subspan(step.consumed);
            if (step.state != chunk_state::data)
                break;
        }
    }
    return answer;
}

} // namespace relais::testing
