#pragma once

#include <relais/core/report.hpp>
#include <relais/core/worker.hpp>
#include <relais/net/inherited_sockets.hpp>
#include <relais/net/listener.hpp>
#include <relais/net/socket.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include <cerrno>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#if defined(__linux__)
#include <linux/filter.h>
#endif

namespace relais {

RELAIS_DECL listening_socket::listening_socket(listening_socket&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), address_(other.address_),
      path_(std::exchange(other.path_, 0)), shares_port_(other.shares_port_) {}

RELAIS_DECL listening_socket& listening_socket::operator=(listening_socket&& other) noexcept {
    close();
    descriptor_ = std::exchange(other.descriptor_, -1);
    address_ = other.address_;
    path_ = std::exchange(other.path_, 0);
    shares_port_ = other.shares_port_;
    return *this;
}

RELAIS_DECL void listening_socket::close() noexcept {
    if (path_) {
        std::string const path(address_.path());
        struct stat there {};
        if (::lstat(path.c_str(), &there) == 0 && there.st_ino == path_)
            ::unlink(path.c_str());
    }
    if (descriptor_ >= 0)
        ::close(descriptor_);
    descriptor_ = -1;
    path_ = 0;
}

namespace detail {

inline constexpr int backlog = 4096;

RELAIS_DECL startup_error cannot_listen(endpoint const& where, int error) {
    std::string what = "cannot listen on " + where.to_string() + ": ";
    if (error == EADDRINUSE)
        what += "the address is in use; stop the program that listens there or choose another port";
    else if (error == EACCES && where.is_unix())
        what += "it is not permitted; name a path in a directory that this program may write to";
    else if (error == EACCES)
        what += "it is not permitted; ports below 1024 need root or the capability "
                "CAP_NET_BIND_SERVICE";
    else if (error == ENOENT || error == ENOTDIR)
        what += "its directory does not exist; make it or choose another path";
    else if (error == EADDRNOTAVAIL)
        what += "this machine has no such address; 0.0.0.0 and [::] stand for all it has";
    else
        what += std::generic_category().message(error) + "; check the address";
    return startup_error(what);
}

} // namespace detail

RELAIS_DECL listening_socket listening_socket::bind_one(socket_address const& to,
                                                        endpoint const& where, bool reuse_port) {
    int descriptor = ::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        throw detail::cannot_listen(where, errno);
    listening_socket made(descriptor, to);
    int one = 1;
    if (!to.is_unix()) {
        ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one,
                     sizeof one); // what is accepted inherits it
        if (reuse_port)
            ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        if (to.family() == AF_INET6)
            ::setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    }
    if (::bind(descriptor, to.data(), to.size()) < 0)
        throw detail::cannot_listen(where, errno);
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&bound), &size) == 0)
        made.address_ = socket_address::from_kernel(reinterpret_cast<sockaddr*>(&bound), size);
    bool probe = !to.is_unix() && !reuse_port;
    if (!probe && ::listen(descriptor, detail::backlog) < 0)
        throw detail::cannot_listen(where, errno);
    return made;
}

RELAIS_DECL listening_socket listening_socket::bind_unix(socket_address const& to,
                                                         endpoint const& where,
                                                         listen_beside whom) {
    struct stat there {};
    std::string path(to.path());
    bool beside = false;
    if (::lstat(path.c_str(), &there) == 0) {
        if (!S_ISSOCK(there.st_mode))
            throw startup_error(
                "cannot listen on " + where.to_string() +
                ": there is a file of that name that is no socket; choose another path");
        int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int failed = ::connect(probe, to.data(), to.size()) < 0 ? errno : 0;
        ::close(probe);
        beside = failed != ECONNREFUSED;
        if (beside && whom == listen_beside::nobody)
            throw detail::cannot_listen(where, EADDRINUSE);
        if (!beside)
            ::unlink(path.c_str()); // its server is gone
    }
    // In the place of a live one it comes at once: between the two there is no moment without a socket.
    std::string const first = beside ? path + '~' : path;
    if (beside)
        ::unlink(first.c_str());
    auto made = bind_one(beside ? socket_address::unix_path(first) : to, where, false);
    made.address_ = to;
    if (::lstat(first.c_str(), &there) == 0)
        made.path_ = there.st_ino;
    if (beside && ::rename(first.c_str(), path.c_str()) < 0) {
        int const error = errno;
        ::unlink(first.c_str());
        throw detail::cannot_listen(where, error);
    }
    return made;
}

RELAIS_DECL listening_socket listening_socket::share(int descriptor, socket_address const& address,
                                                     endpoint const& where) {
    int same = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (same < 0)
        throw detail::cannot_listen(where, errno);
    return {same, address};
}

RELAIS_DECL std::vector<listening_socket>
listening_socket::open(endpoint const& where, std::size_t workers, listen_beside whom) {
    std::vector<listening_socket> all;
    // By value: that of the first socket moves when others follow.
    auto share_all = [&](int descriptor, socket_address address) {
        while (all.size() < workers)
            all.push_back(share(descriptor, address, where));
    };
    auto const& inherited = inherited_sockets::current();
    if (where.is_inherited()) {
        auto const& one = inherited.named(where.inherited);
        share_all(one.descriptor, one.address);
        return all;
    }
    auto addresses = resolve(where);
    if (addresses.empty())
        throw startup_error("cannot listen on " + where.to_string() +
                            ": the name has no address; check it or write an address");
    if (auto* one = inherited.find(addresses.front())) {
        share_all(one->descriptor, one->address);
        return all;
    }
    if (where.is_unix()) {
        all.push_back(bind_unix(addresses.front(), where, whom));
        share_all(all.front().descriptor(), all.front().address());
        return all;
    }
    auto first = addresses.front();
    // Once without SO_REUSEPORT: with it, two servers would share the port and nobody would be told.
    if (whom == listen_beside::nobody)
        first = bind_one(first, where, false).address();
    for (std::size_t i = 0; i < workers; ++i) {
        all.push_back(bind_one(first, where, true));
        all.back().shares_port_ = whom == listen_beside::predecessor;
        first = all.back().address(); // the others have the port that was chosen for port 0
    }
    return all;
}

RELAIS_DECL bool listening_socket::turn_away() noexcept {
#if defined(__linux__)
    if (!shares_port_)
        return false;
    // The kernel resets what has not been accepted when the socket is closed. So nothing may begin before: a packet with SYN
    // and without ACK is dropped; what answers a handshake that has begun passes. Offset 13 of a TCP header has its flags.
    sock_filter program[] = {{BPF_LD | BPF_B | BPF_ABS, 0, 0, 13},
                             {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0x12},
                             {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0x02},
                             {BPF_RET | BPF_K, 0, 0, 0},
                             {BPF_RET | BPF_K, 0, 0, 0xffffffff}};
    sock_fprog const all{sizeof program / sizeof *program, program};
    return ::setsockopt(descriptor_, SOL_SOCKET, SO_ATTACH_FILTER, &all, sizeof all) == 0;
#else
    return false;
#endif
}

RELAIS_DECL listener::listener(listening_socket socket, any_chain<connection> chain)
    : socket_(std::move(socket)), chain_(std::move(chain)) {
    int error = 0;
    gate_ = worker::current().watch(socket_.descriptor(), error);
    if (!gate_)
        throw startup_error("cannot watch " + socket_.address().to_string() + ": " +
                            std::generic_category().message(error) +
                            "; raise the limit (ulimit -a) or start fewer workers");
    gate_->readable = true;
}

RELAIS_DECL listener::~listener() {
    if (gate_)
        worker::current().unwatch(socket_.descriptor(), gate_);
}

RELAIS_DECL void listener::stop() {
    if (std::exchange(stopped_, true))
        return;
    for (int i = 0; i < detail::backlog && accept_one() == accepted::connection; ++i)
        ;
    gate_->close();
    // Before the descriptor is closed: its number may be another socket's soon.
    worker::current().unwatch(socket_.descriptor(), std::exchange(gate_, nullptr));
    socket_.close();
}

RELAIS_DECL listener::accepted listener::accept_one() {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    int descriptor = ::accept4(socket_.descriptor(), reinterpret_cast<sockaddr*>(&from), &size,
                               SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0) {
        back_off_ = std::chrono::milliseconds(50);
        serve(descriptor, socket_address::from_kernel(reinterpret_cast<sockaddr*>(&from), size));
        return accepted::connection;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return accepted::nothing;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        return accepted::exhausted;
    return accepted::connection; // that concerned one client that is gone again
}

RELAIS_DECL awaitable<> listener::run() {
    constexpr int burst = 64;
    constexpr std::chrono::milliseconds longest{500};
    free_slot pause;
    while (!stopped_) {
        auto last = accepted::connection;
        for (int count = 0; count < burst && !stopped_ && gate_->readable; ++count) {
            last = accept_one();
            if (last == accepted::exhausted)
                break;
            if (last == accepted::nothing)
                gate_->readable = false;
        }
        if (stopped_)
            break;
        if (last == accepted::exhausted) {
            co_await wait_at(pause, back_off_);
            back_off_ = std::min(back_off_ * 2, longest);
        } else if (gate_->readable) { // others want a turn
            co_await boost::asio::post(worker::current().context(), boost::asio::deferred);
        } else {
            if (gate_->again)
                gate_->again->want_read();
            co_await wait_at(gate_->reader, std::chrono::milliseconds(0));
        }
    }
}

RELAIS_DECL void listener::serve(int descriptor, socket_address const& peer) {
    connection* c = nullptr; // what the handler leaves, the list of connections destroys
    try {
        auto transport = socket::adopt(descriptor, true);
        if (!transport)
            return;
        c = new connection(std::move(transport), peer, socket_.address());
        boost::asio::co_spawn(worker::current().context().get_executor(), chain_(*c),
                              boost::asio::bind_cancellation_slot(
                                  c->cancellation().slot(), [c](std::exception_ptr thrown) {
                                      if (thrown)
                                          report_exception("a connection ended with an exception",
                                                           thrown);
                                      delete c;
                                  }));
    } catch (...) { // a stage that is no coroutine threw: the listener goes on
        report_exception("a connection could not begin", std::current_exception());
        delete c;
    }
}

} // namespace relais
