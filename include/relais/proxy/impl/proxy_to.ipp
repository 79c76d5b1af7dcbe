#pragma once

#include <relais/core/impl/time_limits.hpp>
#include <relais/core/worker.hpp>
#include <relais/http/path.hpp>
#include <relais/proxy/proxy_to.hpp>
#include <relais/proxy/rewrite.hpp>
#include <relais/upstream/client.hpp>
#include <relais/upstream/connector.hpp>
#include <relais/upstream/impl/group.hpp>
#include <relais/upstream/tries.hpp>
#include <relais/websocket/handshake.hpp>
#include <relais/websocket/tunnel.hpp>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace relais {

struct proxy_stage::shared {
    shared(std::string written, upstream of, proxy_options given)
        : text(std::move(written)), servers(std::move(of)), options(std::move(given)) {
        if (options.rewrite_location)
            rewritten = known_fields(known_field::location, known_field::content_location,
                                     known_field::refresh);
        if (options.rewrite_cookies)
            rewritten.insert(known_field::set_cookie);
    }

    /// What replaces the route's prefix, canonical. \throws startup_error
    std::string replacement() const;

    std::string text; ///< as the stage was written, for messages
    std::string url;  ///< empty: it is a group of servers
    upstream servers;
    proxy_options options;
    std::string path; ///< what replaces the route's prefix, canonical; empty: nothing does
    std::shared_ptr<relais::connector> connector;
    known_fields rewritten; ///< of answers
    call_limits limits{options.first_byte_timeout, options.read_timeout, options.write_timeout};
};

namespace detail {

/// Connections to upstreams that belong to one client, because they were authenticated as such (NTLM, Negotiate) or began
/// with its address.
class pinned_connections {
public:
    struct pin final : connection_keeper {
        void give(std::unique_ptr<stream> idle, connection_past had) override {
            connection = std::move(idle);
            past = had;
        }
        connector const* by = nullptr;
        std::shared_ptr<upstream_server> server;
        std::string client;         ///< whose address it began with
        bool authenticated = false; ///< this server alone knows the client
        std::unique_ptr<stream> connection;
        connection_past past;
    };

    /// The pin of a server; null without.
    pin* find(connector const& by, upstream_server const& server) noexcept {
        return find_if([&](pin const& p) { return p.by == &by && p.server.get() == &server; });
    }

    /// The one to which the client is bound because it has authenticated there; null without.
    pin* find_authenticated(connector const& by) noexcept {
        return find_if([&](pin const& p) { return p.by == &by && p.authenticated; });
    }

    pin& make(connector const& by, std::shared_ptr<upstream_server> const& server) {
        if (auto* there = find(by, *server))
            return *there;
        pins_.push_back(std::make_unique<pin>());
        pins_.back()->by = &by;
        pins_.back()->server = server;
        return *pins_.back();
    }

private:
    template <class Fits>
    pin* find_if(Fits fits) noexcept {
        for (auto& p : pins_)
            if (fits(*p))
                return p.get();
        return nullptr;
    }

    std::vector<std::unique_ptr<pin>> pins_;
};

/// Whether a credential or a challenge authenticates the connection rather than the request.
RELAIS_DECL bool authenticates_connection(fields const& head, known_field id) noexcept {
    for (auto value : head.all(id)) {
        auto scheme = value.substr(0, value.find(' '));
        if (equal_ignoring_case(scheme, "NTLM") || equal_ignoring_case(scheme, "Negotiate"))
            return true;
    }
    return false;
}

} // namespace detail

/// What is decided for one request, as plain functions.
class proxy_stage::forwarding {
public:
    forwarding(shared const& s, exchange& x) noexcept : s_(s), x_(x) {}

    /// Checks what can be answered without the upstream. \return whether the request goes on.
    bool admit();

    /// The head as it goes out, in the worker's text.
    std::string_view head();
    bool chunked() const noexcept { return chunked_; }

    /// Makes the upstream's answer the exchange's.
    void answer(upstream_call& call);

    /// The server that this client is bound to; null: any will do.
    std::shared_ptr<upstream_server> bound_to() const;

    /// Makes the exchange ready for another try. \return false where the request's body is gone.
    bool begin_again();

    /// The server that is asked next; it outlives the try.
    void set_server(std::shared_ptr<upstream_server> const& server) noexcept {
        server_ = &server;
        pool_ = nullptr;
    }

    connection_pool::idle idle_connection();

    /// What a fresh connection begins with.
    std::string opening() const;

private:
    /// The client whose address connections begin with; empty where they begin with none.
    std::string_view announced() const noexcept {
        return s_.options.proxy_protocol == proxy_version::none ? std::string_view()
                                                                : x_.client_address();
    }
    /// Where the connection goes: to the pool, or to this client alone once it is authenticated.
    connection_keeper& keeper();
    void rewrite_answer();
    bool keeps_host() const noexcept {
        return s_.options.preserve_host && !x_.request.authority().empty();
    }
    void put_target(text_buffer& out);
    void put_forwarded(text_buffer& out);

    shared const& s_;
    exchange& x_;
    std::shared_ptr<upstream_server> const* server_ = nullptr;
    connection_pool* pool_ = nullptr; ///< where an idle connection was looked for
    std::string target_;
    bool chunked_ = false;
};

RELAIS_DECL bool proxy_stage::forwarding::admit() {
    auto& q = x_.request;
    auto const& o = s_.options;
    if (!q.body.rewind())
        throw stage_misuse("next was called again but the request's body is gone: call "
                           "request.body.keep(limit) before "
                           "the first time");
    if (!o.via.empty())
        for (auto line : q.fields().all(known_field::via)) {
            std::string_view rest = line;
            for (auto hop = next_list_element(rest); !hop.empty(); hop = next_list_element(rest)) {
                auto space = hop.find(' ');
                auto by = space == hop.npos ? std::string_view() : hop.substr(space + 1);
                if (by.substr(0, by.find(' ')) == o.via) {
                    x_.refuse(end_reason::loop_detected);
                    return false;
                }
            }
        }
    if (q.max_forwards() == 0u) { // RFC 9110, section 7.6.2: answered here
        x_.respond(204);
        x_.response.set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        return false;
    }
    if (q.is_websocket()) {
        ask_for_websocket(q.fields());
        auto check = check_websocket_request(q.method(), q.version(), q.fields(), !q.body.empty());
        if (check.kind != websocket_request::valid) {
            x_.refuse(check.reason);
            x_.response.body.set(std::to_string(x_.response.status()) + ' ' +
                                 std::string(check.sentence) + '\n');
            if (check.reason == end_reason::upgrade_required)
                x_.response.set("Sec-WebSocket-Version", "13");
            return false;
        }
    }
    if (!s_.path.empty()) {
        auto prefix = x_.matched_prefix() == std::string_view::npos ? 1 : x_.matched_prefix();
        if (replace_prefix(q.canonical_path(), prefix, s_.path, target_).empty()) {
            x_.refuse(end_reason::bad_target);
            return false;
        }
    }
    return true;
}

RELAIS_DECL void proxy_stage::forwarding::put_target(text_buffer& out) {
    auto& q = x_.request;
    if (!s_.path.empty())
        out.put(target_);
    else
        out.put(s_.options.path == path_form::as_sent ? q.raw_path() : q.canonical_path());
    if (q.has_query())
        out.put("?").put(q.query());
}

RELAIS_DECL void proxy_stage::forwarding::put_forwarded(text_buffer& out) {
    auto& q = x_.request;
    auto const& have = q.fields();
    auto how = s_.options.forwarded;
    auto client = x_.client_address();
    bool unix_client = client == "unix:";
    if (how == forwarded_fields::x_forwarded || how == forwarded_fields::both) {
        if (!unix_client && !have.contains(known_field::x_real_ip))
            out.put_field("X-Real-IP", client);
        if (!unix_client && !have.contains(known_field::x_forwarded_for))
            out.put_field("X-Forwarded-For", client);
        if (!have.contains(known_field::x_forwarded_proto))
            out.put_field("X-Forwarded-Proto", q.scheme());
        if (!q.authority().empty() && !have.contains(known_field::x_forwarded_host))
            out.put_field("X-Forwarded-Host", q.authority());
        if (!have.contains(known_field::x_forwarded_port))
            if (auto port = x_.connection().local_port())
                out.put("X-Forwarded-Port: ").put_number(port).put("\r\n");
    }
    if ((how == forwarded_fields::rfc7239 || how == forwarded_fields::both) &&
        !have.contains(known_field::forwarded)) {
        out.put("Forwarded: for=");
        if (unix_client)
            out.put("unknown");
        else if (client.find(':') != client.npos)
            out.put("\"[").put(client).put("]\"");
        else
            out.put(client);
        out.put(";proto=").put(q.scheme());
        if (!q.authority().empty())
            out.put(";host=\"")
                .put(q.authority())
                .put("\""); // an authority has neither quotes nor backslashes
        out.put("\r\n");
    }
}

RELAIS_DECL std::string_view proxy_stage::forwarding::head() {
    auto& q = x_.request;
    auto& out = worker::current().text();
    out.put(q.method_text()).put(" ");
    put_target(out);
    out.put(" HTTP/1.1\r\n");

    out.put_field("Host",
                  keeps_host() ? q.authority() : std::string_view((*server_)->url().authority));
    constexpr known_fields ours(known_field::host, known_field::content_length,
                                known_field::transfer_encoding, known_field::connection,
                                known_field::keep_alive, known_field::upgrade, known_field::expect,
                                known_field::max_forwards, known_field::via);
    detail::put_fields(out, q.fields(), ours);
    put_forwarded(out);
    if (auto left = q.max_forwards())
        out.put("Max-Forwards: ").put_number(*left - 1).put("\r\n");
    for (auto hop : q.fields().all(known_field::via))
        out.put_field("Via", hop);
    if (!s_.options.via.empty())
        out.put(q.version() == 10 ? "Via: 1.0 " : "Via: 1.1 ").put(s_.options.via).put("\r\n");
    chunked_ = false;
    if (!q.body.empty()) {
        if (auto size = q.body.size()) {
            out.put("Content-Length: ").put_number(*size).put("\r\n");
        } else {
            chunked_ = true;
            out.put("Transfer-Encoding: chunked\r\n");
        }
        if (q.body.awaits_continue())
            out.put("Expect: 100-continue\r\n");
    } else if (q.fields().contains(known_field::content_length)) {
        out.put("Content-Length: 0\r\n");
    }
    if (q.is_websocket())
        out.put("Connection: Upgrade\r\nUpgrade: websocket\r\n");
    out.put("\r\n");
    return out.view();
}

RELAIS_DECL std::shared_ptr<upstream_server> proxy_stage::forwarding::bound_to() const {
    if (auto* pinned = x_.connection().state.find<detail::pinned_connections>())
        if (auto* mine = pinned->find_authenticated(*s_.connector); mine && mine->connection)
            return mine->server;
    return nullptr;
}

RELAIS_DECL bool proxy_stage::forwarding::begin_again() {
    if (!x_.request.body.rewind())
        return false;
    x_.response.reset();
    return true;
}

RELAIS_DECL connection_pool::idle proxy_stage::forwarding::idle_connection() {
    if (auto* pinned = x_.connection().state.find<detail::pinned_connections>())
        if (auto* mine = pinned->find(*s_.connector, **server_)) {
            auto kept = std::move(mine->connection);
            if (kept && kept->quiet() && mine->client == announced())
                return {std::move(kept), mine->past};
            return {};
        }
    // A tunnel needs a connection of its own, and so does a client from the first message of its handshake on.
    if (x_.request.is_websocket() ||
        detail::authenticates_connection(x_.request.fields(), known_field::authorization))
        return {};
    pool_ = &s_.connector->pool(*server_);
    return pool_->take();
}

RELAIS_DECL std::string proxy_stage::forwarding::opening() const {
    auto const version = s_.options.proxy_protocol;
    if (version == proxy_version::none)
        return {};
    auto const& c = x_.connection();
    auto client = c.peer();
    if (x_.client_address() != c.client_address()) { // a stage knows better, but no port
        boost::system::error_code error;
        auto const ip = boost::asio::ip::make_address(std::string(x_.client_address()), error);
        client = error ? socket_address() : socket_address(ip, 0);
    }
    return make_proxy_header(version, client, c.local());
}

RELAIS_DECL connection_keeper& proxy_stage::forwarding::keeper() {
    auto& state = x_.connection().state;
    auto* pinned = state.find<detail::pinned_connections>();
    bool const authenticates =
        detail::authenticates_connection(x_.request.fields(), known_field::authorization) ||
        detail::authenticates_connection(x_.response.fields(), known_field::www_authenticate);
    if (authenticates || !announced().empty() ||
        (pinned && pinned->find(*s_.connector, **server_))) {
        auto& mine = (pinned ? *pinned : state.emplace<detail::pinned_connections>())
                         .make(*s_.connector, *server_);
        mine.client = announced();
        mine.authenticated |= authenticates;
        return mine;
    }
    return pool_ ? *pool_ : s_.connector->pool(*server_);
}

RELAIS_DECL void proxy_stage::forwarding::rewrite_answer() {
    auto const& q = x_.request;
    auto const& url = (*server_)->url();
    rewrite_sides between;
    between.secure = url.secure;
    between.authority = url.where.is_unix() ? std::string_view() : url.authority;
    between.sent_host = keeps_host() ? q.authority() : std::string_view(url.authority);
    between.client_secure = q.scheme() == "https";
    between.client_authority = q.authority();
    if (!s_.path.empty()) {
        auto const path = q.canonical_path();
        auto const taken = x_.matched_prefix() == std::string_view::npos ? 1 : x_.matched_prefix();
        between.path = s_.path;
        between.client_path = path.substr(0, path.size() - canonical_rest(path, taken).size());
    }
    rewrite_fields(x_.response.fields(), s_.rewritten, between, s_.options.cookie_domain);
}

RELAIS_DECL void proxy_stage::forwarding::answer(upstream_call& call) {
    if (x_.response.fields().present().intersects(s_.rewritten))
        rewrite_answer();
    if (!call.upgraded()) {
        call.hand_over(keeper());
        return;
    }
    auto& r = x_.response;
    auto check = validate_upgrade(x_.request.fields(), 101, r.fields());
    if (!check.upgrade) {
        x_.refuse(end_reason::bad_upgrade);
        return;
    }
    auto early = call.early();
    erase_hop_by_hop(r.fields());
    r.fields().erase(known_field::content_length);
    r.set_status(101);
    pump_limits limits{s_.options.tunnel_timeout, s_.options.linger};
    r.take_over(std::make_unique<websocket_tunnel>(std::move(*check.upgrade), call.release(),
                                                   std::move(early), limits));
}

RELAIS_DECL proxy_stage::proxy_stage(std::string_view url, proxy_options options)
    : shared_(std::make_shared<shared>("proxy_to(\"" + std::string(url) + "\")",
                                       upstream::of_url(url), std::move(options))) {
    shared_->url = url;
}

RELAIS_DECL proxy_stage::proxy_stage(upstream servers, proxy_options options)
    : shared_(std::make_shared<shared>("proxy_to(upstream(...))", std::move(servers),
                                       std::move(options))) {}

RELAIS_DECL std::string proxy_stage::shared::replacement() const {
    if (!url.empty()) {
        if (!options.prefix.empty())
            throw startup_error(text + ": .prefix is for groups of servers: put the path into the "
                                       "URL");
        return upstream_url::parse(url).path;
    }
    if (options.prefix.empty())
        return {};
    std::string matched, canonical;
    auto const normal = normalise_path(options.prefix, matched, canonical);
    if (normal.rejected())
        throw startup_error(text + ": .prefix = \"" + options.prefix +
                            "\" is no path: " + std::string(normal.sentence));
    return std::string(normal.canonical);
}

RELAIS_DECL void proxy_stage::prepare_at(matcher const& rule) const {
    if (rule.kind() == route_kind::pattern && !shared_->replacement().empty())
        throw startup_error(shared_->text +
                            " has a path, and a pattern has no prefix that it could replace: "
                            "leave the path out or use "
                            "at(\"/prefix/\")");
}

RELAIS_DECL void proxy_stage::prepare() const {
    auto& s = *shared_;
    auto const& o = s.options;
    detail::require_time_limits(s.text, {{".connect_timeout", o.connect_timeout},
                                         {".first_byte_timeout", o.first_byte_timeout},
                                         {".read_timeout", o.read_timeout},
                                         {".write_timeout", o.write_timeout},
                                         {".tunnel_timeout", o.tunnel_timeout},
                                         {".linger", o.linger},
                                         {".pool_timeout", o.pool_timeout},
                                         {".pool_max_age", o.pool_max_age}});
    if (o.total_timeout)
        detail::require_time_limits(s.text, {{".total_timeout", *o.total_timeout}});
    if (o.via.find_first_of(" ,\r\n\t") != o.via.npos)
        throw startup_error(s.text + ": .via is \"" + o.via +
                            "\": write one word, the pseudonym of this deployment");
    auto const of_domains = [](char c) {
        auto const low = detail::to_lower(c);
        return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    };
    if (!std::all_of(o.cookie_domain.begin(), o.cookie_domain.end(), of_domains))
        throw startup_error(s.text + ": .cookie_domain is \"" + o.cookie_domain +
                            "\": write a name as example.org");
    s.path = s.replacement();
    s.servers.prepare();
    if (!s.connector)
        s.connector = std::make_shared<relais::connector>(
            connector_options{o.connect_timeout,
                              {o.pool_size, o.pool_timeout, o.pool_max_age, o.pool_max_requests},
                              o.source_address,
                              o.tls});
    s.connector->prepare(s.servers.servers());
}

RELAIS_DECL awaitable<> proxy_stage::operator()(exchange& x) const {
    using step = upstream_call::step;
    auto const& options = shared_->options;
    exchange::answering guard(x);
    forwarding f(*shared_, x);
    if (!f.admit())
        co_return;
    upstream_tries tries(shared_->servers, x, options.total_timeout);
    do {
        if (!tries.choose(f.bound_to()))
            co_await tries.choose_later();
        if (!tries.hold()) {
            tries.refuse();
            co_return;
        }
        f.set_server(tries.hold().server());
        upstream_call call(x, shared_->limits, tries.total());
        auto idle = f.idle_connection();
        auto now = step::failed;
        do {
            if (idle.connection) {
                call.use(std::move(idle.connection), idle.past, true);
            } else {
                tries.connect_begins();
                auto fresh =
                    co_await shared_->connector->connect(*tries.hold(), f.opening(), tries.total());
                tries.connect_ended();
                if (!fresh.connected) {
                    tries.failed(fresh.why);
                    break;
                }
                call.use(std::move(fresh.connected), {worker::current().deadlines().now()}, false);
            }
            auto head = f.head();
            call.begin(head, f.chunked(), x.request.is_websocket());
            now = call.advance();
            while (now != step::answered && now != step::failed) {
                auto why = wait_result::ready;
                if (now == step::wait_response) {
                    why = co_await call.connection().readable(call.limit(now));
                } else if (now == step::wait_body) {
                    auto began = worker::current().deadlines().now();
                    why = co_await readable_either(*x.request.body.waits_on(), call.connection(),
                                                   call.limit(now));
                    auto waited =
                        (worker::current().deadlines().now() - began) * deadline_wheel::resolution;
                    if (why == wait_result::ready && !x.request.body.awaits_continue() &&
                        !x.request.body.note_wait(waited))
                        why = wait_result::timed_out;
                } else if (now == step::wait_send) {
                    why = co_await readable_or_writable(call.connection(), call.limit(now));
                } else if (now == step::interim) {
                    co_await x.send_interim(call.interim_status(), x.response.fields());
                    call.interim_passed_on();
                } else { // others want a turn
                    co_await boost::asio::post(worker::current().context(), boost::asio::deferred);
                }
                now = why == wait_result::ready ? call.advance() : call.give_up(why, now);
            }
            if (now == step::failed)
                tries.failed(call.why());
        } while (now == step::failed && call.stale() && f.begin_again());
        if (now == step::answered && tries.answered(call.status(), call.first_byte())) {
            f.answer(call);
            tries.keep();
            co_return;
        }
    } while (tries.another() && f.begin_again());
    tries.refuse();
}

} // namespace relais
