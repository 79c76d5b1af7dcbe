#pragma once

#include <relais/config.hpp>
#include <relais/upstream/impl/stable_hash.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace relais {

class exchange;

/// A server that may take a request now, as a balancer sees it.
struct candidate {
    std::uint64_t id = 0; ///< stable for the server's name, over restarts and machines: `server_id`
    double weight = 1;    ///< more than 0; during slow start less than what was configured
    std::atomic<std::uint32_t> const* active =
        nullptr; ///< exchanges and tunnels under way, of all workers
};

/// The id of a server: a hash of its name as it was configured, the same on every machine and in every release.
inline std::uint64_t server_id(std::string_view name) noexcept {
    return detail::stable_hash(name);
}

/// One worker's choice among one list of candidates. Made anew whenever the list or a weight changes, and used on that
/// worker only; choosing allocates nothing and takes no lock.
class chooser {
public:
    chooser() = default;
    chooser(chooser const&) = delete;
    chooser& operator=(chooser const&) = delete;
    virtual ~chooser() = default;

    /// The index of the candidate that should serve the exchange. The caller goes on from it, in the list's order, when
    /// that one is excluded: tried already, or at its limit.
    virtual std::size_t choose(exchange& x) = 0;

    /// The head of the answer of one of the candidates is in `x.response`: the place to add a field to it.
    virtual void answered(exchange& /*x*/, candidate const& /*by*/) {}
};

/// How the servers of a group share its requests: a value, immutable, copied freely, used by all workers at once.
///
/// A rule of one's own derives from `balancing::rule` and `chooser`: `balancing(std::make_shared<my_rule>())`.
class balancing {
public:
    /// Makes the choosers.
    class rule {
    public:
        rule() = default;
        rule(rule const&) = delete;
        rule& operator=(rule const&) = delete;
        virtual ~rule() = default;

        /// \param list not empty; dead after the call. \param before what to take state over from; null at first.
        /// \param seed for what is drawn at random.
        virtual std::unique_ptr<chooser> among(std::span<candidate const> list,
                                               chooser const* before, std::uint64_t seed) const = 0;

        /// Checks the options. \throws startup_error
        virtual void prepare() const {}

        /// Whether its choosers do something in `answered`.
        virtual bool marks_answers() const noexcept { return false; }
    };

    explicit balancing(std::shared_ptr<rule const> made)
        : rule_(std::move(made)), marks_answers_(rule_->marks_answers()) {}

    /// Makes a chooser for a worker.
    ///
    /// \param list at least one candidate, copied; their counters have to outlive the chooser.
    /// \param before the chooser that this one replaces, or null: where ids agree, its state goes on.
    /// \param seed for tests that want the same choices each time; drawn at random without.
    std::unique_ptr<chooser> among(std::span<candidate const> list, chooser const* before,
                                   std::optional<std::uint64_t> seed = {}) const;

    /// Checks the options; called once at start. \throws startup_error that says what is wrong with them.
    void prepare() const { rule_->prepare(); }

    bool marks_answers() const noexcept { return marks_answers_; }

private:
    std::shared_ptr<rule const> rule_;
    bool marks_answers_;
};

/// One after the other, in proportion to their weights and evenly mixed: {5, 1, 1} is a a b a c a a. What nginx does
/// ("smooth weighted round robin"), and like there each worker counts for itself.
[[nodiscard]] balancing round_robin();

/// The server with the fewest exchanges and tunnels under way for its weight; where several have as few, those take
/// turns as in `round_robin`. Looks at every server for each request.
[[nodiscard]] balancing least_connections();

/// The less loaded one, by exchanges and tunnels under way for its weight, of two that are drawn at random by their weights.
///
/// The default: nearly as even as `least_connections`, in a time that does not depend on the number of servers, and
/// gateways that do not know of each other do not all run to the same server. Source: Mitzenmacher, "The power of two
/// choices in randomized load balancing", 2001.
[[nodiscard]] balancing two_choices();

/// How keys go to servers.
struct hash_options {
    /// A server takes at most so many times its share of what is under way, 1 / n of it where weights are equal, and the
    /// key's next server gets the rest: more than 1, such as 1.25; 0 for no bound. A lower bound balances better and moves
    /// more keys. Source: Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2016.
    double bound = 1.25;
};

namespace detail {

/// Hashes a request's key; nothing for an empty one.
using key_hash = std::function<std::optional<std::uint64_t>(exchange&)>;

balancing balance_by_hash(key_hash key, hash_options options);

} // namespace detail

/// Requests of one key go to one server, on every worker and every gateway that has the same servers.
///
///     hash_by([](exchange& x) { return x.request.path(); })
///
/// A server that is added takes its share of keys from all others, one that leaves gives its own back to all, and no other
/// key moves; weights are kept to. Requests with an empty key are shared as by `two_choices`. Looks at every server for
/// each request, at each with one multiplication. The places of keys are not those of nginx's or memcached's rings.
/// Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998 (rendezvous hashing).
///
/// \param key returns the key as text for an `exchange&`, a view into the exchange or a string; called by several workers
/// at once. It must not block. \param options see there.
template <class F>
    requires std::is_invocable_v<F const&, exchange&>
[[nodiscard]] balancing hash_by(F key, hash_options options = {}) {
    static_assert(
        std::is_convertible_v<std::invoke_result_t<F const&, exchange&>, std::string_view>,
        "hash_by() wants a function that returns text for exchange&: a std::string or a "
        "std::string_view");
    return detail::balance_by_hash(
        [key = std::move(key)](exchange& x) -> std::optional<std::uint64_t> {
            auto const text = key(x); // a string has to live for as long as the view
            std::string_view const view = text;
            return view.empty() ? std::nullopt : std::optional(detail::stable_hash(view));
        },
        options);
}

/// Requests of one client address go to one server: `hash_by` with `x.client_address()`.
///
/// The whole address counts, IPv4 or IPv6, where nginx's `ip_hash` takes the first three octets of an IPv4 address and so
/// sends a whole network to one server; and few clients move when a server comes or goes, where there nearly all do.
/// \param options no bound unless one is given: who hashes addresses wants a client's requests together.
[[nodiscard]] balancing hash_client_address(hash_options options = {.bound = 0});

/// Which requests of other sites bring a cookie along.
enum class same_site : std::uint8_t {
    unset, ///< nothing is said; browsers take that for `lax`
    lax,   ///< those that go to the site in the address bar
    strict,
    none, ///< all, frames and sockets too; needs `secure`
};

/// What `sticky_cookie` sends and accepts.
struct sticky_options {
    std::string name = "route";

    /// The secret that cookies are signed with: 16 bytes or more, drawn at random (`openssl rand -hex 32`), the same on all
    /// gateways of a service.
    std::string key{};

    /// Secrets whose cookies still count and are replaced by new ones: the key of before, while it is changed.
    std::vector<std::string> former_keys{};

    /// How long a browser keeps the cookie, from when it was set; without, until it is closed.
    std::optional<std::chrono::seconds> max_age{};

    std::string path = "/";
    std::string domain{}; ///< without: the host that was asked, and no other

    /// Whether it goes over TLS only; without: where it was set over TLS, and with `same_site::none`.
    std::optional<bool> secure{};

    bool http_only = true; ///< scripts do not see it
    relais::same_site same_site = relais::same_site::lax;

    /// Who shares the requests that come without a valid cookie.
    balancing otherwise = two_choices();
};

/// A client stays with the server that answered it first, as long as that one is there.
///
/// The answer to a client that is new sets a cookie, which names the server by a keyed hash (HMAC-SHA256) of its id: nobody
/// learns an address from it, and nobody without the key can choose a server. Unknown and forged cookies, and those of a
/// server that is gone, count as none; another server's answer, after a retry too, brings a new one. Checked in constant
/// time.
[[nodiscard]] balancing sticky_cookie(sticky_options options);

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/balance.ipp>
#include <relais/upstream/impl/hash_by.ipp>
#include <relais/upstream/impl/sticky_cookie.ipp>
#endif
