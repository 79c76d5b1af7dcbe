#pragma once

#include <relais/config.hpp>
#include <relais/core/deadline.hpp>
#include <relais/net/stream.hpp>
#include <relais/tls/context.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct bio_st; // OpenSSL's BIO
struct ssl_st; // OpenSSL's SSL

namespace relais {

/// Why a TLS stream failed.
enum class tls_failure : std::uint8_t {
    none,
    plain_http,         ///< the peer sent an HTTP request in the clear
    no_common_protocol, ///< ALPN: the peer offers none of our protocols, or refuses ours
    not_trusted,        ///< the peer's certificate: its chain, its dates or its name
    truncated, ///< the connection ended without the end of TLS: what came may be a part only
    transport, ///< the stream below broke
    protocol,  ///< an alert, a record that does not authenticate, and everything else
};

namespace detail {

struct tls_scratch;

struct free_ssl {
    void operator()(ssl_st* ssl) const noexcept;
};

} // namespace detail

/// TLS over any stream, as a server or as a client, with the readiness of the stream below.
///
/// Several records are read and written at a time. A waiting connection holds no buffer, but for a moment where it was
/// busy: only what the stream below would not take stays, and while that is there nothing more is taken. What reading produces by itself (tickets,
/// answers to key updates, alerts) is sent too; while the peer does not take it, no more is read than up to a bound.
///
/// An end that the peer did not announce in TLS is an error, `tls_failure::truncated`, not an end. The handshake is
/// driven by `try_handshake`, or else by the first read or write. Thread safety: as `stream`.
/// Source: RFC 8446, RFC 5246.
class tls_stream final : public stream {
public:
    /// The server's side.
    tls_stream(std::unique_ptr<stream> below, tls_context const& context);

    /// The client's side.
    /// \param host the name or address that is asked for and verified, unless the context has one of its own.
    tls_stream(std::unique_ptr<stream> below, tls_client_context const& context,
               std::string_view host);

    ~tls_stream() override;

    /// Goes on with the handshake. \return `ok` once it is through; after `would_block` wait with `readable()`.
    io_state try_handshake();

    /// Whether the handshake is through.
    bool is_open() const noexcept { return open_; }

    /// Whether the peer has sent a byte at all.
    bool heard() const noexcept { return first_byte_; }

    io_result try_read(std::span<std::byte> to) override;
    io_result try_write(std::span<boost::asio::const_buffer const> from) override;
    using stream::try_write;
    io_result try_flush() override;

    /// Says the end in TLS, then below. What the stream below would not take yet goes with `try_flush`.
    void shutdown_send() override;

    /// Ends the stream, and says so in TLS where that goes without waiting.
    void close() noexcept override;
    void abort() noexcept override;

    /// Why it failed, and in words for a log.
    tls_failure failure() const noexcept { return failure_; }
    std::string failure_text() const;

    /// The name that the client asked for (SNI), in lower case; empty without.
    std::string server_name() const;

    /// The protocol that ALPN agreed upon; empty without.
    std::string_view protocol() const noexcept;

    /// The version of TLS: `TLSv1.3`.
    std::string_view version() const noexcept;

    /// Whether an earlier session was resumed.
    bool resumed() const noexcept;

    /// How much ciphertext is held because the stream below would not take it, in bytes.
    std::size_t held() const noexcept { return held_.size() - held_begin_; }

    /// The stream that carries this one.
    stream& below() noexcept { return *below_; }

    ssl_st* native() noexcept { return ssl_.get(); }

    /// Plaintext that one write takes at most.
    static constexpr std::size_t write_limit = 256 * 1024;

    /// Ciphertext of reading's own that may wait for the peer behind what was written, in bytes.
    static constexpr std::size_t owed_limit = 1024;

private:
    struct bio;

    // OpenSSL gives its buffers back after each record, and takes them again for the next one. A connection that is busy
    // keeps them until it pauses.
    struct busy_time final : deadline {
        explicit busy_time(tls_stream& of) noexcept : deadline(&busy_time::over), stream(of) {}
        static void over(deadline& node);
        tls_stream& stream;
        std::uint8_t reads = 0; ///< since the last pause
    };
    static constexpr std::chrono::milliseconds busy_pause{100};
    static constexpr std::uint8_t busy_after = 8; ///< reads

    tls_stream(std::unique_ptr<stream> below, ssl_ctx_st* context);
    io_state fail();
    io_state fail(tls_failure why) noexcept;
    bool send_gathered(detail::tls_scratch& scratch);
    io_state flush_held();
    bool clear_to_read(io_state& state);
    std::size_t take_input(char* data, std::size_t size);
    void note_read();
    bool put(std::span<std::byte const> plain);

    std::unique_ptr<stream> below_;
    std::unique_ptr<ssl_st, detail::free_ssl> ssl_;
    detail::tls_scratch* scratch_ = nullptr; // within a call
    busy_time busy_{*this};
    std::vector<std::byte> held_; // ciphertext that the stream below would not take
    std::size_t held_begin_ = 0;
    std::vector<std::byte> input_; // ciphertext that was read and not used up
    std::size_t input_begin_ = 0;
    std::size_t owed_ = 0; // how much of it reading produced
    std::uint32_t write_now_ = write_limit;
    unsigned long error_ = 0; // OpenSSL's
    tls_failure failure_ = tls_failure::none;
    bool client_ : 1 = false;
    bool open_ : 1 = false;
    bool ended_ : 1 = false;        // the peer's close_notify came
    bool said_end_ : 1 = false;     // ours is written
    bool below_ends_ : 1 = false;   // the stream below is shut down once nothing is held
    bool below_at_end_ : 1 = false; // the stream below came to its end
    bool below_broken_ : 1 = false;
    bool first_byte_ : 1 = false;     // seen
    bool held_by_choice_ : 1 = false; // the tickets: they wait for the first answer
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/tls/impl/stream.ipp>
#endif
