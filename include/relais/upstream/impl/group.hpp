#pragma once

#include <relais/config.hpp>
#include <relais/core/background.hpp>
#include <relais/core/error.hpp>
#include <relais/core/replaceable.hpp>
#include <relais/upstream/impl/waiting_line.hpp>
#include <relais/upstream/server_list.hpp>
#include <relais/upstream/upstream_options.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace relais::detail {

/// A server in use: counted at it from its choice to the end of the exchange, with a verdict on its health on the way.
class server_hold {
public:
    server_hold() = default;
    /// \param in what `server_health::enter` said; not admitted: its health does not count.
    server_hold(std::shared_ptr<upstream_server> server, admission in) noexcept
        : server_(std::move(server)), in_(in) {}
    server_hold(server_hold&&) = default;
    server_hold& operator=(server_hold&& other) noexcept {
        let_go();
        server_ = std::move(other.server_);
        in_ = std::exchange(other.in_, {});
        return *this;
    }
    ~server_hold() { let_go(); }

    explicit operator bool() const noexcept { return server_ != nullptr; }
    upstream_server& operator*() const noexcept { return *server_; }
    upstream_server* operator->() const noexcept { return server_.get(); }
    std::shared_ptr<upstream_server> const& server() const noexcept { return server_; }

    bool on_trial() const noexcept { return in_.on_trial(); }

    /// What the try says about its health, where it is over, or where its end may be far: a tunnel, a server on trial.
    void judge(end_reason why, unsigned status) noexcept;

    /// Makes the exchange the one that holds it, to its end, when the rest is judged. \param status of the answer.
    void hand_to(exchange& x, unsigned status);

private:
    void let_go() noexcept;
    static void end(std::shared_ptr<void> const& server, std::uint64_t note, exchange& x) noexcept;

    std::shared_ptr<upstream_server> server_;
    admission in_; ///< a verdict is owed
};

/// Servers in use, or why there is none.
struct server_choice {
    server_hold hold;
    end_reason why = end_reason::completed;
};

/// What the copies of an `upstream` share.
class upstream_group : public std::enable_shared_from_this<upstream_group> {
public:
    struct member {
        std::shared_ptr<upstream_server> server;
        server_settings settings;
    };
    using member_list = std::vector<member>;

    /// \param of_url the one server may have a path, which is the terminal's business.
    upstream_group(server_list servers, upstream_options options, bool of_url = false);

    /// Finds out what can be found out at the start. \throws startup_error
    void prepare();

    void replace(server_list const& servers);
    std::shared_ptr<member_list const> members() const { return members_.load(); }
    static std::vector<std::shared_ptr<upstream_server>> servers_of(member_list const& members);
    upstream_options const& options() const noexcept { return options_; }

    /// The next server for an exchange, on a worker. \param tried those that are out of the question.
    server_choice choose(exchange& x, std::span<upstream_server const* const> tried);

    /// As `choose`, once that said `overloaded`: waits for a server that may take one more. Cancellation: every type, `client_left`.
    awaitable<server_choice> wait_in_line(exchange& x,
                                          std::span<upstream_server const* const> tried);

    /// One that a user's function named, or that a connection is bound to.
    server_choice take(std::shared_ptr<upstream_server> server);

    /// Whether there are more servers than these.
    bool has_other_than(std::size_t tried) const { return members_.load()->size() > tried; }

    /// The head of the answer is there: for balancers that leave a mark in it.
    void answered(exchange& x, upstream_server const& by);

    /// Whether it is the server of a URL.
    bool is_one() const noexcept { return of_url_; }

    retry_budget& budget() noexcept { return budget_; }
    circuit_breaker& breaker() noexcept { return breaker_; }
    std::size_t waiting() const noexcept { return events_->line.size(); }

private:
    class view;
    view& view_of_worker();
    member_list made_of(server_list const& servers) const;
    void publish(member_list made);
    void resolve_names(member_list const& members) const;

    upstream_options options_;
    server_list configured_;
    std::shared_ptr<server_events> events_;
    replaceable<member_list const> members_;
    retry_budget budget_;
    circuit_breaker breaker_;
    std::mutex changing_; ///< one at a time prepares or replaces
    bool of_url_;
    bool prepared_ = false;
    std::optional<health_checker> checker_;
    std::optional<background_task> checking_; ///< ends before what it looks at
};

} // namespace relais::detail

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/group.ipp>
#endif
