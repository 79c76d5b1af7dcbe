#pragma once

#include <relais/core/report.hpp>
#include <relais/http/date.hpp>
#include <relais/http/framing.hpp>
#include <relais/http/impl/http1_session.hpp>
#include <relais/http/path.hpp>
#include <relais/net/socket.hpp>
#include <relais/net/splice.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#if defined(__linux__)
#include <fcntl.h>
#endif

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
    // The worker ends, or memory does: what was to happen after the last byte happens now.
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
    if (used_ == 0)
        return options_.keep_alive_timeout;
    auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(worker::current().now() -
                                                                       head_began_);
    return std::max(options_.head_timeout - spent, std::chrono::milliseconds(1));
}

RELAIS_DECL http1_session::head_step http1_session::woken(wait_result why) {
    if (why == wait_result::ready) {
        auto step = try_head();
        // Bytes that come again and again wake the wait before its end.
        if (step == head_step::wait && used_ &&
            worker::current().now() - head_began_ >= options_.head_timeout)
            return reject(end_reason::head_timeout);
        return step;
    }
    if (why == wait_result::timed_out && used_)
        return reject(end_reason::head_timeout);
    connection_.set_reason(why == wait_result::timed_out ? end_reason::client_idle
                                                         : end_reason::shutting_down);
    return head_step::ended;
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
    r.max_forwards_ = facts.max_forwards;
    r.websocket_ = facts.upgrades && r.line_.method == verb::get &&
                   r.fields_.has_token(known_field::upgrade, "websocket");
    close_ = !facts.keep_alive || draining_ || ++served_ >= options_.keep_alive_requests;
    erase_hop_by_hop(r.fields_);
    constexpr known_fields forwarded(known_field::forwarded, known_field::x_forwarded_for,
                                     known_field::x_forwarded_host, known_field::x_forwarded_port,
                                     known_field::x_forwarded_proto, known_field::x_real_ip);
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
    if (gone_)
        return;
    auto& r = x_->response;
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

// Writing responses

/// What stands behind the status; it may be empty.
RELAIS_DECL std::string_view reason_phrase(unsigned status) noexcept {
    namespace http = boost::beast::http;
    if (status == 103) // not every version of Beast knows it
        return "Early Hints";
    auto known = http::int_to_status(status);
    if (known == http::status::unknown)
        return {};
    return http::obsolete_reason(known);
}

RELAIS_DECL bool http1_session::response_has_content() const noexcept {
    auto status = x_->response.status();
    return x_->request.method() != verb::head && status >= 200 && status != 204 && status != 304;
}

RELAIS_DECL void http1_session::write_head(text_buffer& out) {
    auto& r = x_->response;
    auto& q = x_->request;
    auto status = r.status_;
    out.put(q.version() == 10 ? "HTTP/1.0 " : "HTTP/1.1 ").put_number(status).put(" ");
    out.put(reason_phrase(status)).put("\r\n");

    constexpr known_fields ours(known_field::connection, known_field::keep_alive,
                                known_field::proxy_connection, known_field::transfer_encoding,
                                known_field::content_length, known_field::upgrade);
    if (r.fields_.contains(known_field::connection) &&
        r.fields_.has_token(known_field::connection, "close"))
        close_ = true;
    close_ = close_ || r.close_;
    for (auto& f : r.fields_.entries())
        if (!f.name.empty() && (f.id == known_field::other || !ours.contains(f.id)))
            out.put_field(f.name, f.value);
    if (!r.fields_.contains(known_field::date))
        out.put_field("Date", http_date_now());

    if (r.takeover_) {
        out.put("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        return;
    }
    framing_ = content::none;
    auto size = r.body.size();
    if (!response_has_content()) {
        if (status != 204 && status >= 200) {
            if (r.told_length_)
                size = r.told_length_;
            else if (status == 304 || r.length_untold_)
                size.reset();
            if (size)
                out.put("Content-Length: ").put_number(*size).put("\r\n");
        }
    } else if (size) {
        framing_ = content::length;
        out.put("Content-Length: ").put_number(*size).put("\r\n");
    } else if (q.version() == 11) {
        framing_ = content::chunked;
        out.put("Transfer-Encoding: chunked\r\n");
    } else {
        framing_ = content::until_close;
        close_ = true;
    }
    if (close_)
        out.put("Connection: close\r\n");
    else if (q.version() == 10)
        out.put("Connection: keep-alive\r\n");
    out.put("\r\n");
}

RELAIS_DECL http1_session::send_step http1_session::start_response() {
    if (gone_)
        return send_step::failed;
    auto& r = x_->response;
    // A client that was not told to go on may or may not send the body that it announced: nobody can tell where its
    // next request begins.
    if (x_->request.body.awaits_continue() && !r.takeover_)
        close_ = linger_ = true;
    if (draining_)
        close_ = true;
    auto& out = worker::current().text();
    write_head(out);
    if (!response_has_content() && !r.takeover_)
        r.body.recycle();
    takeover_ = std::move(r.takeover_);

    auto ready = r.body.ready_;
    if (framing_ == content::chunked && !ready.empty()) { // goes out with the rest
        r.body.set(r.body.take());
        ready = {};
    }
    x_->body_bytes_sent_ += ready.size();
    x_->head_sent_ = true;
    io_result wrote;
    std::size_t total = out.size() + ready.size();
    if (ready.size() <= head_buffer::usual) {
        out.put(ready);
        wrote = peer().try_write(out.view());
    } else {
        std::array<boost::asio::const_buffer, 2> both{
            boost::asio::const_buffer(out.view().data(), out.size()),
            boost::asio::const_buffer(ready.data(), ready.size())};
        wrote = peer().try_write(both);
    }
    if (wrote.state == io_state::error || wrote.state == io_state::end) {
        x_->set_reason(end_reason::client_left);
        return send_step::failed;
    }
    if (wrote.count < total) {
        auto head = out.view().substr(std::min(wrote.count, out.size()));
        unsent_.assign(head);
        if (ready.size() > head_buffer::usual)
            unsent_.append(ready.substr(wrote.count > out.size() ? wrote.count - out.size() : 0));
        return send_step::part;
    }
    if (r.body.rest_ || peer().try_flush().state != io_state::ok)
        return send_step::part;
    return send_step::all;
}

RELAIS_DECL awaitable<bool> http1_session::send_rest(std::string_view rest) {
    auto result =
        co_await write_all(peer(), std::as_bytes(std::span(rest)), options_.write_timeout);
    if (result == write_result::timed_out)
        x_->set_reason(end_reason::client_write_timeout);
    else if (result == write_result::failed)
        x_->set_reason(end_reason::client_left);
    else if (result == write_result::cancelled)
        x_->set_reason(end_reason::shutting_down);
    co_return result == write_result::done;
}

RELAIS_DECL awaitable<http1_session::send_step> http1_session::finish_response() {
    bool sent = co_await send_rest(unsent_);
    std::string().swap(unsent_);
    if (!sent)
        co_return send_step::failed;
    auto& rest = x_->response.body.rest_;
    if (!rest)
        co_return send_step::all;
    auto result = send_step::failed;
    try {
        auto source = rest->raw();
        if (framing_ == content::length && source.from && peer().plain() &&
            *source.left > 128 * 1024)
            result = co_await send_raw(*rest, source);
        else
            result = co_await send_body(*rest);
        if (result == send_step::all)
            rest->finished();
    } catch (...) { // a body of a stage's own
        report_exception("a response's body threw", std::current_exception());
        x_->set_reason(end_reason::stage_threw);
        abort_ = true; // never a fake clean end
        result = send_step::failed;
    }
    co_return result;
}

RELAIS_DECL awaitable<http1_session::send_step> http1_session::send_body(body& from) {
    constexpr std::size_t before = 18, after = 7; // a chunk's head, its end and the last chunk
    auto promised = framing_ == content::length ? from.remaining() : std::nullopt;
    std::uint64_t sent = 0;
    std::size_t burst_bytes = 0;
    unsigned burst_reads = 0;
    for (;;) {
        auto room = worker::current().scratch();
        auto area = room.subspan(before, room.size() - before - after);
        auto got = from.try_read(area);
        if (got.state == io_state::would_block) {
            if (peer().try_flush().state != io_state::ok) {
                bool flushed = co_await send_rest({});
                if (!flushed)
                    co_return send_step::failed;
            }
            auto why = wait_result::cancelled;
            if (!gone_)
                why = co_await from.waits_on()->readable(from.wait_limit());
            burst_bytes = burst_reads = 0;
            if (why == wait_result::ready)
                continue;
            x_->set_reason(why == wait_result::timed_out ? end_reason::response_timeout
                                                         : end_reason::shutting_down);
            abort_ = true;
            co_return send_step::failed;
        }
        if (got.state == io_state::error || (promised && sent + got.count > *promised) ||
            (got.state == io_state::end && promised && sent < *promised)) {
            x_->set_reason(got.state == io_state::error ? from.failure()
                                                        : end_reason::stage_misused);
            abort_ = true; // never a fake clean end
            co_return send_step::failed;
        }
        sent += got.count;
        x_->body_bytes_sent_ += got.count;
        bool last = got.state == io_state::end || from.remaining() == std::uint64_t{0};
        auto* begin = reinterpret_cast<char*>(area.data());
        auto* end = begin + got.count;
        if (framing_ == content::chunked) {
            if (got.count) {
                chunk_head size(got.count);
                begin -= size.text().size();
                std::memcpy(begin, size.text().data(), size.text().size());
                std::memcpy(end, chunk_end.data(), chunk_end.size());
                end += chunk_end.size();
            }
            if (last) {
                std::memcpy(end, last_chunk.data(), last_chunk.size());
                end += last_chunk.size();
            }
        }
        std::string_view bytes(begin, static_cast<std::size_t>(end - begin));
        if (!bytes.empty()) {
            auto wrote = peer().try_write(bytes);
            if (wrote.state == io_state::error || wrote.state == io_state::end) {
                x_->set_reason(end_reason::client_left);
                co_return send_step::failed;
            }
            if (wrote.count < bytes.size()) {
                unsent_.assign(bytes.substr(wrote.count));
                bool all = co_await send_rest(unsent_);
                std::string().swap(unsent_);
                if (!all)
                    co_return send_step::failed;
                burst_bytes = burst_reads = 0;
            }
        }
        if (last) {
            bool flushed = peer().try_flush().state == io_state::ok;
            if (!flushed)
                flushed = co_await send_rest({});
            co_return flushed ? send_step::all : send_step::failed;
        }
        burst_bytes += got.count;
        if (burst_bytes >= (1u << 20) || ++burst_reads >= 16) { // others want a turn
            burst_bytes = burst_reads = 0;
            co_await boost::asio::post(worker::current().context(), boost::asio::deferred);
        }
    }
}

RELAIS_DECL awaitable<http1_session::send_step> http1_session::send_raw(body& from,
                                                                        body::source source) {
#if defined(__linux__)
    splice_pipe pipe;
    if (!pipe.take()) {
        auto copied = co_await send_body(from);
        co_return copied;
    }
    auto& in = source.from->ready();
    auto& out = peer().ready();
    auto& left = *source.left;
    constexpr std::size_t most = 512 * 1024;
    unsigned burst = 0;
    while (left > 0 || pipe.held > 0) {
        bool moved = false;
        if (left > 0 && pipe.held < most && in.readable && !in.closed) {
            auto count = ::splice(source.from->descriptor(), nullptr, pipe.write_end(), nullptr,
                                  static_cast<std::size_t>(std::min<std::uint64_t>(left, 1 << 20)),
                                  SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
            if (count > 0) {
                left -= static_cast<std::uint64_t>(count);
                pipe.held += static_cast<std::size_t>(count);
                moved = true;
            } else if (count < 0 && errno == EAGAIN) {
                if (pipe.held == 0) // otherwise the pipe may be what is full
                    in.readable = false;
            } else if (!(count < 0 && errno == EINTR)) {
                x_->set_reason(end_reason::response_incomplete);
                abort_ = true;
                co_return send_step::failed;
            }
        }
        if (pipe.held > 0 && out.writable && !out.closed) {
            auto count =
                ::splice(pipe.read_end(), nullptr, peer().plain()->descriptor(), nullptr, pipe.held,
                         SPLICE_F_NONBLOCK | SPLICE_F_MOVE | (left ? SPLICE_F_MORE : 0u));
            if (count > 0) {
                pipe.held -= static_cast<std::size_t>(count);
                x_->body_bytes_sent_ += static_cast<std::uint64_t>(count);
                moved = true;
            } else if (count < 0 && errno == EAGAIN) {
                out.writable = false;
            } else if (!(count < 0 && errno == EINTR)) {
                x_->set_reason(end_reason::client_left);
                co_return send_step::failed;
            }
        }
        if (moved) {
            if (++burst >= 16) {
                burst = 0;
                co_await boost::asio::post(worker::current().context(), boost::asio::deferred);
            }
            continue;
        }
        burst = 0;
        wait_result why;
        if (gone_)
            why = wait_result::cancelled;
        else if (pipe.held > 0)
            why = co_await peer().writable(options_.write_timeout);
        else
            why = co_await source.from->readable(from.wait_limit());
        bool closed = in.closed || out.closed;
        if (why == wait_result::ready && !closed)
            continue;
        auto reason = end_reason::shutting_down;
        if (why == wait_result::timed_out)
            reason =
                pipe.held > 0 ? end_reason::client_write_timeout : end_reason::response_timeout;
        x_->set_reason(reason);
        abort_ = true;
        co_return send_step::failed;
    }
    co_return send_step::all;
#else
    (void)source;
    auto copied = co_await send_body(from);
    co_return copied;
#endif
}

RELAIS_DECL awaitable<> http1_session::send_interim(exchange& x, unsigned status,
                                                    fields const& with) {
    if (x.request.version() < 11 || (status == 103 && !options_.early_hints))
        co_return;
    std::string text = "HTTP/1.1 " + std::to_string(status) + ' ';
    text.append(reason_phrase(status)).append("\r\n");
    for (auto& f : with)
        text.append(f.name).append(": ").append(f.value).append("\r\n");
    text += "\r\n";
    if (status == 100)
        x.request.body.continue_sent();
    co_await send_rest(text);
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
    auto running = takeover_->run(connection_, std::move(early));
    if (draining_) // that was said while the upgrade was still asked for
        connection_.drain();
    return running;
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
    return x_->scope().running() > 0 || !x_->request.body.framed_.complete();
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
    connection_.set_reason(gone_ ? end_reason::client_left : end_reason::completed);
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
    if (!x_) // between two requests
        peer().close();
}

} // namespace relais::detail
