#pragma once

#include <relais/core/worker.hpp>
#include <relais/upstream/client.hpp>
#include <relais/upstream/retry.hpp>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace relais {

// The request's body

RELAIS_DECL void body_sender::begin(request_body& from, stream& to, bool chunked,
                                    std::string held) {
    from_ = &from;
    to_ = &to;
    held_ = std::move(held);
    chunked_ = chunked;
    promised_ = chunked ? std::nullopt : from.remaining();
    read_all_ = from.empty() || (!chunked && from.complete());
    done_ = read_all_ && held_.empty() && to.try_flush().state == io_state::ok;
}

RELAIS_DECL body_sender::step body_sender::advance() {
    for (int reads = 0; reads < 16; ++reads) {
        if (!held_.empty()) {
            auto wrote = to_->try_write(std::string_view(held_));
            if (wrote.state == io_state::error || wrote.state == io_state::end)
                return step::send_failed;
            held_.erase(0, wrote.count);
            if (!held_.empty())
                return step::wait_send;
            std::string().swap(held_);
        }
        if (auto flushed = to_->try_flush(); flushed.state != io_state::ok)
            return flushed.state == io_state::would_block ? step::wait_send : step::send_failed;
        if (read_all_) {
            done_ = true;
            return step::done;
        }
        auto room = worker::current().scratch();
        auto area =
            room.subspan(room_before_chunk, room.size() - room_before_chunk - room_behind_chunk);
        auto got = from_->try_read(area);
        if (got.state == io_state::would_block)
            return step::wait_body;
        if (got.state == io_state::error)
            return step::body_failed;
        read_all_ = got.state == io_state::end || from_->complete();
        if (promised_) {
            if (got.count > *promised_ || (read_all_ && got.count < *promised_))
                return step::body_differs;
            *promised_ -= got.count;
        }
        std::span<char> content_read(reinterpret_cast<char*>(area.data()), got.count);
        std::string_view bytes(content_read.data(), content_read.size());
        if (chunked_)
            bytes = frame_chunk(content_read, read_all_);
        if (bytes.empty())
            continue;
        auto wrote = to_->try_write(bytes);
        if (wrote.state == io_state::error || wrote.state == io_state::end)
            return step::send_failed;
        if (wrote.count < bytes.size())
            held_.assign(bytes.substr(wrote.count));
    }
    return step::turn;
}

// The call

RELAIS_DECL void upstream_call::use(std::unique_ptr<stream> connection, connection_past past,
                                    bool reused) noexcept {
    connection_ = std::move(connection);
    past_ = past;
    ++past_.requests;
    reused_ = reused;
    send_broke_ = took_bytes_ = false;
    used_ = 0;
    interims_ = 0;
    why_ = end_reason::completed;
}

RELAIS_DECL void upstream_call::begin(std::string_view head, bool chunked, bool upgrade) {
    upgrade_ = upgrade;
    auto& body = x_.request.body;
    auto ready = chunked ? std::string_view() : body.take_ready();
    io_result wrote;
    if (ready.empty()) {
        wrote = connection_->try_write(head);
    } else {
        boost::asio::const_buffer both[2] = {{head.data(), head.size()},
                                             {ready.data(), ready.size()}};
        wrote = connection_->try_write(std::span<boost::asio::const_buffer const>(both));
    }
    took_bytes_ = wrote.count > 0;
    send_broke_ = wrote.state == io_state::error || wrote.state == io_state::end;
    std::string held;
    if (!send_broke_ && wrote.count < head.size() + ready.size()) {
        held.assign(head.substr(std::min(wrote.count, head.size())));
        held.append(ready.substr(wrote.count > head.size() ? wrote.count - head.size() : 0));
    }
    sender_.begin(body, *connection_, chunked, std::move(held));
    sent_at_ = worker::current().batch_time();
    parser_.reset();
}

RELAIS_DECL upstream_call::step upstream_call::fail(end_reason why) noexcept {
    why_ = why;
    return step::failed;
}

RELAIS_DECL bool upstream_call::stale() const noexcept {
    if (!reused_ || why_ != end_reason::upstream_reset || used_ > 0 || interims_ > 0)
        return false;
    if (!took_bytes_)
        return true;
    return is_idempotent(x_.request.method());
}

RELAIS_DECL upstream_call::step upstream_call::advance() {
    auto sending = body_sender::step::done;
    if (!sender_.done() && !send_broke_) {
        sending = sender_.advance();
        if (sending == body_sender::step::body_failed)
            return fail(x_.request.body.failure());
        if (sending == body_sender::step::body_differs)
            return fail(end_reason::stage_misused);
        if (sending == body_sender::step::send_failed)
            send_broke_ = true; // it may have answered before it closed
        // It may have: what is held back is not counted.
        took_bytes_ = true;
        sent_at_ = worker::current().batch_time();
    }
    auto reading = read_response();
    if (reading != step::wait_response || send_broke_)
        return reading;
    switch (sending) {
    case body_sender::step::wait_body: return step::wait_body;
    case body_sender::step::wait_send: return step::wait_send;
    case body_sender::step::turn: return step::turn;
    default: return step::wait_response;
    }
}

RELAIS_DECL upstream_call::step upstream_call::read_response() {
    auto& storage = x_.response.storage();
    bool look = used_ > 0 && status_.status == 0; // what stood behind an interim response
    for (;;) {
        if (!look) {
            if (!storage)
                storage = head_buffer::take();
            if (used_ == storage.capacity()) {
                if (used_ > default_response_limits.max_head_size)
                    return fail(end_reason::response_head_too_large);
                storage.grow(default_response_limits.max_head_size + head_buffer::usual, used_);
            }
            auto got = connection_->try_read(std::as_writable_bytes(
                std::span(storage.data() + used_, storage.capacity() - used_)));
            if (got.state == io_state::would_block) {
                if (used_ == 0)
                    storage.release();
                else if (sender_.done() && worker::current().now() - sent_at_ >= limits_.first_byte)
                    return fail(end_reason::first_byte_timeout); // it comes byte by byte
                return step::wait_response;
            }
            if (got.state != io_state::ok)
                return fail(used_ ? end_reason::bad_response : end_reason::upstream_reset);
            used_ += got.count;
        }
        look = false;
        auto parsed = parser_.parse({storage.data(), used_}, status_, x_.response.fields());
        if (parsed.state == parse_state::rejected)
            return fail(parsed.why);
        if (parsed.state == parse_state::complete)
            return judge_response(parsed.size);
    }
}

RELAIS_DECL upstream_call::step upstream_call::judge_response(std::size_t head_size) {
    head_size_ = head_size;
    auto facts = examine_response(status_, x_.response.fields(), x_.request.method(), upgrade_);
    if (facts.rejected)
        return fail(facts.rejected.why);
    framing_ = facts.body;
    keep_alive_ = facts.keep_alive;
    told_length_ = facts.declared_length;
    if (!facts.interim)
        return step::answered;
    auto now = worker::current().batch_time();
    if (interims_ == 0)
        first_interim_ = now;
    if (++interims_ > 64 && now - first_interim_ < std::chrono::seconds(interims_ - 1))
        return fail(end_reason::too_many_interim);
    erase_hop_by_hop(x_.response.fields());
    return step::interim;
}

RELAIS_DECL void upstream_call::interim_passed_on() {
    auto& storage = x_.response.storage();
    x_.response.fields().clear();
    used_ -= head_size_;
    std::memmove(storage.data(), storage.data() + head_size_, used_);
    status_ = {};
    parser_.reset();
    sent_at_ = worker::current().batch_time();
}

RELAIS_DECL std::chrono::milliseconds upstream_call::limit(step waiting) const {
    using std::chrono::milliseconds;
    // A client that waits for 100 is not slow: the server has to say something.
    if (waiting == step::wait_body && !x_.request.body.awaits_continue())
        return total_.cut(x_.request.body.wait_limit());
    if (waiting == step::wait_send)
        return total_.cut(limits_.write);
    auto spent = std::chrono::duration_cast<milliseconds>(worker::current().now() - sent_at_);
    return total_.cut(std::max(limits_.first_byte - spent, milliseconds(1)));
}

RELAIS_DECL upstream_call::step upstream_call::give_up(wait_result result, step waited_for) {
    if (result == wait_result::cancelled)
        return fail(end_reason::client_left);
    if (total_.is_over())
        return fail(end_reason::total_timeout);
    if (waited_for == step::wait_body && !x_.request.body.awaits_continue())
        return fail(end_reason::body_timeout);
    if (waited_for == step::wait_send)
        return fail(end_reason::upstream_write_timeout);
    return fail(end_reason::first_byte_timeout);
}

RELAIS_DECL std::string upstream_call::early() const {
    return std::string(x_.response.storage().data() + head_size_, used_ - head_size_);
}

namespace detail {

/// The rest of a response, with the connection that it comes from.
class leased_body final : public framed_body {
public:
    leased_body(std::shared_ptr<stream> connection, connection_keeper& keeper, connection_past past,
                bool keep)
        : connection_(std::move(connection)), keeper_(keeper), past_(past), keep_(keep) {}

    ~leased_body() override {
        if (connection_ && connection_.use_count() > 1)
            connection_->close(); // ends the upload that shares it
    }

    void finished() override {
        // Only a connection that nobody shares and that has nothing left over is good for another request.
        if (keep_ && complete() && excess().empty() && connection_.use_count() == 1)
            if (auto* back = std::get_deleter<give_back>(connection_))
                *back = {&keeper_, past_};
        connection_.reset();
    }

    /// Deletes the connection, or gives it back.
    struct give_back {
        connection_keeper* keeper = nullptr;
        connection_past past{};
        void operator()(stream* s) const {
            std::unique_ptr<stream> owned(s);
            if (keeper)
                keeper->give(std::move(owned), past);
        }
    };

private:
    std::shared_ptr<stream> connection_;
    connection_keeper& keeper_;
    connection_past past_;
    bool keep_;
};

/// One that has to be through by a certain time.
class timed_body final : public body {
public:
    timed_body(std::unique_ptr<body> inner, total_limit limit)
        : inner_(std::move(inner)), limit_(limit) {}

    io_result try_read(std::span<std::byte> to) override {
        return limit_.is_over() ? io_result{0, io_state::error} : inner_->try_read(to);
    }
    stream* waits_on() noexcept override { return inner_->waits_on(); }
    std::chrono::milliseconds wait_limit() const noexcept override {
        return limit_.cut(inner_->wait_limit());
    }
    std::optional<std::uint64_t> remaining() const noexcept override { return inner_->remaining(); }
    end_reason failure() const noexcept override { return limit_.or_else(inner_->failure()); }
    end_reason silence() const noexcept override { return limit_.or_else(inner_->silence()); }
    void finished() override { inner_->finished(); }

private:
    std::unique_ptr<body> inner_;
    total_limit limit_;
};

/// Sends the rest of a request's body while the response is on its way already.
class late_upload final : public upload {
public:
    late_upload(exchange& x, std::shared_ptr<stream> connection, body_sender sender,
                call_limits limits)
        : x_(x), connection_(std::move(connection)), sender_(std::move(sender)), limits_(limits) {}

    void stop() override {
        stopped_ = true;
        if (!connection_) // it has ended already
            return;
        connection_->ready().writer.cancel();
        if (auto* source = x_.request.body.waits_on()) // a body that was wrapped may have its own
            source->ready().reader.cancel();
    }

    awaitable<> run() {
        while (!stopped_) {
            auto next = sender_.advance();
            wait_result why = wait_result::ready;
            if (next == body_sender::step::wait_body)
                why = co_await x_.request.body.waits_on()->readable(x_.request.body.wait_limit());
            else if (next == body_sender::step::wait_send)
                why = co_await connection_->writable(limits_.write);
            else if (next == body_sender::step::turn)
                co_await boost::asio::post(worker::current().context(), boost::asio::deferred);
            else
                break;
            if (why != wait_result::ready)
                break;
        }
        connection_.reset();
    }

private:
    exchange& x_;
    std::shared_ptr<stream> connection_;
    body_sender sender_;
    call_limits limits_;
    bool stopped_ = false;
};

} // namespace detail

RELAIS_DECL void upstream_call::hand_over(connection_keeper& keeper) {
    auto& r = x_.response;
    auto& storage = r.storage();
    r.set_status(status_.status);
    std::string_view came(storage.data() + head_size_, used_ - head_size_);
    bool reusable = keep_alive_ && sender_.done() && !send_broke_;

    if (told_length_)
        r.set_told_length(*told_length_);
    else
        r.tell_no_length();
    erase_hop_by_hop(r.fields());
    r.fields().erase(known_field::content_length);

    if (framing_.kind == framing_kind::none ||
        (framing_.kind == framing_kind::length && came.size() >= framing_.length)) {
        auto content = framing_.kind == framing_kind::none ? std::string_view()
                                                           : came.substr(0, framing_.length);
        bool exact = content.size() == came.size();
        r.body.set_ready(content, nullptr);
        if (reusable && exact)
            keeper.give(std::move(connection_), past_);
        else // a response that is whole though the request is not: nobody wants the rest of the upload
            connection_.reset();
        return;
    }

    std::shared_ptr<stream> shared(connection_.release(), detail::leased_body::give_back{});
    auto& s = *shared;
    bool uploading = !sender_.done() && !send_broke_;
    auto body = std::make_unique<detail::leased_body>(shared, keeper, past_, reusable);
    auto framing = framing_;
    std::string_view ready;
    if (framing.kind == framing_kind::length) { // goes out with the head
        ready = came;
        framing.length -= came.size();
        came = {};
    }
    body->begin(s, framing, came, limits_.read);
    if (!total_.exists())
        r.body.set_ready(ready, std::move(body));
    else
        r.body.set_ready(ready, std::make_unique<detail::timed_body>(std::move(body), total_));
    if (uploading) {
        auto& late = *x_.hold(std::make_unique<detail::late_upload>(x_, std::move(shared),
                                                                    std::move(sender_), limits_));
        x_.set_upload(&late);
        x_.scope().spawn(late.run());
    }
}

} // namespace relais
