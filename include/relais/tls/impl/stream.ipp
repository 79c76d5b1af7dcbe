#pragma once

#include <relais/core/worker.hpp>
#include <relais/tls/impl/pem.hpp>
#include <relais/tls/stream.hpp>

#include <boost/asio/ip/address.hpp>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace relais {

namespace detail {

// What a TLS stream needs while it is in a call; nothing in it outlives the call. A thread has one, and one more for
// each layer of TLS over TLS.
struct tls_scratch {
    static constexpr std::size_t record = 16 * 1024;
    static constexpr std::size_t size =
        tls_stream::write_limit + tls_stream::write_limit / record * 64 + 32 * 1024;

    std::size_t gathered = 0; // bytes of `out`
    std::size_t room = 0;     // plaintext that the caller of a read still takes
    std::size_t begin = 0;    // of what is left in `in`
    std::size_t end = 0;
    bool filled = false;                   // the last read below brought all that was asked for
    bool stopped = false;                  // reading was broken off although there may be more
    std::byte in[tls_stream::write_limit]; // records on their way up, where there are many
    std::byte out[size];                   // records on their way down
    std::byte joined[record];              // small pieces that make one record

    void begin_call() noexcept {
        gathered = room = begin = end = 0;
        filled = stopped = false;
    }

    std::unique_ptr<tls_scratch> next; // unused ones

    static std::unique_ptr<tls_scratch>& unused() noexcept {
        static thread_local std::unique_ptr<tls_scratch> first;
        return first;
    }
};

class tls_scratch_lease {
public:
    explicit tls_scratch_lease(tls_scratch*& to) : to_(to) {
        auto& unused = tls_scratch::unused();
        if (unused) {
            own_ = std::move(unused);
            unused = std::move(own_->next);
        } else {
            own_.reset(new tls_scratch); // not make_unique, which would clear it
        }
        own_->begin_call();
        to_ = own_.get();
    }
    tls_scratch_lease(tls_scratch_lease const&) = delete;
    tls_scratch_lease& operator=(tls_scratch_lease const&) = delete;
    ~tls_scratch_lease() {
        to_ = nullptr;
        auto& unused = tls_scratch::unused();
        own_->next = std::move(unused);
        unused = std::move(own_);
    }
    tls_scratch& operator*() const noexcept { return *own_; }

private:
    tls_scratch*& to_;
    std::unique_ptr<tls_scratch> own_;
};

RELAIS_DECL void free_ssl::operator()(ssl_st* ssl) const noexcept {
    SSL_free(ssl);
}

} // namespace detail

// The stream below, as OpenSSL sees it. Writing always succeeds: it gathers, and what the stream below does not take
// is held, so that OpenSSL never has to repeat a write.
struct tls_stream::bio {
    static int read(BIO* b, char* data, std::size_t size, std::size_t* count) {
        auto& self = *static_cast<tls_stream*>(BIO_get_data(b));
        BIO_clear_retry_flags(b);
        auto& scratch = *self.scratch_;
        if (self.open_ && scratch.gathered > owed_limit) { // what is read now produces too much
            scratch.stopped = true;
            BIO_set_retry_read(b);
            return 0;
        }
        *count = self.take_input(data, size);
        if (*count != 0)
            return 1;
        io_result const got = self.below_->try_read({reinterpret_cast<std::byte*>(data), size});
        if (got.state == io_state::ok) {
            if (!self.first_byte_) {
                self.first_byte_ = true;
                // A TLS record of a handshake begins with 22, a request with a method.
                if (!self.client_ && data[0] >= 'A' && data[0] <= 'Z') {
                    self.failure_ = tls_failure::plain_http;
                    return 0;
                }
            }
            scratch.filled = got.count == size;
            *count = got.count;
            return 1;
        }
        if (got.state == io_state::would_block)
            BIO_set_retry_read(b);
        else if (got.state == io_state::end)
            self.below_at_end_ = true;
        else
            self.below_broken_ = true;
        return 0;
    }

    static int write(BIO* b, char const* data, std::size_t size, std::size_t* count) {
        auto& self = *static_cast<tls_stream*>(BIO_get_data(b));
        auto& scratch = *self.scratch_;
        BIO_clear_retry_flags(b);
        if (scratch.gathered + size > sizeof scratch.out) {
            if (!self.send_gathered(scratch))
                return 0;
            if (size > sizeof scratch.out)
                return 0;
        }
        std::memcpy(scratch.out + scratch.gathered, data, size);
        scratch.gathered += size;
        *count = size;
        return 1;
    }

    static long control(BIO* b, int command, long, void*) {
        auto const& self = *static_cast<tls_stream const*>(BIO_get_data(b));
        switch (command) {
        case BIO_CTRL_FLUSH: return 1;
        case BIO_CTRL_EOF: return self.below_at_end_ ? 1 : 0;
        default: return 0;
        }
    }

    static BIO_METHOD* method() {
        static BIO_METHOD* const made = [] {
            BIO_METHOD* const m =
                BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "relais::stream");
            if (m) {
                BIO_meth_set_read_ex(m, &bio::read);
                BIO_meth_set_write_ex(m, &bio::write);
                BIO_meth_set_ctrl(m, &bio::control);
            }
            return m;
        }();
        return made;
    }
};

RELAIS_DECL tls_stream::tls_stream(std::unique_ptr<stream> below, ssl_ctx_st* context)
    : stream(&below->ready()), below_(std::move(below)), ssl_(SSL_new(context)) {
    BIO* const b = ssl_ && bio::method() ? BIO_new(bio::method()) : nullptr;
    if (!b)
        throw std::bad_alloc();
    BIO_set_data(b, this);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl_.get(), b, b);
}

RELAIS_DECL tls_stream::tls_stream(std::unique_ptr<stream> below, tls_context const& context)
    : tls_stream(std::move(below), context.native()) {
    SSL_set_accept_state(ssl_.get());
}

RELAIS_DECL tls_stream::tls_stream(std::unique_ptr<stream> below, tls_client_context const& context,
                                   std::string_view host)
    : tls_stream(std::move(below), context.native()) {
    client_ = true;
    SSL_set_connect_state(ssl_.get());
    std::string name(context.name().empty() ? host : std::string_view(context.name()));
    if (name.starts_with('[') && name.ends_with(']'))
        name = name.substr(1, name.size() - 2);
    if (name.ends_with('.'))
        name.pop_back();
    boost::system::error_code no_address;
    (void)boost::asio::ip::make_address(name, no_address);
    bool ok = true;
    if (no_address)
        ok = SSL_set_tlsext_host_name(ssl_.get(), name.c_str()) ==
             1; // addresses are no server names
    if (context.verifies()) {
        X509_VERIFY_PARAM* const verify = SSL_get0_param(ssl_.get());
        ok = ok && !name.empty() &&
             (no_address ? X509_VERIFY_PARAM_set1_host(verify, name.data(), name.size())
                         : X509_VERIFY_PARAM_set1_ip_asc(verify, name.c_str())) == 1;
    }
    if (!ok)
        throw std::invalid_argument("tls: \"" + name + "\" is no name for a server");
}

RELAIS_DECL tls_stream::~tls_stream() = default;

RELAIS_DECL io_state tls_stream::fail(tls_failure why) noexcept {
    if (failure_ == tls_failure::none)
        failure_ = why;
    gate_->holds_input = false;
    gate_->read_needs_write = false;
    return io_state::error;
}

// Sorts out why OpenSSL did not do what it was asked for. Others may have left errors in the thread's queue, and emptying it
// before each call costs more than all else that is done here. So it is not asked about what is usual: that a read below
// would block is told by the retry flag, which a read that brings something takes down, and a close_notify by its own flag.
RELAIS_DECL io_state tls_stream::fail() {
    if (BIO_should_retry(SSL_get_rbio(ssl_.get())))
        return io_state::would_block;
    error_ = 0;
    while (unsigned long const one = ERR_get_error())
        if (error_ == 0 && ERR_GET_LIB(one) == ERR_LIB_SSL)
            error_ = one;
    if (error_ == 0 && (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0) {
        ended_ = true;
        gate_->holds_input = false;
        return io_state::end;
    }
    auto const reason = ERR_GET_REASON(error_);
    if (below_broken_)
        return fail(tls_failure::transport);
    if (below_at_end_)
        return fail(tls_failure::truncated);
    if (reason == SSL_R_NO_APPLICATION_PROTOCOL ||
        reason == SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL)
        return fail(tls_failure::no_common_protocol);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return fail(tls_failure::not_trusted);
    return fail(tls_failure::protocol);
}

// Hands everything that was gathered to the stream below and holds what it does not take.
RELAIS_DECL bool tls_stream::send_gathered(detail::tls_scratch& scratch) {
    std::span<std::byte const> rest(scratch.out, std::exchange(scratch.gathered, 0));
    if (held() == 0)
        while (!rest.empty() && gate_->writable) {
            io_result const sent = below_->try_write(rest);
            if (sent.state == io_state::would_block)
                break;
            if (sent.state != io_state::ok) {
                fail(tls_failure::transport);
                return false;
            }
            rest = rest.subspan(sent.count);
        }
    held_.insert(held_.end(), rest.begin(), rest.end());
    return true;
}

RELAIS_DECL io_state tls_stream::flush_held() {
    held_by_choice_ = false;
    while (held() != 0) {
        io_result const sent = below_->try_write(std::span(held_).subspan(held_begin_));
        if (sent.state == io_state::would_block)
            return sent.state;
        if (sent.state != io_state::ok)
            return fail(tls_failure::transport);
        held_begin_ += sent.count;
        owed_ = std::min(owed_, held());
    }
    std::vector<std::byte>().swap(held_);
    held_begin_ = owed_ = 0;
    gate_->read_needs_write = false;
    return io_state::ok;
}

// What reading produced goes first. It may wait behind what was written, up to a bound; with nothing else held, nobody
// but the reader would send it.
RELAIS_DECL bool tls_stream::clear_to_read(io_state& state) {
    if (owed_ == 0 || held_by_choice_)
        return true;
    state = flush_held();
    if (state == io_state::ok)
        return true;
    if (state != io_state::would_block)
        return false;
    if (owed_ < held() && owed_ <= owed_limit)
        return true;
    gate_->read_needs_write = true;
    return false;
}

RELAIS_DECL io_state tls_stream::try_handshake() {
    if (open_)
        return io_state::ok;
    if (failure_ != tls_failure::none)
        return io_state::error;
    io_state state = io_state::ok;
    if (!clear_to_read(state))
        return state;

    detail::tls_scratch_lease const lease(scratch_);
    auto& scratch = *lease;
    state = SSL_do_handshake(ssl_.get()) == 1 ? io_state::ok : fail();
    if (state == io_state::end)
        state = fail(tls_failure::protocol); // close_notify in place of a handshake
    std::size_t const produced = scratch.gathered;

    if (state == io_state::ok) {
        open_ = true;
        gate_->holds_input = SSL_has_pending(ssl_.get()) != 0;
        if (!client_ && held() == 0 && SSL_version(ssl_.get()) >= TLS1_3_VERSION) {
            // Tickets, which nobody waits for: the first answer takes them along and saves a system call.
            held_.assign(scratch.out, scratch.out + produced);
            owed_ = produced;
            held_by_choice_ = produced != 0;
            return state;
        }
    }
    if (!send_gathered(scratch))
        return io_state::error;
    if (held() == 0 || state == io_state::error)
        return state;
    owed_ = held();
    if (state == io_state::would_block)
        gate_->read_needs_write = true;
    return state;
}

// OpenSSL's buffer has room for one record. A large amount comes through a buffer of the thread, with fewer calls of
// the system; what is not used up, because reading was broken off, is kept.
RELAIS_DECL std::size_t tls_stream::take_input(char* data, std::size_t size) {
    auto const take = [&](std::byte const* from, std::size_t there) {
        std::size_t const n = std::min(size, there);
        std::memcpy(data, from, n);
        return n;
    };
    if (!input_.empty()) {
        std::size_t const n = take(input_.data() + input_begin_, input_.size() - input_begin_);
        input_begin_ += n;
        if (input_begin_ == input_.size()) {
            std::vector<std::byte>().swap(input_);
            input_begin_ = 0;
        }
        return n;
    }
    auto& scratch = *scratch_;
    if (scratch.begin == scratch.end) {
        // No more than the caller has room for, the part of a record that OpenSSL holds included.
        constexpr std::size_t part = detail::tls_scratch::record + 1024;
        if (!scratch.filled || scratch.room < 3 * part)
            return 0;
        io_result const got = below_->try_read(
            std::span(scratch.in).first(std::min(scratch.room - part, sizeof scratch.in)));
        if (got.state != io_state::ok)
            return 0; // it is the same when it is asked again
        scratch.begin = 0;
        scratch.end = got.count;
    }
    std::size_t const n = take(scratch.in + scratch.begin, scratch.end - scratch.begin);
    scratch.begin += n;
    return n;
}

RELAIS_DECL void tls_stream::busy_time::over(deadline& node) {
    auto& self = static_cast<busy_time&>(node);
    self.reads = 0;
    SSL* const ssl = self.stream.ssl_.get();
    SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    // Not within a record: some versions of OpenSSL free what they still need there. Then it is done at the record's end.
    if (SSL_has_pending(ssl) == 0 && std::string_view(SSL_rstate_string(ssl)) == "RH")
        SSL_free_buffers(ssl);
}

RELAIS_DECL void tls_stream::note_read() {
    if (busy_.reads < busy_after) {
        if (!worker::on_a_worker() || ++busy_.reads != busy_after)
            return;
        SSL_clear_mode(ssl_.get(), SSL_MODE_RELEASE_BUFFERS);
    }
    worker::current().deadlines().arm(busy_, deadline_wheel::ticks_of(busy_pause));
}

RELAIS_DECL io_result tls_stream::try_read(std::span<std::byte> to) {
    if (!open_) {
        io_state const state = try_handshake();
        if (state != io_state::ok)
            return {0, state};
    }
    if (failure_ != tls_failure::none)
        return {0, io_state::error};
    if (ended_)
        return {0, io_state::end};
    if (to.empty())
        return {};
    io_state state = io_state::would_block;
    if (!clear_to_read(state))
        return {0, state};
    if (!gate_->readable && !gate_->holds_input) {
        if (gate_->closed)
            return {0, io_state::error};
        if (held_by_choice_ && flush_held() == io_state::error)
            return {0, io_state::error};
        return {0, io_state::would_block};
    }

    detail::tls_scratch_lease const lease(scratch_);
    auto& scratch = *lease;
    SSL* const ssl = ssl_.get();
    std::size_t got = 0;
    for (;;) {
        std::size_t count = 0;
        scratch.room = to.size() - got;
        if (SSL_read_ex(ssl, to.data() + got, to.size() - got, &count) != 1) {
            state = fail();
            break;
        }
        got += count;
        state = io_state::ok;
        bool const more =
            SSL_has_pending(ssl) != 0 || scratch.begin != scratch.end || !input_.empty();
        if (got == to.size() || (!more && !gate_->readable))
            break;
    }
    if (scratch.begin != scratch.end)
        input_.insert(input_.end(), scratch.in + scratch.begin, scratch.in + scratch.end);
    // A record that is there in part is no reason to come again: only more bytes are.
    bool const usable = state == io_state::ok || scratch.stopped;
    gate_->holds_input = usable && (SSL_has_pending(ssl) != 0 || !input_.empty());

    if (scratch.gathered != 0) {
        if (held_by_choice_)
            flush_held();
        std::size_t const before = held();
        if (!send_gathered(scratch) && got == 0)
            return {0, io_state::error};
        owed_ += held() - before;
    }
    if (got != 0) {
        note_read();
        return {got, io_state::ok};
    }
    if (state == io_state::would_block && held_by_choice_ && flush_held() == io_state::error)
        return {0, io_state::error};
    if (state == io_state::would_block)
        clear_to_read(state);
    return {0, state};
}

RELAIS_DECL bool tls_stream::put(std::span<std::byte const> plain) {
    if (plain.empty())
        return true;
    std::size_t count = 0;
    if (SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &count) == 1)
        return true;
    fail();
    fail(tls_failure::protocol); // it never has to wait, so anything else is the end as well
    return false;
}

RELAIS_DECL io_result tls_stream::try_write(std::span<boost::asio::const_buffer const> from) {
    if (!open_) {
        io_state const state = try_handshake();
        if (state != io_state::ok)
            return {0, state};
    }
    if (failure_ != tls_failure::none || said_end_ || gate_->closed)
        return {0, io_state::error};

    detail::tls_scratch_lease const lease(scratch_);
    auto& scratch = *lease;
    if (held() != 0) {
        if (held_by_choice_ && gate_->writable && held() < sizeof scratch.out / 16) {
            std::memcpy(scratch.out, held_.data() + held_begin_, held());
            scratch.gathered = held();
            std::vector<std::byte>().swap(held_);
            held_begin_ = owed_ = 0;
            held_by_choice_ = false;
        } else if (io_state const state = flush_held(); state != io_state::ok) {
            return {0, state};
        }
    }
    if (!gate_->writable)
        return {0, io_state::would_block};

    // Small pieces, a head and the beginning of its body, make one record together.
    std::size_t room = write_now_;
    std::size_t taken = 0;
    std::size_t joined = 0;
    auto const put_joined = [&] { return put({scratch.joined, std::exchange(joined, 0)}); };
    for (std::size_t i = 0; i < from.size() && room != 0; ++i) {
        std::span<std::byte const> piece(static_cast<std::byte const*>(from[i].data()),
                                         std::min(from[i].size(), room));
        room -= piece.size();
        taken += piece.size();
        bool const last = i + 1 == from.size() || room == 0;
        if (joined != 0 || (!last && piece.size() < sizeof scratch.joined)) {
            std::size_t const n = std::min(piece.size(), sizeof scratch.joined - joined);
            std::memcpy(scratch.joined + joined, piece.data(), n);
            joined += n;
            piece = piece.subspan(n);
            if (joined == sizeof scratch.joined && !put_joined())
                return {0, io_state::error};
        }
        if (joined == 0 && !put(piece))
            return {0, io_state::error};
    }
    if (joined != 0 && !put_joined())
        return {0, io_state::error};

    if (!send_gathered(scratch))
        return {0, io_state::error};
    // One who reads slowly gets little at a time, so that little is held.
    write_now_ = held() != 0 ? detail::tls_scratch::record
                             : std::min<std::uint32_t>(write_now_ * 2,
                                                       static_cast<std::uint32_t>(write_limit));
    return {taken, io_state::ok};
}

RELAIS_DECL io_result tls_stream::try_flush() {
    if (failure_ == tls_failure::transport)
        return {0, io_state::error};
    if (held() != 0) {
        io_state const state = flush_held();
        if (state != io_state::ok)
            return {0, state};
    }
    if (below_ends_) {
        below_ends_ = false;
        below_->shutdown_send();
    }
    return below_->try_flush();
}

RELAIS_DECL void tls_stream::shutdown_send() {
    if (gate_->closed)
        return;
    if (open_ && failure_ == tls_failure::none && !said_end_) {
        said_end_ = true;
        detail::tls_scratch_lease const lease(scratch_);
        auto& scratch = *lease;
        SSL_shutdown(ssl_.get());
        ERR_clear_error();
        if (held_by_choice_ && flush_held() == io_state::error)
            return;
        if (!send_gathered(scratch))
            return;
    }
    below_ends_ = true;
    try_flush();
}

RELAIS_DECL void tls_stream::close() noexcept {
    if (gate_->closed)
        return;
    if (held_by_choice_ && !gate_->hung_up)
        flush_held();
    if (open_ && failure_ == tls_failure::none && !said_end_ && !gate_->hung_up && held() == 0) {
        said_end_ = true;
        detail::tls_scratch_lease const lease(scratch_);
        auto& scratch = *lease;
        SSL_shutdown(ssl_.get());
        ERR_clear_error();
        if (scratch.gathered != 0)
            below_->try_write(std::span<std::byte const>(scratch.out, scratch.gathered));
    }
    below_->close();
}

RELAIS_DECL void tls_stream::abort() noexcept {
    below_->abort();
}

RELAIS_DECL std::string tls_stream::failure_text() const {
    switch (failure_) {
    case tls_failure::none: return "no failure";
    case tls_failure::plain_http: return "plain HTTP came where TLS is spoken";
    case tls_failure::truncated:
        return open_ ? "the peer left without ending TLS" : "the peer left during the handshake";
    case tls_failure::transport: return "the connection broke";
    case tls_failure::not_trusted:
        return std::string("the certificate is not trusted: ") +
               X509_verify_cert_error_string(SSL_get_verify_result(ssl_.get()));
    case tls_failure::no_common_protocol: return "no protocol in common (ALPN)";
    case tls_failure::protocol: break;
    }
    char const* const reason = error_ != 0 ? ERR_reason_error_string(error_) : nullptr;
    return std::string("TLS: ") + (reason ? reason : "the peer does not speak it rightly");
}

RELAIS_DECL std::string tls_stream::server_name() const {
    char const* const name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
    return name ? detail::lower_case(name) : std::string();
}

RELAIS_DECL std::string_view tls_stream::protocol() const noexcept {
    unsigned char const* data = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &data, &size);
    return {reinterpret_cast<char const*>(data), size};
}

RELAIS_DECL std::string_view tls_stream::version() const noexcept {
    return SSL_get_version(ssl_.get());
}

RELAIS_DECL bool tls_stream::resumed() const noexcept {
    return SSL_session_reused(ssl_.get()) == 1;
}

} // namespace relais
