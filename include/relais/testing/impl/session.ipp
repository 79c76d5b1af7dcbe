#pragma once

#include <relais/core/report.hpp>
#include <relais/testing/session.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>

#include <span>

namespace relais::testing {

RELAIS_DECL void session::start(memory_options near, memory_options far) {
    worker::scoped_current on(worker_);
    auto ends = memory_stream::make(near, far);
    near_ = ends.first.get();
    far_ = std::move(ends.second);
    auto address = [](char const* ip, std::uint16_t port) {
        return socket_address(boost::asio::ip::make_address(ip), port);
    };
    connection_ = new relais::connection(std::move(ends.first), address("192.0.2.1", 1000),
                                         address("192.0.2.2", 443));
    boost::asio::co_spawn(
        worker_.context(), chain_(*connection_),
        boost::asio::bind_cancellation_slot(
            connection_->cancellation().slot(), [this](std::exception_ptr thrown) {
                if (thrown)
                    report_exception("a connection ended with an exception", thrown);
                ended_ = true;
                connection_->downstream().close();
            }));
    run();
}

RELAIS_DECL session::~session() {
    worker::scoped_current on(worker_);
    far_.reset();
    if (!ended_)
        connection_->close();
    worker_.poll();
}

RELAIS_DECL std::size_t session::send(std::string_view bytes) {
    worker::scoped_current on(worker_);
    std::size_t sent = 0;
    while (sent < bytes.size()) {
        auto wrote = far_->try_write(bytes.substr(sent));
        sent += wrote.count;
        run();
        if (wrote.state != io_state::ok && !far_->ready().writable)
            break;
        if (wrote.state == io_state::error || wrote.state == io_state::end)
            break;
    }
    run();
    return sent;
}

RELAIS_DECL void session::shutdown_send() {
    worker::scoped_current on(worker_);
    far_->shutdown_send();
    run();
}

RELAIS_DECL void session::reset() {
    worker::scoped_current on(worker_);
    far_->abort();
    run();
}

RELAIS_DECL void session::read() {
    std::byte piece[4096];
    while (reading_ && !saw_end_ && !saw_reset_) {
        auto got = far_->try_read(piece);
        if (got.state == io_state::would_block)
            break;
        if (got.state == io_state::ok)
            received_.append(reinterpret_cast<char const*>(piece), got.count);
        else
            (got.state == io_state::end ? saw_end_ : saw_reset_) = true;
    }
}

RELAIS_DECL void session::run() {
    worker::scoped_current on(worker_);
    for (;;) {
        auto before = received_.size();
        auto ran = worker_.poll();
        read();
        if (!ran && received_.size() == before)
            break;
    }
}

RELAIS_DECL void session::advance(std::chrono::milliseconds by) {
    while (by.count() > 0) {
        auto step = by < deadline_wheel::resolution ? by : deadline_wheel::resolution;
        clock_.advance(worker_, step);
        by -= step;
        run();
    }
}

} // namespace relais::testing
