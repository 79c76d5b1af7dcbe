#include "catch.hpp"

#include <relais/core/error.hpp>

#include <cctype>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace {

using relais::end_reason;

// An enumerator's name as the compiler spells it; something else for a value without a name.
template <end_reason R>
constexpr std::string_view spelled() {
    std::string_view text = __PRETTY_FUNCTION__;
    auto const begin = text.find("R = ") + 4;
    text = text.substr(begin, text.find_first_of(";]", begin) - begin);
    auto const colon = text.rfind("::");
    return text.front() == '(' || colon == text.npos ? std::string_view() : text.substr(colon + 2);
}

template <std::size_t... I>
constexpr std::size_t names_match(std::index_sequence<I...>) {
    std::size_t named = 0;
    auto check = [&](std::size_t at, std::string_view name) {
        if (name.empty())
            return at >= relais::end_reasons().size();
        ++named;
        return at < relais::end_reasons().size() && relais::end_reasons()[at].word == name &&
               relais::end_reasons()[at].reason == static_cast<end_reason>(at);
    };
    return (check(I, spelled<static_cast<end_reason>(I)>()) && ...) ? named : 0;
}

// Total: as many rows as there are enumerators, each with the enumerator's own name.
static_assert(spelled<end_reason::bad_host>() == "bad_host");
static_assert(names_match(std::make_index_sequence<256>()) == relais::end_reasons().size());

static_assert(status_of(end_reason::connect_timeout) == 504);
static_assert(word_of(end_reason::client_left) == "client_left");

} // namespace

TEST_CASE("every end_reason has one complete row") {
    std::set<std::string_view> words;
    for (auto& row : relais::end_reasons()) {
        INFO(row.word);
        CHECK(&relais::describe(row.reason) == &row);
        CHECK(words.insert(row.word).second);
        for (char c : row.word)
            CHECK((std::islower(static_cast<unsigned char>(c)) || c == '_'));
        REQUIRE(!row.sentence.empty());
        CHECK(std::isupper(static_cast<unsigned char>(row.sentence.front())));
        CHECK(row.sentence.back() == '.');
        CHECK((row.status == 0 || (row.status >= 400 && row.status < 600)));
        CHECK((row.logged_status == row.status || row.reason == end_reason::client_left));
    }
    CHECK(words.size() == relais::end_reasons().size());
}

TEST_CASE("statuses are those of the protocol page") {
    struct expected {
        end_reason reason;
        unsigned status;
    };
    constexpr expected table[] = {
        {end_reason::bad_request, 400},
        {end_reason::bad_host, 400},
        {end_reason::bad_target, 400},
        {end_reason::bad_body, 400},
        {end_reason::bad_websocket, 400},
        {end_reason::plain_on_tls, 400},
        {end_reason::unauthorized, 401},
        {end_reason::origin_refused, 403},
        {end_reason::address_refused, 403},
        {end_reason::not_found, 404},
        {end_reason::method_not_allowed, 405},
        {end_reason::head_timeout, 408},
        {end_reason::body_timeout, 408},
        {end_reason::length_required, 411},
        {end_reason::body_too_large, 413},
        {end_reason::target_too_long, 414},
        {end_reason::expectation_failed, 417},
        {end_reason::misdirected, 421},
        {end_reason::upgrade_required, 426},
        {end_reason::rate_limited, 429},
        {end_reason::head_too_large, 431},
        {end_reason::stage_threw, 500},
        {end_reason::stage_misused, 500},
        {end_reason::worker_error, 500},
        {end_reason::coding_not_implemented, 501},
        {end_reason::version_not_supported, 505},
        {end_reason::loop_detected, 508},
        {end_reason::resolve_failed, 502},
        {end_reason::connect_refused, 502},
        {end_reason::connect_failed, 502},
        {end_reason::upstream_tls_failed, 502},
        {end_reason::upstream_reset, 502},
        {end_reason::bad_response, 502},
        {end_reason::response_head_too_large, 502},
        {end_reason::bad_upgrade, 502},
        {end_reason::too_many_interim, 502},
        {end_reason::response_incomplete, 502},
        {end_reason::response_too_large, 500},
        {end_reason::no_upstream, 503},
        {end_reason::circuit_open, 503},
        {end_reason::overloaded, 503},
        {end_reason::shutting_down, 503},
        {end_reason::connect_timeout, 504},
        {end_reason::upstream_tls_timeout, 504},
        {end_reason::upstream_write_timeout, 504},
        {end_reason::first_byte_timeout, 504},
        {end_reason::response_timeout, 504},
        {end_reason::total_timeout, 504},
    };
    std::set<end_reason> listed;
    for (auto& [reason, status] : table) {
        INFO(relais::word_of(reason));
        CHECK(relais::status_of(reason) == status);
        listed.insert(reason);
    }
    // What is not in the table is answered by silence.
    for (auto& row : relais::end_reasons()) {
        INFO(row.word);
        CHECK((row.status == 0) == !listed.contains(row.reason));
    }
    CHECK(relais::describe(end_reason::client_left).logged_status == 499);
}

TEST_CASE("only the upstream's failures count against it and allow another try") {
    for (auto& row : relais::end_reasons()) {
        INFO(row.word);
        if (row.side != relais::end_side::upstream) {
            CHECK(!row.counts_against_upstream);
            CHECK(row.retry == relais::retry_rule::never);
        }
    }
    CHECK(!relais::describe(end_reason::no_upstream).counts_against_upstream);
    CHECK(!relais::describe(end_reason::circuit_open).counts_against_upstream);
    CHECK(relais::describe(end_reason::bad_response).counts_against_upstream);
    CHECK(relais::may_retry(end_reason::connect_refused, false));
    CHECK(relais::may_retry(end_reason::upstream_reset, true));
    CHECK(!relais::may_retry(end_reason::upstream_reset, false));
    CHECK(!relais::may_retry(end_reason::response_incomplete, true));
}

TEST_CASE("side, phase and cause tell most reasons apart") {
    auto is = [](end_reason reason, relais::end_side side, relais::end_phase phase,
                 relais::end_cause cause) {
        auto& row = relais::describe(reason);
        return row.side == side && row.phase == phase && row.cause == cause;
    };
    using enum relais::end_phase;
    using enum relais::end_cause;
    CHECK(is(end_reason::completed, relais::end_side::none, done, relais::end_cause::none));
    CHECK(is(end_reason::head_timeout, relais::end_side::downstream, request_head, timeout));
    CHECK(is(end_reason::connect_refused, relais::end_side::upstream, connect, refused));
    CHECK(is(end_reason::stage_threw, relais::end_side::local, stages, failure));
}

TEST_CASE("tokens of Proxy-Status are registered ones") {
    std::set<std::string_view> const registered = {"dns_timeout",
                                                   "dns_error",
                                                   "destination_not_found",
                                                   "destination_unavailable",
                                                   "destination_ip_prohibited",
                                                   "destination_ip_unroutable",
                                                   "connection_refused",
                                                   "connection_terminated",
                                                   "connection_timeout",
                                                   "connection_read_timeout",
                                                   "connection_write_timeout",
                                                   "connection_limit_reached",
                                                   "tls_protocol_error",
                                                   "tls_certificate_error",
                                                   "tls_alert_received",
                                                   "http_request_error",
                                                   "http_request_denied",
                                                   "http_response_incomplete",
                                                   "http_response_header_section_size",
                                                   "http_response_header_size",
                                                   "http_response_body_size",
                                                   "http_response_trailer_section_size",
                                                   "http_response_trailer_size",
                                                   "http_response_transfer_coding",
                                                   "http_response_content_coding",
                                                   "http_response_timeout",
                                                   "http_upgrade_failed",
                                                   "http_protocol_error",
                                                   "proxy_internal_response",
                                                   "proxy_internal_error",
                                                   "proxy_configuration_error",
                                                   "proxy_loop_detected"};
    for (auto& row : relais::end_reasons()) {
        INFO(row.word);
        CHECK((row.proxy_status.empty() || registered.contains(row.proxy_status)));
        if (row.status != 0)
            CHECK(!row.proxy_status.empty());
    }
}
