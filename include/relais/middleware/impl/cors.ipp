#pragma once

#include <relais/middleware/cors.hpp>
#include <relais/middleware/impl/origin.hpp>

#include <exception>
#include <utility>

namespace relais {
namespace detail {

inline bool is_field_list(std::string_view list) noexcept {
    for (char const c : list)
        if (!is(octet_token, c) && c != ',' && !is_blank(c))
            return false;
    return !list.empty();
}

inline void append_to_list(std::string& list, std::string_view element) {
    list.append(list.empty() ? "" : ", ").append(element);
}

// Makes caches tell responses apart by these request fields.
inline void vary_on(response& r, std::string_view name) {
    if (!r.fields().has_token(known_field::vary, name) &&
        !r.fields().has_token(known_field::vary, "*"))
        r.add("Vary", name);
}

} // namespace detail

struct cors_stage::policy {
    explicit policy(cors_options o) : options(std::move(o)) {
        any = options.origins.size() == 1 && options.origins.front() == "*";
        for (auto method : options.methods)
            detail::append_to_list(methods, boost::beast::http::to_string(method));
        for (auto const& name : options.headers)
            detail::append_to_list(headers, name);
        for (auto const& name : options.expose)
            detail::append_to_list(expose, name);
        max_age = std::to_string(options.max_age.count());
    }

    bool allows(std::string_view origin) const noexcept {
        return !origin.empty() && origin != "null" &&
               (any || detail::is_among(options.origins, origin));
    }

    void allow(exchange& x, std::string_view origin) const {
        x.response.set("Access-Control-Allow-Origin", any ? std::string_view("*") : origin);
        if (options.credentials)
            x.response.set("Access-Control-Allow-Credentials", "true");
    }

    void answer_preflight(exchange& x, std::string_view origin) const {
        if (!allows(origin)) {
            x.refuse(end_reason::origin_refused);
        } else {
            x.respond(204);
            allow(x, origin);
            x.response.set("Access-Control-Allow-Methods", methods);
            auto const asked = x.request["Access-Control-Request-Headers"];
            if (!headers.empty())
                x.response.set("Access-Control-Allow-Headers", headers);
            else if (!any && detail::is_field_list(asked))
                x.response.set("Access-Control-Allow-Headers", asked);
            x.response.set("Access-Control-Max-Age", max_age);
        }
        x.response.set("Vary",
                       "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    }

    void edit(exchange& x, std::string_view origin) const {
        x.response.fields().erase_if([](fields::entry const& f) {
            constexpr std::string_view family = "access-control-";
            return f.id == known_field::other && f.name.size() > family.size() &&
                   equal_ignoring_case(f.name.substr(0, family.size()), family);
        });
        if (allows(origin)) {
            allow(x, origin);
            if (!expose.empty())
                x.response.set("Access-Control-Expose-Headers", expose);
        }
        detail::vary_on(x.response, "Origin");
    }

    cors_options options;
    bool any;
    std::string methods, headers, expose, max_age;
};

RELAIS_DECL cors_stage::cors_stage(cors_options options)
    : policy_(std::make_shared<policy const>(std::move(options))) {}

RELAIS_DECL void cors_stage::prepare() const {
    auto const& o = policy_->options;
    auto const fail = [](std::string const& why) { throw startup_error("cors(): " + why); };
    if (o.origins.empty())
        fail("nobody is allowed: write .origins = {\"https://abc.com\"}");
    if (policy_->any && o.credentials)
        fail("\"*\" cannot go together with .credentials: write the origins out");
    for (auto const& origin : o.origins) {
        if (origin == "*" && !policy_->any)
            fail("\"*\" lets everybody in: write it alone or leave it out");
        if (auto const why = origin == "*" ? std::string() : detail::why_no_origin(origin);
            !why.empty())
            fail(why);
    }
    for (auto method : o.methods)
        if (method == verb::unknown)
            fail("verb::unknown is no method: leave it out");
    for (auto const* list : {&o.headers, &o.expose})
        for (auto const& name : *list)
            if (name == "*" ? o.credentials
                            : name.empty() || !detail::all_are(detail::octet_token, name))
                fail("\"" + name +
                     "\" is no name of a field: write each name as a string of its own");
    if (o.max_age.count() < 0)
        fail(".max_age is negative: write 0 to have browsers ask every time");
}

RELAIS_DECL awaitable<> cors_stage::operator()(exchange& x, exchange::next next) const {
    auto const& policy = *policy_;
    auto const origin = detail::origin_of(x.request.fields());
    if (x.request.method() == verb::options && x.request.fields().contains(known_field::origin) &&
        x.request.fields().contains("Access-Control-Request-Method")) {
        policy.answer_preflight(x, origin);
        co_return;
    }
    std::exception_ptr thrown;
    try {
        co_await next(x);
    } catch (...) {
        thrown = std::current_exception();
    }
    if (thrown)
        x.fail(std::move(thrown)); // here, so that the answer gets its fields too
    policy.edit(x, origin);
}

} // namespace relais
