#include "catch.hpp"

#include <relais/websocket/handshake.hpp>

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

namespace {

using namespace relais;

using lines = std::vector<std::pair<std::string, std::string>>;

void fill(fields& f, lines const& all) {
    for (auto const& [name, value] : all)
        f.add(name, value);
}

constexpr char key[] = "dGhlIHNhbXBsZSBub25jZQ==";

// The lines of a good head, with `change` in place of those of the same name.
lines but(lines good, lines const& change, std::vector<std::string> const& without = {}) {
    std::erase_if(good, [&](auto const& line) {
        for (auto const& c : change)
            if (c.first == line.first)
                return true;
        return std::find(without.begin(), without.end(), line.first) != without.end();
    });
    good.insert(good.end(), change.begin(), change.end());
    return good;
}

lines request(lines const& change = {}, std::vector<std::string> const& without = {}) {
    return but({{"Host", "a.example"},
                {"Upgrade", "websocket"},
                {"Connection", "Upgrade"},
                {"Sec-WebSocket-Key", key},
                {"Sec-WebSocket-Version", "13"}},
               change, without);
}

lines answer(lines const& change = {}, std::vector<std::string> const& without = {}) {
    return but({{"Upgrade", "websocket"},
                {"Connection", "Upgrade"},
                {"Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}},
               change, without);
}

} // namespace

TEST_CASE("requests for a WebSocket are told from others and checked", "[websocket]") {
    constexpr auto none = websocket_request::none;
    constexpr auto valid = websocket_request::valid;
    constexpr auto rejected = websocket_request::rejected;
    constexpr auto fine = end_reason::completed;
    constexpr auto bad = end_reason::bad_websocket;
    constexpr auto version = end_reason::upgrade_required;
    struct row {
        char const* what;
        websocket_request kind;
        end_reason reason;
        lines head;
        verb method = verb::get;
        unsigned http = 11;
        bool body = false;
    };
    std::vector<row> const rows{
        {"as in RFC 6455", valid, fine, request()},
        {"tokens in any case", valid, fine,
         request({{"Upgrade", "WebSocket"}, {"Connection", "upgrade"}})},
        {"lists", valid, fine,
         request({{"Upgrade", "h2c, websocket"}, {"Connection", "keep-alive, Upgrade"}})},
        {"lists in several lines", valid, fine,
         request({{"Upgrade", "h2c"},
                  {"Upgrade", "websocket"},
                  {"Connection", "keep-alive"},
                  {"Connection", "Upgrade"}})},
        {"Content-Length: 0", valid, fine, request({{"Content-Length", "0"}})},
        {"a key with the rest of the alphabet", valid, fine,
         request({{"Sec-WebSocket-Key", "ab+/AZ09ab+/AZ09ab+/AA=="}})},

        {"no Upgrade", none, fine, request({}, {"Upgrade"})},
        {"another Upgrade", none, fine, request({{"Upgrade", "h2c"}})},
        {"websocket with a version is another", none, fine, request({{"Upgrade", "websocket/13"}})},
        {"no Connection", none, fine, request({}, {"Connection"})},
        {"Connection without upgrade", none, fine, request({{"Connection", "keep-alive"}})},
        {"POST", none, fine, request(), verb::post},
        {"HEAD", none, fine, request(), verb::head},
        {"HTTP/1.0", none, fine, request(), verb::get, 10},

        {"no version", rejected, version, request({}, {"Sec-WebSocket-Version"})},
        {"version 8", rejected, version, request({{"Sec-WebSocket-Version", "8"}})},
        {"a list of versions", rejected, version, request({{"Sec-WebSocket-Version", "13, 8"}})},
        {"version repeated", rejected, version,
         request({{"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Version", "13"}})},

        {"no key", rejected, bad, request({}, {"Sec-WebSocket-Key"})},
        {"key repeated", rejected, bad,
         request({{"Sec-WebSocket-Key", key}, {"Sec-WebSocket-Key", key}})},
        {"an empty key", rejected, bad, request({{"Sec-WebSocket-Key", ""}})},
        {"15 bytes", rejected, bad, request({{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j"}})},
        {"17 bytes", rejected, bad, request({{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZTE="}})},
        {"no padding", rejected, bad, request({{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"}})},
        {"outside the alphabet", rejected, bad,
         request({{"Sec-WebSocket-Key", "dGhlIHNhbXBs*SBub25jZQ=="}})},
        {"the alphabet of URLs", rejected, bad,
         request({{"Sec-WebSocket-Key", "dGhlIHNhbXBs-SBub25jZQ=="}})},
        {"a body", rejected, bad, request({{"Content-Length", "5"}}), verb::get, 11, true},
        {"a body that comes in chunks", rejected, bad, request({{"Transfer-Encoding", "chunked"}}),
         verb::get, 11, true},
    };
    for (auto const& r : rows) {
        INFO(r.what);
        fields head;
        fill(head, r.head);
        auto const check = check_websocket_request(r.method, r.http, head, r.body);
        CHECK(check.kind == r.kind);
        CHECK(check.reason == r.reason);
        CHECK(check.sentence.empty() == (r.kind != rejected));
    }
}

TEST_CASE("the upstream is asked for a WebSocket alone", "[websocket]") {
    fields head;
    fill(head, request({{"Upgrade", "h2c, websocket"},
                        {"Upgrade", "foo"},
                        {"Connection", "keep-alive, Upgrade, x-secret"}}));
    ask_for_websocket(head);
    CHECK(head.count("Upgrade") == 1);
    CHECK(head["Upgrade"] == "websocket");
    CHECK(head.count("Connection") == 1);
    CHECK(head["Connection"] == "Upgrade");
    CHECK(head["Sec-WebSocket-Key"] == key);
    CHECK(head["Sec-WebSocket-Version"] == "13");
}

TEST_CASE("the accept value follows from the key", "[websocket]") {
    CHECK(accept_key(key) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    CHECK(accept_key("x3JJHMbDL1EzLkh9GBhXDw==") == "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
}

TEST_CASE("only a right 101 opens a tunnel", "[websocket]") {
    static_assert(!std::is_default_constructible_v<validated_upgrade>);
    static_assert(!std::is_copy_constructible_v<validated_upgrade>);
    lines const offers = request(
        {{"Sec-WebSocket-Protocol", "chat, superchat"},
         {"Sec-WebSocket-Protocol", "mqtt"},
         {"Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, x-first"},
         {"Sec-WebSocket-Extensions", "x-odd; v=\"a,b\""}});
    struct row {
        char const* what;
        bool valid;
        lines head;
        lines asked = request();
        unsigned status = 101;
    };
    std::vector<row> const rows{
        {"as in RFC 6455", true, answer()},
        {"tokens in any case, more in Connection", true,
         answer({{"Upgrade", "WebSocket"}, {"Connection", "keep-alive, upgrade"}})},
        {"nothing of what was offered", true, answer(), offers},
        {"the subprotocol offered first", true, answer({{"Sec-WebSocket-Protocol", "chat"}}),
         offers},
        {"the subprotocol offered in a second line", true,
         answer({{"Sec-WebSocket-Protocol", "mqtt"}}), offers},
        {"an extension that was offered", true,
         answer({{"Sec-WebSocket-Extensions", "permessage-deflate"}}), offers},
        {"its name in another case", true,
         answer({{"Sec-WebSocket-Extensions", "PerMessage-Deflate"}}), offers},
        {"with parameters of its own", true,
         answer({{"Sec-WebSocket-Extensions", "permessage-deflate ; server_no_context_takeover"}}),
         offers},
        {"several that were offered", true,
         answer({{"Sec-WebSocket-Extensions", "x-first"},
                 {"Sec-WebSocket-Extensions", "x-odd; v=\"c,d\""}}),
         offers},

        {"200", false, answer(), request(), 200},
        {"another 1xx", false, answer(), request(), 100},
        {"no Upgrade", false, answer({}, {"Upgrade"})},
        {"another Upgrade", false, answer({{"Upgrade", "h2c"}})},
        {"a list in Upgrade", false, answer({{"Upgrade", "websocket, h2c"}})},
        {"Upgrade repeated", false, answer({{"Upgrade", "websocket"}, {"Upgrade", "websocket"}})},
        {"no Connection", false, answer({}, {"Connection"})},
        {"Connection without upgrade", false, answer({{"Connection", "keep-alive"}})},
        {"no accept value", false, answer({}, {"Sec-WebSocket-Accept"})},
        {"the accept value of another key", false,
         answer({{"Sec-WebSocket-Accept", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="}})},
        {"the accept value in another case", false,
         answer({{"Sec-WebSocket-Accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo="}})},
        {"the accept value repeated", false,
         answer({{"Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
                 {"Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}})},
        {"a subprotocol where none was offered", false,
         answer({{"Sec-WebSocket-Protocol", "chat"}})},
        {"another subprotocol", false, answer({{"Sec-WebSocket-Protocol", "xmpp"}}), offers},
        {"a subprotocol in another case", false, answer({{"Sec-WebSocket-Protocol", "Chat"}}),
         offers},
        {"a list of subprotocols", false, answer({{"Sec-WebSocket-Protocol", "chat, superchat"}}),
         offers},
        {"subprotocol repeated", false,
         answer({{"Sec-WebSocket-Protocol", "chat"}, {"Sec-WebSocket-Protocol", "chat"}}), offers},
        {"an empty subprotocol", false, answer({{"Sec-WebSocket-Protocol", ""}}), offers},
        {"an extension where none was offered", false,
         answer({{"Sec-WebSocket-Extensions", "permessage-deflate"}})},
        {"another extension", false, answer({{"Sec-WebSocket-Extensions", "x-second"}}), offers},
        {"another one beside one that was offered", false,
         answer({{"Sec-WebSocket-Extensions",
                  "permessage-deflate; client_max_window_bits=10, x-second"}}),
         offers},
        {"another one in a second line", false,
         answer(
             {{"Sec-WebSocket-Extensions", "x-first"}, {"Sec-WebSocket-Extensions", "x-second"}}),
         offers},
        {"a name out of a quoted parameter", false, answer({{"Sec-WebSocket-Extensions", "b\""}}),
         offers},
    };
    for (auto const& r : rows) {
        INFO(r.what);
        fields asked, answered;
        fill(asked, r.asked);
        fill(answered, r.head);
        auto const check = validate_upgrade(asked, r.status, answered);
        CHECK(check.upgrade.has_value() == r.valid);
        CHECK(check.reason == (r.valid ? end_reason::completed : end_reason::bad_upgrade));
        CHECK(check.sentence.empty() == r.valid);
    }
}

TEST_CASE("what was agreed upon can be read", "[websocket]") {
    fields asked, answered;
    fill(asked, request({{"Sec-WebSocket-Protocol", "chat"},
                         {"Sec-WebSocket-Extensions", "permessage-deflate, x"}}));
    fill(answered,
         answer({{"Sec-WebSocket-Protocol", "chat"},
                 {"Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover"},
                 {"Sec-WebSocket-Extensions", "x"}}));
    auto const check = validate_upgrade(asked, 101, answered);
    REQUIRE(check.upgrade);
    CHECK(check.upgrade->protocol() == "chat");
    CHECK(check.upgrade->extensions() == "permessage-deflate; server_no_context_takeover, x");
}
