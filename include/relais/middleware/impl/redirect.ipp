#pragma once

#include <relais/http/path.hpp>
#include <relais/middleware/redirect.hpp>

#include <string_view>

namespace relais {

RELAIS_DECL redirect_stage::redirect_stage(redirect_options options)
    : options_(std::make_shared<redirect_options const>(std::move(options))) {}

RELAIS_DECL void redirect_stage::prepare() const {
    auto const& o = *options_;
    auto const fail = [&o](std::string_view why) {
        throw startup_error("redirect(\"" + o.to + "\"): " + std::string(why));
    };
    if (o.status != 301 && o.status != 302 && o.status != 303 && o.status != 307 && o.status != 308)
        fail("the status is no redirection to one place: write 301, 302, 303, 307 or 308");
    if (!o.to.starts_with('/') && o.to.find("://") == o.to.npos)
        fail("write a path that begins with a slash, or a whole URL, \"https://new.example/\"");
    for (char const c : o.to)
        if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f)
            fail("it has a space, a control byte or a byte beyond ASCII: percent-encode it");
    if (o.keep_path && o.to.find_first_of("?#") != o.to.npos)
        fail("a path cannot be appended to a query or a fragment: leave it out");
}

RELAIS_DECL awaitable<> redirect_stage::operator()(exchange& x) const {
    auto const& o = *options_;
    x.respond(o.status);
    if (!o.keep_path) {
        x.response.set("Location", o.to);
        co_return;
    }
    auto const prefix = x.matched_prefix() == std::string_view::npos ? 0 : x.matched_prefix();
    auto rest = canonical_rest(x.request.canonical_path(), prefix);
    // One slash where the two meet: without one the rest would lengthen the host, with two it could be one.
    std::string to = o.to;
    if (to.ends_with('/') && rest.starts_with('/'))
        rest.remove_prefix(1);
    else if (!to.ends_with('/') && !rest.starts_with('/') && !rest.empty())
        to += '/';
    to.append(rest);
    if (x.request.has_query())
        to.append("?").append(x.request.query());
    x.response.set("Location", to);
}

RELAIS_DECL void redirect_to_https_stage::prepare() const {
    if (port_ == 0)
        throw startup_error("redirect_to_https(): 0 is no port that clients can reach: write that "
                            "of the TLS listener");
}

RELAIS_DECL awaitable<> redirect_to_https_stage::operator()(exchange& x) const {
    auto const host = x.request.host();
    if (host.empty() || x.request.scheme() == "https") {
        x.refuse(host.empty() ? end_reason::bad_host : end_reason::loop_detected);
        co_return;
    }
    std::string to = "https://";
    bool const ipv6 = host.find(':') != host.npos;
    to.append(ipv6 ? "[" : "").append(host).append(ipv6 ? "]" : "");
    if (port_ != 443)
        to.append(":").append(std::to_string(port_));
    to.append(x.request.canonical_path());
    if (x.request.has_query())
        to.append("?").append(x.request.query());
    auto const method = x.request.method();
    x.respond(method == verb::get || method == verb::head ? 301 : 308);
    x.response.set("Location", to);
}

} // namespace relais
