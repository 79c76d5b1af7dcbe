#pragma once

#include <relais/net/endpoint.hpp>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/time.h>
#include <thread>
#include <unistd.h>

namespace relais::testing {

// Whether a condition comes true before long; the time only bounds a test that fails.
template <class Condition>
bool eventually(Condition holds) {
    auto const end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

// A client with a socket of its own, for tests of what listens. It waits for what it asks for, but not for ever.
class loopback_client {
public:
    explicit loopback_client(socket_address const& to)
        : descriptor_(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        timeval const patience{20, 0};
        ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        connected_ = ::connect(descriptor_, to.data(), to.size()) == 0;
    }
    explicit loopback_client(std::string_view where)
        : loopback_client(resolve(endpoint::parse(where)).front()) {}
    loopback_client(loopback_client const&) = delete;
    loopback_client& operator=(loopback_client const&) = delete;
    ~loopback_client() { close(); }

    bool connected() const noexcept { return connected_; }

    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            auto const sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0)
                return;
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
    }

    // Exactly so many bytes, or fewer and then the end.
    std::string receive(std::size_t count) {
        while (came_.size() < count && read())
            ;
        auto const taken = came_.substr(0, count);
        came_.erase(0, taken.size());
        return taken;
    }

    // Everything up to and with a mark, or up to the end.
    std::string receive_until(std::string_view mark) {
        for (;;) {
            if (auto const at = came_.find(mark); at != came_.npos)
                return receive(at + mark.size());
            if (!read())
                return receive(came_.size());
        }
    }

    // A response with a Content-Length, head and all.
    std::string response() {
        auto whole = receive_until("\r\n\r\n");
        constexpr std::string_view name = "\r\nContent-Length: ";
        if (auto const at = whole.find(name); at != whole.npos)
            whole += receive(std::strtoul(whole.c_str() + at + name.size(), nullptr, 10));
        return whole;
    }

    // What is left until the other side ends: "(reset)" behind it where that is not a clean end, "(nothing)" where it does not end.
    std::string rest() {
        while (read())
            ;
        return receive(came_.size()) + (error_ == 0            ? ""
                                        : error_ == ECONNRESET ? "(reset)"
                                                               : "(nothing)");
    }

    void shutdown_send() { ::shutdown(descriptor_, SHUT_WR); }
    void close() {
        if (descriptor_ >= 0)
            ::close(descriptor_);
        descriptor_ = -1;
    }
    void reset() {
        linger const none{1, 0};
        ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        close();
    }

private:
    bool read() {
        char piece[16 * 1024];
        auto const count = ::recv(descriptor_, piece, sizeof piece, 0);
        error_ = count < 0 ? errno : 0;
        if (count > 0)
            came_.append(piece, static_cast<std::size_t>(count));
        return count > 0;
    }

    int descriptor_;
    bool connected_ = false;
    int error_ = 0;
    std::string came_;
};

} // namespace relais::testing
