#pragma once

#include <relais/core/worker.hpp>
#include <relais/net/connection.hpp>

#include <boost/beast/core/string.hpp>

namespace relais {

namespace detail {

RELAIS_DECL std::string client_name(socket_address const& peer) {
    return peer.is_unix() || peer.family() == AF_UNSPEC ? std::string("unix:")
                                                        : peer.ip().to_string();
}

} // namespace detail

RELAIS_DECL bool tls_session::serves(std::string_view host) const noexcept {
    if (!guarded || host.empty())
        return true;
    if (server_name.empty())
        return one_host;
    if (host.ends_with('.'))
        host.remove_suffix(1);
    std::string_view name = server_name;
    if (name.ends_with('.'))
        name.remove_suffix(1);
    return boost::beast::iequals(host, name);
}

RELAIS_DECL connection::connection(std::unique_ptr<stream> transport, socket_address const& peer,
                                   socket_address const& local)
    : downstream_(std::move(transport)), peer_(peer), local_(local),
      client_address_(detail::client_name(peer)), accepted_(worker::current().now()) {
    connection_list::current().add(*this);
}

RELAIS_DECL connection::~connection() {
    list_->remove(*this); // not the current one: the worker may be on its way out
}

RELAIS_DECL void connection::set_addresses(socket_address const& peer,
                                           socket_address const& local) {
    peer_ = compact_address(peer);
    local_ = compact_address(local);
    client_address_ = detail::client_name(peer);
}

RELAIS_DECL void connection::set_drainable(drainable* who) {
    drainable_ = who;
    set_to_be_asked(who && who->is_spread());
    if (who && list_->draining() && !to_be_asked_)
        drain();
}

RELAIS_DECL void connection::set_to_be_asked(bool so) noexcept {
    auto const others = list_->to_be_asked() - to_be_asked_;
    list_->to_be_asked_.store(others + so, std::memory_order_relaxed);
    to_be_asked_ = so;
}

RELAIS_DECL void connection::drain() {
    set_to_be_asked(false);
    if (!drainable_)
        return;
    try {
        drainable_->drain();
    } catch (...) { // no randomness, no memory: then at once
        close();
    }
}

RELAIS_DECL void connection::close() {
    set_reason(end_reason::shutting_down);
    downstream_->close();
    cancellation_.emit(boost::asio::cancellation_type::terminal);
}

RELAIS_DECL connection_list& connection_list::current() {
    static char const key = 0;
    return worker::current().lasting<connection_list>(
        &key, [] { return std::make_shared<connection_list>(); });
}

RELAIS_DECL connection_list::~connection_list() {
    while (first_)
        delete first_;
}

RELAIS_DECL void connection_list::add(connection& c) noexcept {
    c.next_ = first_;
    if (first_)
        first_->previous_ = &c;
    first_ = &c;
    c.list_ = this;
    size_.store(size() + 1, std::memory_order_relaxed);
}

RELAIS_DECL void connection_list::remove(connection& c) noexcept {
    c.set_to_be_asked(false);
    (c.previous_ ? c.previous_->next_ : first_) = c.next_;
    if (c.next_)
        c.next_->previous_ = c.previous_;
    size_.store(size() - 1, std::memory_order_relaxed);
}

RELAIS_DECL void connection_list::drain() {
    draining_ = true;
    for (auto* c = first_; c;) {
        auto* after = c->next_;
        if (!c->to_be_asked_)
            c->drain();
        c = after;
    }
}

RELAIS_DECL void connection_list::drain_next(std::size_t count) {
    for (auto* c = first_; c && count;) {
        auto* after = c->next_;
        if (c->to_be_asked_) {
            c->drain();
            --count;
        }
        c = after;
    }
}

RELAIS_DECL void connection_list::close() {
    for (auto* c = first_; c;) {
        auto* after = c->next_;
        c->close();
        c = after;
    }
}

} // namespace relais
