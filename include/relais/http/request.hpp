#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/http/body.hpp>
#include <relais/http/fields.hpp>
#include <relais/http/framing.hpp>
#include <relais/http/head_buffer.hpp>
#include <relais/http/parser.hpp>
#include <relais/http/path.hpp>

#include <cstddef>
#include <cstdint>
#include <forward_list>
#include <memory>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>

namespace relais {

class exchange;

namespace detail {
class http1_session;
}

/// How fast a request body has to come.
struct body_pace {
    std::chrono::milliseconds pause{std::chrono::seconds(60)}; ///< longest pause between two pieces
    std::size_t min_rate = 0; ///< bytes a second of time spent waiting; 0: any
    std::chrono::milliseconds min_rate_after{
        std::chrono::seconds(10)}; ///< once it was waited for so long
};

/// The content of a request: streamed to the upstream by the terminal, or read by a stage.
class request_body {
public:
    request_body() = default;
    request_body(request_body const&) = delete;
    request_body& operator=(request_body const&) = delete;

    /// Whether the request has none.
    bool empty() const noexcept { return !has_body_; }

    /// Its length in bytes, where the request says it and nobody has wrapped it.
    std::optional<std::uint64_t> size() const noexcept;

    /// Reads all of it, and keeps it, so that the terminal still sends it on.
    ///
    /// \param limit bytes. \throws exchange_error with `body_too_large` (413) when there is more, with 400 or 408 when it is
    /// malformed or too slow. A body that is too large stays as it came: a stage that catches the error may still hand the
    /// request on. A waiting `Expect: 100-continue` is answered first. The view lasts as long as the exchange.
    awaitable<std::string_view> read_all(std::size_t limit);

    /// Keeps what is read from here on, so that `next` may be called again: another try finds the body as it is now,
    /// without what inner stages did to it in the try before. A body of more than `limit` bytes is not kept. To be
    /// called before the body is read.
    void keep(std::size_t limit);

    /// Puts a transformation around the body: `make` takes the inner body and returns the outer one. A request without
    /// a body has nothing to transform, and stays as it is.
    template <class Make>
    void wrap(Make&& make) {
        if (has_body_)
            outer_ = std::forward<Make>(make)(take());
    }

    /// Replaces the content. What `read_all` returned before stays valid.
    void set(std::string text);

    /// For terminals: begins to send the body. \return false when it is gone: taken and not kept.
    bool rewind();

    /// For terminals: as `body::try_read`, with what was kept before.
    io_result try_read(std::span<std::byte> to);

    /// For terminals: the bytes that are there without reading, to go out with the head. What is taken is counted as
    /// read. Empty when the body is wrapped or framed in chunks.
    std::string_view take_ready();

    /// For terminals: as of `body`.
    stream* waits_on() noexcept;
    std::optional<std::uint64_t> remaining() const noexcept;
    end_reason failure() const noexcept;
    std::chrono::milliseconds wait_limit() const noexcept;
    body::source raw() noexcept;

    /// For terminals: notes that they waited for the client. \return false when it is too slow.
    bool note_wait(std::chrono::milliseconds waited) noexcept;

    /// Whether the terminal has read it to its end.
    bool complete() const noexcept;

    /// Whether the client waits for 100 before it sends anything.
    bool awaits_continue() const noexcept { return awaits_continue_; }
    void continue_sent() noexcept { awaits_continue_ = false; }

    /// The trailers of a chunked body that was read to its end; null without.
    fields const* trailers() const noexcept { return framed_.trailers(); }

private:
    friend class request;
    friend class detail::http1_session;
    friend class exchange;
    class base;
    class recorder;

    std::unique_ptr<body> take();
    io_result read_base(std::span<std::byte> to);
    std::optional<std::uint64_t> base_remaining() const noexcept;
    void replay(std::string_view whole) noexcept;
    void begin_another_try() noexcept;
    void begin(exchange& x, stream& from, body_framing framing, std::string_view came, bool expects,
               body_pace pace);
    void recycle() noexcept;

    // What the terminal sends is read from outer_, where there is one; that reads from the base: a text in memory, or
    // what the client sends.
    framed_body framed_;
    std::unique_ptr<body> outer_;
    std::optional<std::string_view> text_; ///< the base, where it is in memory
    std::optional<std::string_view> kept_; ///< what another try begins with
    std::forward_list<std::string> texts_; ///< owns what was read, kept and set
    body const* recorder_ = nullptr;
    std::size_t replayed_ = 0;
    exchange* exchange_ = nullptr;
    body_pace pace_;
    std::chrono::milliseconds waited_{};
    std::uint64_t received_ = 0;
    std::string_view ready_; ///< the whole body, where it came with the head
    bool has_body_ = false;
    bool started_ = false;
    bool outer_ended_ = false;
    bool awaits_continue_ = false;
};

/// A request as the stages see it. Its hop-by-hop fields are gone; all views last as long as the exchange.
class request {
public:
    request() = default;
    request(request const&) = delete;
    request& operator=(request const&) = delete;

    /// The first value of a field; empty when there is none.
    std::string_view operator[](std::string_view name) const noexcept { return fields_[name]; }
    std::string_view operator[](field name) const noexcept { return fields_[name]; }
    std::string_view operator[](known_field id) const noexcept { return fields_[id]; }

    /// Sets, adds or removes a field on its way to the upstream. \throws std::invalid_argument for CR, LF or NUL in
    /// a value and for names that are no tokens.
    void set(std::string_view name, std::string_view value) { fields_.set(name, value); }
    void add(std::string_view name, std::string_view value) { fields_.add(name, value); }
    std::size_t erase(std::string_view name) { return fields_.erase(name); }

    relais::fields& fields() noexcept { return fields_; }
    relais::fields const& fields() const noexcept { return fields_; }

    verb method() const noexcept { return line_.method; }
    std::string_view method_text() const noexcept { return line_.method_text; }

    /// 10 or 11.
    unsigned version() const noexcept { return line_.version; }

    /// The target as it came.
    std::string_view target() const noexcept { return line_.target; }

    /// The path, percent-decoded once, without dot segments and repeated slashes: what routes match.
    std::string_view path() const noexcept { return path_; }

    /// The path as it is forwarded: percent-encoded, in one form that nobody reads differently.
    std::string_view canonical_path() const noexcept { return canonical_path_; }

    /// What follows the question mark, as it came; empty without one.
    std::string_view query() const noexcept { return query_; }

    /// Whether there is a question mark at all.
    bool has_query() const noexcept { return has_query_; }

    /// Replaces the path that is matched and forwarded. \throws std::invalid_argument when it is none.
    void set_path(std::string_view raw);

    /// The authority the client asked for: host and port as it wrote them, lower case or not.
    std::string_view authority() const noexcept { return authority_; }

    /// The host of it, without the port, in lower case.
    std::string_view host() const noexcept { return host_; }

    /// `http` or `https`, as the client reached us.
    std::string_view scheme() const noexcept { return secure_ ? "https" : "http"; }

    /// Says how the client reached the proxy in front of this one, where that ends TLS.
    void set_secure(bool https) noexcept { secure_ = https; }

    /// The value of a cookie; empty when there is none of that name.
    std::string_view cookie(std::string_view name) const noexcept;

    /// The whole head as it came, with every field that has been taken off since.
    std::string_view received() const noexcept { return received_; }

    /// The path as it came.
    std::string_view raw_path() const noexcept { return raw_path_; }

    /// Max-Forwards of an OPTIONS or TRACE request.
    std::optional<std::uint32_t> max_forwards() const noexcept { return max_forwards_; }

    /// Whether this asks for a WebSocket: Upgrade lists it, and Connection lists Upgrade.
    bool is_websocket() const noexcept { return websocket_; }

    request_body body;

private:
    friend class exchange;
    friend class detail::http1_session;

    void set_host(std::string_view as_sent);
    void rebase(char const* from, std::size_t size, char const* to) noexcept;
    void recycle() noexcept;

    relais::fields fields_;
    request_line line_;
    std::string_view received_;
    std::string_view path_;
    std::string_view canonical_path_;
    std::string_view raw_path_;
    std::string_view query_;
    std::string_view authority_;
    std::string_view host_;
    std::string path_storage_;
    std::string canonical_storage_;
    std::string host_storage_;
    std::optional<std::uint32_t> max_forwards_;
    bool has_query_ = false;
    bool secure_ = false;
    bool websocket_ = false;
};

} // namespace relais

#include <relais/http/exchange.hpp> // the bodies follow the class that both belong to
