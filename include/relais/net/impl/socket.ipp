#pragma once

#include <relais/core/worker.hpp>
#include <relais/net/socket.hpp>

#include <cerrno>
#include <climits>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace relais {

RELAIS_DECL std::unique_ptr<socket> socket::adopt(int descriptor, bool connected) {
    int error = 0;
    detail::readiness_gate* g = worker::current().watch(descriptor, error);
    if (!g) {
        ::close(descriptor);
        errno = error;
        return nullptr;
    }
    g->writable = connected;
    return std::unique_ptr<socket>(new socket(descriptor, g));
}

RELAIS_DECL std::unique_ptr<socket> socket::start_connect(socket_address const& to,
                                                          socket_address const* from) {
    int descriptor = ::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return nullptr;
    if (!to.is_unix()) {
        int one = 1;
        ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    int failed = 0;
    if (from) {
        int one = 1; // the port is chosen when it is known where to: more connections than ports
        ::setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        failed = ::bind(descriptor, from->data(), from->size());
    }
    if (!failed)
        failed = ::connect(descriptor, to.data(), to.size());
    if (failed && errno != EINPROGRESS) {
        int error = errno;
        ::close(descriptor);
        errno = error;
        return nullptr;
    }
    return adopt(descriptor, !failed);
}

RELAIS_DECL socket::~socket() {
    worker::current().unwatch(descriptor_, gate_);
    ::close(descriptor_);
}

RELAIS_DECL int socket::connect_error() noexcept {
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return errno;
    return error;
}

RELAIS_DECL io_result socket::try_read(std::span<std::byte> to) {
    if (!gate_->readable)
        return {0, gate_->closed ? io_state::error : io_state::would_block};
    for (;;) {
        auto count = ::recv(descriptor_, to.data(), to.size(), 0);
        if (count > 0) {
            // A short read emptied the socket; the next edge tells of more. After a hang-up there is none.
            if (static_cast<std::size_t>(count) < to.size() && !gate_->hung_up)
                gate_->readable = false;
            return {static_cast<std::size_t>(count), io_state::ok};
        }
        if (count == 0)
            return {0, io_state::end};
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            gate_->readable = false;
            return {0, io_state::would_block};
        }
        last_error_ = errno;
        return {0, io_state::error};
    }
}

RELAIS_DECL io_result socket::try_write(std::span<boost::asio::const_buffer const> from) {
    if (!gate_->writable)
        return {0, gate_->closed ? io_state::error : io_state::would_block};
    std::size_t total = 0;
    for (;;) {
        ssize_t count;
        if (from.size() == 1) {
            total = from[0].size();
            count = ::send(descriptor_, from[0].data(), total, MSG_NOSIGNAL);
        } else {
            constexpr std::size_t most = 16;
            iovec parts[most];
            std::size_t used = from.size() < most ? from.size() : most;
            total = 0;
            for (std::size_t i = 0; i < used; ++i) {
                parts[i] = {const_cast<void*>(from[i].data()), from[i].size()};
                total += from[i].size();
            }
            msghdr message{};
            message.msg_iov = parts;
            message.msg_iovlen = used;
            count = ::sendmsg(descriptor_, &message, MSG_NOSIGNAL);
        }
        if (count >= 0) {
            if (static_cast<std::size_t>(count) < total)
                gate_->writable = false;
            return {static_cast<std::size_t>(count), io_state::ok};
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            gate_->writable = false;
            return {0, io_state::would_block};
        }
        last_error_ = errno;
        return {0, io_state::error};
    }
}

RELAIS_DECL void socket::shutdown_send() {
    if (!gate_->closed)
        ::shutdown(descriptor_, SHUT_WR);
}

RELAIS_DECL void socket::close() noexcept {
    if (gate_->closed)
        return;
    // The descriptor stays until the object goes, so that nothing else can get its number meanwhile.
    ::shutdown(descriptor_, SHUT_RDWR);
    gate_->close();
}

RELAIS_DECL void socket::abort() noexcept {
    if (gate_->closed)
        return;
    linger none{1, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    gate_->close();
}

RELAIS_DECL socket_address socket::peer() const {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    if (::getpeername(descriptor_, reinterpret_cast<sockaddr*>(&from), &size) < 0)
        return {};
    return socket_address::from_kernel(reinterpret_cast<sockaddr*>(&from), size);
}

RELAIS_DECL socket_address socket::local() const {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    if (::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&from), &size) < 0)
        return {};
    return socket_address::from_kernel(reinterpret_cast<sockaddr*>(&from), size);
}

RELAIS_DECL void socket::set_keepalive() noexcept {
    int one = 1, idle = 60, interval = 10, count = 6;
    if (::setsockopt(descriptor_, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) < 0)
        return;
    ::setsockopt(descriptor_, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    ::setsockopt(descriptor_, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
#if defined(TCP_KEEPIDLE)
    ::setsockopt(descriptor_, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
#elif defined(TCP_KEEPALIVE)
    ::setsockopt(descriptor_, IPPROTO_TCP, TCP_KEEPALIVE, &idle, sizeof idle);
#endif
}

} // namespace relais
