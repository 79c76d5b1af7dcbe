#pragma once

#include <relais/net/endpoint.hpp>
#include <relais/testing/scripted_server.hpp>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace relais::testing {

RELAIS_DECL scripted_server::scripted_server(transport over) : over_(over) {
    static std::atomic<unsigned> count{0};
    socket_address at(boost::asio::ip::address_v4::loopback(), 0);
    if (over == transport::local) {
        auto const* folder = std::getenv("TMPDIR");
        path_ = std::string(folder && *folder ? folder : "/tmp") + "/relais-scripted-" +
                std::to_string(::getpid()) + '-' + std::to_string(count++);
        ::unlink(path_.c_str()); // of a process that had the same number
        at = socket_address::unix_path(path_);
    }
    descriptor_ = ::socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    if (descriptor_ < 0 || ::bind(descriptor_, at.data(), at.size()) != 0 ||
        ::listen(descriptor_, 128) != 0 ||
        ::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
        std::error_code const error(errno, std::system_category());
        stop_listening();
        throw std::system_error(error, "a scripted server cannot listen");
    }
    where_ = socket_address::from_kernel(reinterpret_cast<sockaddr*>(&bound), size).to_string();
}

RELAIS_DECL scripted_server::~scripted_server() {
    stop_listening();
}

RELAIS_DECL void scripted_server::stop_listening() noexcept {
    if (descriptor_ >= 0)
        ::close(descriptor_);
    descriptor_ = -1;
    if (!path_.empty())
        ::unlink(path_.c_str());
}

RELAIS_DECL std::string scripted_server::url() const {
    return over_ == transport::tcp ? "http://" + where_ : where_;
}

RELAIS_DECL std::unique_ptr<scripted_server::peer> scripted_server::accept() {
    int taken = ::accept4(descriptor_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return std::unique_ptr<peer>(taken < 0 ? nullptr : new peer(taken));
}

RELAIS_DECL scripted_server::peer::~peer() {
    close();
}

RELAIS_DECL void scripted_server::peer::read() {
    char piece[16 * 1024];
    while (descriptor_ >= 0 && !saw_end_ && !saw_reset_) {
        auto count = ::recv(descriptor_, piece, sizeof piece, 0);
        if (count > 0)
            received_.append(piece, static_cast<std::size_t>(count));
        else if (count == 0)
            saw_end_ = true;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        else if (errno != EINTR)
            saw_reset_ = true;
    }
}

RELAIS_DECL std::string const& scripted_server::peer::received() {
    read();
    return received_;
}

RELAIS_DECL std::string scripted_server::peer::take() {
    read();
    return std::exchange(received_, {});
}

RELAIS_DECL std::size_t scripted_server::peer::send(std::string_view bytes) {
    std::size_t sent = 0;
    while (descriptor_ >= 0 && sent < bytes.size()) {
        auto count = ::send(descriptor_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (count > 0)
            sent += static_cast<std::size_t>(count);
        else if (errno != EINTR)
            break;
    }
    return sent;
}

RELAIS_DECL void scripted_server::peer::shutdown_send() noexcept {
    ::shutdown(descriptor_, SHUT_WR);
}

RELAIS_DECL void scripted_server::peer::close() noexcept {
    if (descriptor_ >= 0)
        ::close(descriptor_);
    descriptor_ = -1;
}

RELAIS_DECL void scripted_server::peer::reset() noexcept {
    linger none{1, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close();
}

RELAIS_DECL bool scripted_server::peer::saw_end() {
    read();
    return saw_end_;
}

RELAIS_DECL bool scripted_server::peer::saw_reset() {
    read();
    return saw_reset_;
}

} // namespace relais::testing
