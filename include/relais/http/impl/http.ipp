#pragma once

#include <relais/core/impl/time_limits.hpp>
#include <relais/http/http.hpp>
#include <relais/http/impl/http1_session.hpp>

#include <boost/asio/this_coro.hpp>

namespace relais {

RELAIS_DECL http_stage::http_stage(http_options options)
    : options_(std::make_shared<http_options const>(options)) {}

RELAIS_DECL void http_stage::prepare() const {
    auto const& o = *options_;
    detail::require_time_limits("http()", {{".head_timeout", o.head_timeout},
                                           {".body_timeout", o.body_timeout},
                                           {".body_min_rate_after", o.body_min_rate_after},
                                           {".keep_alive_timeout", o.keep_alive_timeout},
                                           {".write_timeout", o.write_timeout}});
    if (o.max_head_size < 256 || o.max_fields == 0 || o.max_target_size == 0 ||
        o.keep_alive_requests == 0)
        throw startup_error(
            "http({...}): max_head_size has to be 256 bytes at least, and max_fields, "
            "max_target_size and keep_alive_requests 1 at least");
}

RELAIS_DECL awaitable<> http_stage::operator()(connection& c, exchange::next next) const {
    using session = detail::http1_session;
    session s(*options_, c);
    for (;;) {
        auto head = s.try_head();
        while (head == session::head_step::wait) {
            auto why = co_await s.peer().readable(s.head_limit());
            head = s.woken(why);
        }
        if (head == session::head_step::ended)
            co_return;
        if (head == session::head_step::idle)
            break;
        if (head == session::head_step::complete) {
            std::exception_ptr thrown;
            co_await boost::asio::this_coro::throw_if_cancelled(true);
            s.enter_stages();
            try {
                co_await next(s.current());
            } catch (...) {
                thrown = std::current_exception();
            }
            s.leave_stages(thrown);
        }
        co_await boost::asio::this_coro::throw_if_cancelled(false); // what follows ends in order
        auto sent = s.start_response();
        if (sent == session::send_step::part)
            sent = co_await s.finish_response();
        if (s.takes_over() && sent == session::send_step::all) {
            auto why = co_await s.begin_takeover();
            s.end_takeover(why);
            co_return;
        }
        if (s.unsettled())
            co_await s.settle();
        if (!s.end_exchange(sent))
            break;
    }
    if (s.lingers())
        co_await s.linger();
    else
        s.peer().shutdown_send(); // TLS says that this end is none that somebody made up
}

} // namespace relais

#include <relais/http/impl/http1_response.ipp>
#include <relais/http/impl/http1_session.ipp>
