#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/http/body.hpp>
#include <relais/http/fields.hpp>
#include <relais/http/head_buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace relais {

class connection;
class exchange_error;

namespace detail {
class http1_session;
}

/// What goes on after a 101: it gets the client's stream, and the exchange is over when it returns.
class takeover {
public:
    virtual ~takeover() = default;

    /// \param c the connection whose stream is taken over, \param early bytes of the client that were read already.
    /// A plain function that returns the awaitable of what runs costs no frame.
    virtual awaitable<end_reason> run(connection& c, std::string early) = 0;

    /// Bytes that went to the client; asked for at the end.
    virtual std::uint64_t bytes_sent() const noexcept = 0;
};

/// The content of a response: text, or pulled from an upstream, or both in that order.
class response_body {
public:
    response_body() = default;
    response_body(response_body const&) = delete;
    response_body& operator=(response_body const&) = delete;

    /// Replaces the content.
    void set(std::string text);
    void set(std::unique_ptr<body> from);

    /// Puts a transformation around the body: `make` takes the inner body and returns the outer one.
    template <class Make>
    void wrap(Make&& make) {
        set(std::forward<Make>(make)(take()));
    }

    /// Takes the whole content out.
    std::unique_ptr<body> take();

    /// Reads all of it, and keeps it as the content.
    ///
    /// \param limit bytes. \throws exchange_error with `response_too_large` (500) when there is more, with 502 or 504 when it
    /// breaks off or comes too slowly. What was read is put back in front of the rest: a stage that catches the error may
    /// still send the response as it came.
    awaitable<std::string_view> read_all(std::size_t limit);

    /// Its length in bytes, where that is known.
    std::optional<std::uint64_t> size() const noexcept;

    bool empty() const noexcept { return ready_.empty() && !rest_; }

    /// For terminals: bytes that are there already, which live as long as the exchange, and what follows them.
    void set_ready(std::string_view ready, std::unique_ptr<body> rest);

private:
    friend class detail::http1_session;
    friend class response;

    void recycle() noexcept;

    /// Puts back what was read and what follows it.
    exchange_error give_up(end_reason why, std::string& read, std::unique_ptr<body> rest);

    std::string text_;
    std::string_view ready_;
    std::unique_ptr<body> rest_;
};

/// A response as data; it is written after the stages have unwound.
class response {
public:
    response() = default;
    response(response const&) = delete;
    response& operator=(response const&) = delete;

    /// 0 until somebody has answered.
    unsigned status() const noexcept { return status_; }
    void set_status(unsigned status);

    std::string_view operator[](std::string_view name) const noexcept { return fields_[name]; }
    std::string_view operator[](field name) const noexcept { return fields_[name]; }
    void set(std::string_view name, std::string_view value) { fields_.set(name, value); }
    void add(std::string_view name, std::string_view value) { fields_.add(name, value); }
    std::size_t erase(std::string_view name) { return fields_.erase(name); }

    relais::fields& fields() noexcept { return fields_; }
    relais::fields const& fields() const noexcept { return fields_; }

    response_body body;

    /// Has the connection closed after this response.
    void close_connection() noexcept { close_ = true; }

    /// Makes this a 101 with what follows it.
    void take_over(std::unique_ptr<takeover> then) { takeover_ = std::move(then); }
    bool takes_over() const noexcept { return takeover_ != nullptr; }

    /// The length that an answer to HEAD or a 304 tells, though no content follows.
    void set_told_length(std::uint64_t length) noexcept { told_length_ = length; }

    /// The length of the content is not known, and an answer to HEAD says nothing of it.
    void tell_no_length() noexcept { length_untold_ = true; }

    /// For terminals: where the head that came from an upstream is kept, and what came with it. Views in the fields
    /// and in the body may refer to it.
    head_buffer& storage() noexcept { return storage_; }

    /// Drops everything.
    void reset() noexcept;

private:
    friend class exchange;
    friend class detail::http1_session;

    relais::fields fields_;
    head_buffer storage_;
    std::unique_ptr<takeover> takeover_;
    std::optional<std::uint64_t> told_length_;
    unsigned status_ = 0;
    bool close_ = false;
    bool length_untold_ = false;
};

} // namespace relais

#include <relais/http/exchange.hpp> // the bodies follow the class that both belong to
