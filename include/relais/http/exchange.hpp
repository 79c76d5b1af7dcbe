#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/error.hpp>
#include <relais/core/scope.hpp>
#include <relais/core/stage.hpp>
#include <relais/core/state.hpp>
#include <relais/http/body.hpp>
#include <relais/http/fields.hpp>
#include <relais/http/request.hpp>
#include <relais/http/response.hpp>
#include <relais/http/upstream_facts.hpp>
#include <relais/net/connection.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace relais {

/// Ends an exchange with the answer that belongs to a reason: what `read_all` throws when a body is too large
/// (`body_too_large` of a request, 413; `response_too_large`, 500), and what a stage may throw itself.
class exchange_error : public std::runtime_error {
public:
    explicit exchange_error(end_reason why)
        : std::runtime_error(describe(why).sentence.data()), why_(why) {}
    end_reason reason() const noexcept { return why_; }

private:
    end_reason why_;
};

namespace detail {

class http1_session;

/// A request body that is still being sent while the response is on its way.
class upload {
public:
    /// Ends it soon: nobody wants the rest.
    virtual void stop() = 0;

protected:
    ~upload() = default;
};

/// What an HTTP version does for the exchanges on its connection.
class exchange_carrier {
public:
    /// Sends an interim response, where the client's version has them.
    virtual awaitable<> send_interim(exchange& x, unsigned status, fields const& with) = 0;

protected:
    ~exchange_carrier() = default;
};

} // namespace detail

/// One request and its response, on their way through the stages.
///
/// `next(x)` returns when the head of the response is there. The response is data until the stages have unwound:
/// then it is written. Used on the thread of its worker only.
class exchange {
public:
    using next = basic_next<exchange>;

    exchange();
    exchange(exchange const&) = delete;
    exchange& operator=(exchange const&) = delete;
    ~exchange();

    relais::request request;
    relais::response response;

    /// State of this exchange that belongs to stages: `x.state.emplace<T>(...)`, `x.state.find<T>()`.
    relais::state state;

    /// Which server answers and how long that took.
    upstream_facts upstream;

    /// Answers the request here; the response that was there, if any, is dropped.
    ///
    /// \param status 200 to 999; \param body the content, copied; \param content_type not sent with an empty body.
    void respond(unsigned status, std::string_view body = {},
                 std::string_view content_type = "text/plain; charset=utf-8");

    /// Answers with the status of a reason, and makes it the reason of the exchange.
    void refuse(end_reason why);

    /// Answers with what an exception of a stage means, and reports it where it is a mistake. An `operation_aborted` of a
    /// client that left needs no answer.
    void fail(std::exception_ptr thrown);

    /// Keeps an object until the exchange has ended: the last byte of the response was sent or the tunnel closed.
    template <class T>
    T& hold(T object);

    /// Calls `f(exchange&)` once, after the last byte, with the reason known; the last one registered comes first.
    /// It cannot await, and what it throws is reported.
    template <class F>
    void on_complete(F f);

    /// The client's address as text: the peer's unless a stage that knows better has set it.
    std::string_view client_address() const noexcept { return client_address_; }
    void set_client_address(std::string_view address);

    /// The connection this came on.
    relais::connection& connection() noexcept { return *connection_; }
    relais::connection const& connection() const noexcept { return *connection_; }

    /// Why the exchange ended, once it has; `completed` until something else is known.
    end_reason reason() const noexcept { return reason_; }

    /// Sets the reason; the first that is not `completed` stays.
    void set_reason(end_reason why) noexcept {
        if (reason_ == end_reason::completed)
            reason_ = why;
    }

    /// When the first byte of the request came, by the worker's clock.
    std::chrono::steady_clock::time_point started() const noexcept { return started_; }

    /// Whether the response's head has gone out, so that its status is what the client saw.
    bool head_sent() const noexcept { return head_sent_; }

    /// Bytes of the response body (or the tunnel's, towards the client) that were sent so far.
    std::uint64_t body_bytes_sent() const noexcept { return body_bytes_sent_; }

    /// Sends an interim response (100, 102, 103) at once. Nothing happens for clients that have none (HTTP/1.0). Fields
    /// of framing and of the connection are left out.
    /// \throws std::invalid_argument for any other status.
    awaitable<> send_interim(unsigned status, fields const& with);

    /// The part of the path that a route's prefix matched, for terminals that replace it; `npos` when the route has
    /// no prefix.
    std::size_t matched_prefix() const noexcept { return matched_prefix_; }
    void set_matched_prefix(std::size_t length) noexcept { matched_prefix_ = length; }

    /// Coroutines that belong to the exchange and end before it: an upload that goes on while the response streams.
    relais::scope& scope() noexcept { return scope_; }

    /// For terminals: the server that they make use of, instead of an earlier one. It is let go when the exchange has ended.
    void use(upstream_use server) noexcept {
        used_.end(*this);
        used_ = std::move(server);
    }

    /// For terminals: the upload that runs in the scope.
    void set_upload(detail::upload* running) noexcept { upload_ = running; }

    /// For terminals that wait for something: lives while they answer. An earlier answer of this exchange is dropped.
    class answering {
    public:
        /// \throws stage_misuse when another call of `next` is still at it.
        explicit answering(exchange& x);
        answering(answering const&) = delete;
        answering& operator=(answering const&) = delete;
        ~answering() { x_.answering_ = false; }

    private:
        exchange& x_;
    };

    /// To be called by `next`, with what tells one `next` from another.
    void note_next(void const* chain, void const* entry);

    /// Gives back what only a running request needs, before a tunnel begins.
    void compact();

private:
    friend class detail::http1_session;

    struct held {
        virtual ~held() = default;
        virtual void complete(exchange&) {}
    };

    struct next_call {
        void const* chain;
        void const* entry;
        bool operator==(next_call const&) const = default;
    };

    void begin(relais::connection& c, detail::exchange_carrier& carrier);
    void finish() noexcept;
    void recycle() noexcept;

    void stop_upload() {
        if (upload_)
            std::exchange(upload_, nullptr)->stop();
    }

    relais::connection* connection_ = nullptr;
    detail::upload* upload_ = nullptr;
    detail::exchange_carrier* carrier_ = nullptr;
    upstream_use used_;
    std::vector<std::unique_ptr<held>> held_;
    std::vector<next_call> nexts_called_; // of this exchange, each once
    relais::scope scope_;
    std::string client_address_storage_;
    std::string_view client_address_;
    std::chrono::steady_clock::time_point started_{};
    std::uint64_t body_bytes_sent_ = 0;
    std::size_t matched_prefix_ = std::string_view::npos;
    end_reason reason_ = end_reason::completed;
    bool head_sent_ = false;
    bool responded_ = false;
    bool answering_ = false;
};

inline void next_hook<exchange>::called(exchange& in, void const* chain, void const* entry) {
    in.note_next(chain, entry);
}

template <class T>
T& exchange::hold(T object) {
    struct holder final : held {
        explicit holder(T o) : object(std::move(o)) {}
        T object;
    };
    auto made = std::make_unique<holder>(std::move(object));
    T& kept = made->object;
    held_.push_back(std::move(made));
    return kept;
}

template <class F>
void exchange::on_complete(F f) {
    static_assert(std::is_invocable_v<F&, exchange&>,
                  "on_complete() wants a function that can be called with exchange&");
    struct holder final : held {
        explicit holder(F g) : function(std::move(g)) {}
        void complete(exchange& x) override { function(x); }
        F function;
    };
    held_.push_back(std::make_unique<holder>(std::move(f)));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/exchange.ipp>
#include <relais/http/impl/request.ipp>
#include <relais/http/impl/response.ipp>
#endif
