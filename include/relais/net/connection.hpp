#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/error.hpp>
#include <relais/core/stage.hpp>
#include <relais/core/state.hpp>
#include <relais/net/endpoint.hpp>
#include <relais/net/stream.hpp>

#include <boost/asio/cancellation_signal.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace relais {

class connection;
class connection_list;

/// A certificate that a client has shown, and whose chain was verified.
struct client_certificate {
    std::string subject;     ///< as of RFC 4514: `CN=alice,O=Example`
    std::string issuer;      ///< the same
    std::string serial;      ///< hexadecimal
    std::string fingerprint; ///< SHA-256 of the certificate, hexadecimal
    std::vector<std::string>
        names; ///< alternative names: `DNS:a.example`, `email:a@b`, `URI:spiffe://a/b`
    std::chrono::system_clock::time_point not_before;
    std::chrono::system_clock::time_point not_after;
    std::string der; ///< the certificate itself
    std::vector<std::string>
        chain; ///< DER of those that the client sent behind it; none where a session was resumed
};

/// What stages see of the TLS session of a connection.
struct tls_session {
    std::string server_name; ///< SNI, in lower case; empty when the client sent none
    std::string protocol;    ///< ALPN: `http/1.1`, `http/1.0` or empty
    std::string version;     ///< as OpenSSL names it: `TLSv1.3`
    std::shared_ptr<client_certificate const> client; ///< null: none was asked for, or shown

    bool guarded = false; ///< some host of the listener asks for client certificates
    bool one_host = true; ///< the listener has one certificate, and so one rule for all hosts

    /// Whether requests for this host may come: where client certificates are in play, only those for the host that the
    /// session was made for. Source: RFC 9110, section 7.4.
    bool serves(std::string_view host) const noexcept;
};

/// How a connection is asked to end soon: by the one that runs it at the moment.
class drainable {
public:
    /// Called on the worker, once. What is idle ends now, what is busy after its current piece of work; the connection
    /// is still there when the call returns.
    virtual void drain() = 0;

    /// Whether it is asked within the time of `drain_spread` and not at once: what would last, and whose client comes
    /// back as soon as it is sent away.
    virtual bool is_spread() const noexcept { return false; }

protected:
    ~drainable() = default;
};

/// One client's connection, from accept to its end, on one worker.
class connection {
public:
    using next = basic_next<connection>;

    connection(std::unique_ptr<stream> transport, socket_address const& peer,
               socket_address const& local);
    connection(connection const&) = delete;
    connection& operator=(connection const&) = delete;
    ~connection();

    /// The stream that stages read and write: the outermost layer.
    stream& downstream() noexcept { return *downstream_; }

    /// Puts a layer over the stream: `make` takes the present stream and returns the one in its place.
    template <class Make>
    void put_over(Make&& make) {
        downstream_ = std::forward<Make>(make)(std::move(downstream_));
    }

    /// The address of the client as the listener saw it, `unix:` for a Unix socket.
    std::string_view client_address() const noexcept { return client_address_; }
    socket_address peer() const { return peer_.address(); }

    /// Puts the addresses that a proxy in front tells into the place of the connection's own.
    void set_addresses(socket_address const& peer, socket_address const& local);

    /// Where it was accepted.
    socket_address local() const { return local_.address(); }
    std::uint16_t local_port() const noexcept { return local_.port; }

    /// The TLS session; null when the connection is plain.
    tls_session const* tls() const noexcept { return tls_.get(); }
    void set_tls(std::unique_ptr<tls_session> session) noexcept { tls_ = std::move(session); }

    /// When it was accepted, by the worker's clock.
    std::chrono::steady_clock::time_point accepted() const noexcept { return accepted_; }

    /// State of this connection that belongs to stages.
    relais::state state;

    /// Why the connection ended; the first reason that is set stays.
    end_reason reason() const noexcept { return reason_; }
    void set_reason(end_reason why) noexcept {
        if (reason_ == end_reason::completed)
            reason_ = why;
    }

    /// Emitting it ends what stages await, once the client has left.
    boost::asio::cancellation_signal& cancellation() noexcept { return cancellation_; }

    /// Who ends this connection when the server drains; null: it goes on, for its next stage knows how, or until the
    /// drain's time is over. Asks `who` at once where the others were asked already.
    void set_drainable(drainable* who);

    /// Asks it to end soon.
    void drain();

    /// Ends it now.
    void close();

private:
    friend class connection_list;

    void set_to_be_asked(bool so) noexcept;

    /// An address without the room that Unix paths need: an idle connection is small.
    struct compact_address {
        explicit compact_address(socket_address const& from)
            : ip(from.ip()), port(from.port()), is_ip(!from.is_unix() && from.size()) {}
        socket_address address() const {
            return is_ip ? socket_address(ip, port) : socket_address();
        }
        boost::asio::ip::address ip;
        std::uint16_t port;
        bool is_ip;
    };

    std::unique_ptr<stream> downstream_;
    compact_address peer_;
    compact_address local_;
    std::string client_address_;
    std::unique_ptr<tls_session> tls_;
    std::chrono::steady_clock::time_point accepted_;
    boost::asio::cancellation_signal cancellation_;
    drainable* drainable_ = nullptr;
    bool to_be_asked_ = false; ///< by `connection_list::drain_next`
    end_reason reason_ = end_reason::completed;
    connection_list* list_ = nullptr;
    connection* previous_ = nullptr;
    connection* next_ = nullptr;
};

/// The live connections of a worker.
class connection_list {
public:
    connection_list() = default;
    connection_list(connection_list const&) = delete;
    connection_list& operator=(connection_list const&) = delete;

    /// Destroys what the worker's end has left: the coroutines that used it are gone by then.
    ~connection_list();

    static connection_list& current();

    /// How many; may be asked from any thread.
    std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

    /// Asks all to end soon, those too that come later; all but those whose end is spread.
    void drain();

    bool draining() const noexcept { return draining_; }

    /// How many are still to be asked because their end is spread; may be asked from any thread.
    std::size_t to_be_asked() const noexcept {
        return to_be_asked_.load(std::memory_order_relaxed);
    }

    /// Asks so many of these.
    void drain_next(std::size_t count);

    /// Ends all now.
    void close();

    void add(connection& c) noexcept;
    void remove(connection& c) noexcept;

private:
    friend class connection;

    connection* first_ = nullptr;
    bool draining_ = false;
    std::atomic<std::size_t> size_{0};
    std::atomic<std::size_t> to_be_asked_{0};
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/connection.ipp>
#endif
