#pragma once

// How a connection of HTTP/1 writes what the stages answered: heads, bodies, interim responses.

#include <relais/core/report.hpp>
#include <relais/http/chunked.hpp>
#include <relais/http/date.hpp>
#include <relais/http/impl/http1_session.hpp>
#include <relais/net/socket.hpp>
#include <relais/net/splice.hpp>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#if defined(__linux__)
#include <fcntl.h>
#endif

namespace relais::detail {

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

/// The fields of a connection and of framing: the session alone says them.
inline constexpr known_fields said_by_session(known_field::connection, known_field::keep_alive,
                                              known_field::proxy_connection,
                                              known_field::transfer_encoding,
                                              known_field::content_length, known_field::upgrade);

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

    if (r.fields_.contains(known_field::connection) &&
        r.fields_.has_token(known_field::connection, "close"))
        close_ = true;
    close_ = close_ || r.close_;
    put_fields(out, r.fields_, said_by_session);
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
    if (!response_has_content())
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
    auto promised = framing_ == content::length ? from.remaining() : std::nullopt;
    std::uint64_t sent = 0;
    std::size_t burst_bytes = 0;
    unsigned burst_reads = 0;
    for (;;) {
        auto room = worker::current().scratch();
        auto area =
            room.subspan(room_before_chunk, room.size() - room_before_chunk - room_behind_chunk);
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
            x_->set_reason(why == wait_result::timed_out ? from.silence()
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
        std::span<char> content_read(reinterpret_cast<char*>(area.data()), got.count);
        std::string_view bytes(content_read.data(), content_read.size());
        if (framing_ == content::chunked)
            bytes = frame_chunk(content_read, last);
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
            reason = pipe.held > 0 ? end_reason::client_write_timeout : from.silence();
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
    text_buffer head;
    head.put("HTTP/1.1 ").put_number(status).put(" ").put(reason_phrase(status)).put("\r\n");
    put_fields(head, with, said_by_session);
    head.put("\r\n");
    if (status == 100)
        x.request.body.continue_sent();
    co_await send_rest(head.view());
}

} // namespace relais::detail
