#pragma once

#include <relais/core/report.hpp>
#include <relais/http/framing.hpp>
#include <relais/http/impl/http1_session.hpp>
#include <relais/http/path.hpp>

#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <array>
#include <cstring>

namespace relais::detail {

RELAIS_DECL exchange_cache& exchange_cache::current() {
    static char const key = 0;
    return worker::current().lasting<exchange_cache>(
        &key, [] { return std::make_shared<exchange_cache>(); });
}

RELAIS_DECL std::unique_ptr<exchange> exchange_cache::take() {
    if (idle_.empty())
        return std::make_unique<exchange>();
    auto x = std::move(idle_.back());
    idle_.pop_back();
    return x;
}

RELAIS_DECL void exchange_cache::give(std::unique_ptr<exchange> x) noexcept {
    if (idle_.size() < kept)
        idle_.push_back(std::move(x));
}

RELAIS_DECL http1_session::http1_session(http_options const& options, connection& c)
    : options_(options), connection_(c), cache_(exchange_cache::current()),
      parser_({options.max_head_size, options.max_fields, options.max_target_size,
               options.underscore_names}) {
    c.set_drainable(this);
}

RELAIS_DECL http1_session::~http1_session() {
    peer().ready().observe_hang_up(nullptr, nullptr);
    connection_.set_drainable(nullptr);
    if (!x_)
        return;
    // Something threw, memory above all: what was to happen after the last byte happens now. At the worker's own end it
    // does not: what such a function may use is gone.
    x_->set_reason(end_reason::shutting_down);
    if (!worker::current().is_ending())
        x_->finish();
    x_->recycle(); // while the connection is still there
}

// Reading heads

RELAIS_DECL http1_session::head_step http1_session::try_head() {
    if (!x_) {
        x_ = cache_.take();
        buffer_ = head_buffer::take(ahead_.size());
        parser_.reset();
        used_ = ahead_.size();
        if (used_) {
            std::memcpy(buffer_.data(), ahead_.data(), used_);
            std::string().swap(ahead_);
            head_began_ = worker::current().batch_time();
        }
    }
    bool look = used_ > 0;
    for (;;) {
        if (look) {
            auto parsed =
                parser_.parse({buffer_.data(), used_}, x_->request.line_, x_->request.fields_);
            if (parsed.state == parse_state::complete)
                return accept_head(parsed.size);
            if (parsed.state == parse_state::rejected)
                return reject(parsed.why, parsed.sentence);
            if (used_ == buffer_.capacity() && !grow())
                return reject(end_reason::head_too_large);
        }
        auto got = peer().try_read(
            std::as_writable_bytes(std::span(buffer_.data() + used_, buffer_.capacity() - used_)));
        if (got.state == io_state::would_block) {
            if (used_ == 0)
                release_idle();
            return head_step::wait;
        }
        if (got.state != io_state::ok) {
            connection_.set_reason(used_ ? end_reason::client_left : end_reason::client_idle);
            release_idle();
            return head_step::ended;
        }
        if (used_ == 0)
            head_began_ = worker::current().batch_time();
        used_ += got.count;
        look = true;
    }
}

RELAIS_DECL void http1_session::release_idle() noexcept {
    x_->request.recycle();
    cache_.give(std::move(x_));
    buffer_.release();
    used_ = 0;
}

RELAIS_DECL bool http1_session::grow() {
    if (buffer_.capacity() > options_.max_head_size)
        return false;
    buffer_.grow(options_.max_head_size + head_buffer::usual, used_);
    return true;
}

RELAIS_DECL std::chrono::milliseconds http1_session::head_limit() const {
    if (used_ == 0 && draining_) // a client that has only just connected
        return std::min(options_.keep_alive_timeout, std::chrono::milliseconds(1000));
    if (used_ == 0)
        return options_.keep_alive_timeout;
    auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(worker::current().now() -
                                                                       head_began_);
    return std::max(options_.head_timeout - spent, std::chrono::milliseconds(1));
}

RELAIS_DECL http1_session::head_step http1_session::woken(wait_result why) {
    if (why == wait_result::ready || (why == wait_result::cancelled && draining_)) {
        auto step = try_head();
        // What has come meanwhile is answered. A client that sends its next request now finds the end instead, before
        // any of it was read, and may send it again elsewhere (RFC 9112, section 9.3.1).
        if (step == head_step::wait && used_ == 0 && draining_ && served_ > 0) {
            connection_.set_reason(end_reason::shutting_down);
            linger_ = true;
            return head_step::idle;
        }
        // Bytes that come again and again wake the wait before its end.
        if (step == head_step::wait && used_ &&
            worker::current().now() - head_began_ >= options_.head_timeout)
            return reject(end_reason::head_timeout);
        return step;
    }
    if (why == wait_result::timed_out && used_)
        return reject(end_reason::head_timeout);
    if (why == wait_result::cancelled) {
        connection_.set_reason(end_reason::shutting_down);
        return head_step::ended;
    }
    connection_.set_reason(end_reason::client_idle);
    return head_step::idle;
}

RELAIS_DECL http1_session::head_step http1_session::reject(end_reason why,
                                                           std::string_view sentence) {
    x_->begin(connection_, *this);
    x_->refuse(why);
    if (!sentence.empty())
        x_->response.body.set(std::to_string(x_->response.status()) + ' ' + std::string(sentence) +
                              '\n');
    if (why == end_reason::method_not_allowed)
        x_->response.set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    close_ = linger_ = true;
    return head_step::rejected;
}

RELAIS_DECL http1_session::head_step http1_session::accept_head(std::size_t size) {
    auto& x = *x_;
    auto& r = x.request;
    std::string_view bytes(buffer_.data(), used_);
    r.received_ = bytes.substr(0, size);

    auto facts = examine_request(r.line_, r.fields_);
    if (facts.rejected)
        return reject(facts.rejected.why, facts.rejected.sentence);
    if (facts.form == target_form::origin || facts.form == target_form::absolute) {
        auto path = normalise_path(facts.path, r.path_storage_, r.canonical_storage_);
        if (path.rejected())
            return reject(path.reason, path.sentence);
        r.path_ = path.matched;
        r.canonical_path_ = path.canonical;
    } else {
        r.path_ = r.canonical_path_ = facts.path;
    }
    if (facts.has_query)
        if (auto wrong = check_query(facts.query, options_.strict_query); !wrong.empty())
            return reject(end_reason::bad_target, wrong);
    r.raw_path_ = facts.path;
    r.query_ = facts.query;
    r.has_query_ = facts.has_query;
    r.authority_ = facts.authority;
    r.set_host(facts.host.host);
    if (auto const* session = connection_.tls(); session && !session->serves(facts.host.host))
        return reject(end_reason::misdirected,
                      "the host is not the one that the TLS session was made for");
    r.max_forwards_ = facts.max_forwards;
    r.websocket_ = facts.upgrades && r.line_.method == verb::get &&
                   r.fields_.has_token(known_field::upgrade, "websocket");
    close_ = !facts.keep_alive || draining_ || ++served_ >= options_.keep_alive_requests;
    erase_hop_by_hop(r.fields_);
    constexpr known_fields forwarded(known_field::forwarded, known_field::x_forwarded_for,
                                     known_field::x_forwarded_host, known_field::x_forwarded_port,
                                     known_field::x_forwarded_proto, known_field::x_real_ip,
                                     known_field::client_cert, known_field::client_cert_chain);
    if (r.fields_.present().intersects(forwarded)) // what a client claims is not passed on
        r.fields_.erase_if([&](fields::entry const& f) { return forwarded.contains(f.id); });

    x.begin(connection_, *this);
    x.started_ = head_began_;
    r.body.begin(x, peer(), facts.body, bytes.substr(size), facts.expects_continue,
                 {options_.body_timeout, options_.body_min_rate, options_.body_min_rate_after});
    return head_step::complete;
}

// The stages

RELAIS_DECL void http1_session::enter_stages() {
    auto& g = peer().ready();
    g.observe_hang_up([](void* self) { static_cast<http1_session*>(self)->client_hung_up(); },
                      this);
    if (g.hung_up)
        client_hung_up();
}

RELAIS_DECL void http1_session::client_hung_up() {
    if (!x_ || gone_)
        return;
    auto& b = x_->request.body;
    if (!b.framed_
             .has_come()) { // whoever reads the body finds the end; a broken connection is told at once
        if (peer().ready().broken)
            client_is_gone();
        return;
    }
    if (b.framed_.complete() && !b.framed_.excess().empty())
        return;
    while (ahead_.size() < head_buffer::usual) {
        std::array<std::byte, 2048> some;
        auto got = peer().try_read(some);
        if (got.state == io_state::would_block)
            return;
        if (got.state == io_state::ok) {
            ahead_.append(reinterpret_cast<char const*>(some.data()), got.count);
            continue;
        }
        if (got.state == io_state::error || (ahead_.empty() && !options_.half_close))
            client_is_gone();
        return;
    }
}

RELAIS_DECL void http1_session::client_is_gone() {
    gone_ = true;
    x_->set_reason(end_reason::client_left);
    connection_.cancellation().emit(boost::asio::cancellation_type::terminal);
}

RELAIS_DECL void http1_session::leave_stages(std::exception_ptr thrown) {
    if (thrown)
        x_->fail(std::move(thrown));
    if (x_->reason() == end_reason::client_left)
        gone_ = true; // it may have ended within the body: that is told to nobody
    if (gone_)
        return;
    auto& r = x_->response;
    if (r.status() != 101)
        r.take_over(nullptr); // a stage made another answer of it
    if (r.status() == 0) {
        report("a stage returned without an answer: call x.respond() or await next(x)");
        x_->refuse(end_reason::stage_misused);
    } else if (r.status() < 200 && !r.takes_over()) {
        report("a stage answered with " + std::to_string(r.status()) +
               ", which is no final status: use send_interim() for 100 to 103");
        x_->refuse(end_reason::stage_misused);
    }
    // What follows a body that is malformed or does not come is not a request.
    if (x_->request.body.framed_.failure() != end_reason::completed ||
        describe(x_->reason()).phase == end_phase::request_body)
        close_ = linger_ = true;
    if (x_->request.is_websocket() && !r.takes_over() && sent_ahead())
        close_ = linger_ = true; // it was meant for a tunnel: not a request
}

RELAIS_DECL bool http1_session::sent_ahead() {
    if (ahead_.empty() && x_->request.body.framed_.excess().empty()) {
        std::byte one;
        return peer().try_read({&one, 1}).count > 0;
    }
    return true;
}

// After the response

RELAIS_DECL awaitable<end_reason> http1_session::begin_takeover() {
    std::string early(x_->request.body.framed_.excess());
    early += ahead_;
    std::string().swap(ahead_);
    peer().ready().observe_hang_up(nullptr, nullptr);
    if (x_->held_.empty()) {
        x_->recycle();
        cache_.give(std::move(x_));
    } else {
        x_->compact();
    }
    buffer_.release();
    return takeover_->run(connection_, std::move(early));
}

RELAIS_DECL void http1_session::end_takeover(end_reason why) {
    connection_.set_drainable(this);
    connection_.set_reason(why);
    if (x_) {
        x_->body_bytes_sent_ += takeover_->bytes_sent();
        x_->set_reason(why);
        x_->finish();
        x_->recycle();
        x_.reset();
    }
}

RELAIS_DECL bool http1_session::unsettled() const noexcept {
    return !x_->scope().settled() || !x_->request.body.framed_.complete();
}

RELAIS_DECL bool http1_session::discard_request_body() {
    constexpr std::size_t most = 64 * 1024;
    auto& b = x_->request.body.framed_;
    while (discarded_ < most) {
        auto got = b.try_read(worker::current().scratch().first(head_buffer::usual));
        if (got.state == io_state::would_block)
            return true;
        if (got.state != io_state::ok)
            return false;
        discarded_ += got.count;
    }
    return false;
}

RELAIS_DECL awaitable<> http1_session::settle() {
    co_await boost::asio::this_coro::throw_if_cancelled(false);
    x_->stop_upload();
    peer().ready().reader.cancel();
    try {
        co_await x_->scope().join();
    } catch (...) {
        report_exception("a request's body threw", std::current_exception());
        x_->set_reason(end_reason::stage_threw);
    }
    if (!abort_ && !gone_ && !close_) {
        // The rest of the body stands before the next request: read it where it is short.
        discarded_ = 0;
        auto end = worker::current().now() + std::chrono::seconds(1);
        while (discard_request_body()) {
            auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                end - worker::current().now());
            auto why = wait_result::timed_out;
            if (left.count() > 0)
                why = co_await peer().readable(left);
            if (why != wait_result::ready)
                break;
        }
    }
    if (!x_->request.body.framed_.complete())
        close_ = linger_ = true;
}

RELAIS_DECL bool http1_session::unread_bytes() {
    return !ahead_.empty() ||
           peer().try_read(worker::current().scratch().first(1)).state == io_state::ok;
}

RELAIS_DECL bool http1_session::end_exchange(send_step sent) {
    peer().ready().observe_hang_up(nullptr, nullptr);
    if (sent == send_step::failed) // what is half sent must not end as if it were whole
        abort_ = x_->head_sent_ || !gone_;
    if (gone_ || x_->reason() == end_reason::client_left)
        connection_.set_reason(end_reason::client_left);
    auto excess = x_->request.body.framed_.excess();
    if (!excess.empty())
        ahead_.insert(0, excess);
    x_->finish();
    x_->recycle();
    cache_.give(std::move(x_));
    buffer_.release();
    used_ = 0;
    if (abort_)
        peer().abort();
    else if ((close_ || draining_) && !gone_ && unread_bytes())
        linger_ = true; // closed over them, the client would see a reset and not the answer
    return !abort_ && !gone_ && !close_ && !draining_;
}

RELAIS_DECL awaitable<> http1_session::linger() {
    peer().shutdown_send();
    std::size_t discarded = 0;
    auto end = worker::current().now() + std::chrono::seconds(1);
    while (discarded < 64 * 1024) {
        auto got = peer().try_read(worker::current().scratch().first(16 * 1024));
        discarded += got.count;
        if (got.state == io_state::ok)
            continue;
        if (got.state != io_state::would_block)
            break;
        auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - worker::current().now());
        if (left.count() <= 0)
            break;
        auto why = co_await peer().readable(left);
        if (why != wait_result::ready)
            break;
    }
}

RELAIS_DECL void http1_session::drain() {
    draining_ = true;
    if (!x_) // between two requests: has a look at what it does then
        peer().ready().reader.cancel();
}

} // namespace relais::detail
