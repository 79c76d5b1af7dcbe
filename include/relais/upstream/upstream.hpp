#pragma once

#include <relais/config.hpp>
#include <relais/upstream/server.hpp>
#include <relais/upstream/server_list.hpp>
#include <relais/upstream/upstream_options.hpp>

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <ranges>
#include <string_view>
#include <utility>
#include <vector>

namespace relais {

namespace detail {
class upstream_group;
}

/// Several servers that do the same, and may stand in for each other.
///
///     auto app = upstream({"10.0.0.1:8080", {"10.0.0.2:8080", {.weight = 3}}, {"10.0.0.3:8080", {.backup = true}}},
///                         {.balance = least_connections()});
///     ... | proxy_to(app)
///
/// A handle: copies mean the same servers. Every member may be called from any thread.
class upstream {
public:
    /// \throws nothing: what is wrong with a server is said at the start.
    upstream(std::initializer_list<server_entry> servers, upstream_options options = {})
        : upstream(server_list(servers), std::move(options)) {}

    upstream(server_list servers, upstream_options options = {});

    /// Any range of what a `server_entry` can be made from.
    template <std::ranges::input_range Range>
        requires(!std::convertible_to<Range, std::string_view> &&
                 !std::same_as<std::remove_cvref_t<Range>, server_list> &&
                 std::constructible_from<server_entry, std::ranges::range_reference_t<Range>>)
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): an upstream is no range
    explicit upstream(Range&& servers, upstream_options options = {})
        : upstream(list_of(std::forward<Range>(servers)), std::move(options)) {}

    /// Checks the options, resolves names; terminals do it at the start. \throws startup_error
    void prepare() const;

    /// Has these servers in the place of those that there are. A server of the same name stays the same one, with its
    /// health; exchanges and tunnels that are under way do not notice, those on a server that goes end there.
    /// Names are resolved: not to be called on a worker. \throws startup_error and changes nothing where something is wrong with one
    void replace(server_list const& servers) const;

    /// Those that there are.
    std::vector<std::shared_ptr<upstream_server>> servers() const;

    /// The one of this name; null where there is none.
    std::shared_ptr<upstream_server> find(std::string_view name) const;

    /// For terminals: the server of a URL, alone. Its path is theirs.
    static upstream of_url(std::string_view url);

    /// How many requests wait for a server.
    std::size_t waiting() const noexcept;

    /// For terminals: what all copies share.
    detail::upstream_group& group() const noexcept { return *group_; }

private:
    template <class Range>
    static server_list list_of(Range&& servers) {
        server_list all;
        for (auto&& one : servers)
            all.emplace_back(std::forward<decltype(one)>(one));
        return all;
    }

    explicit upstream(std::shared_ptr<detail::upstream_group> group) : group_(std::move(group)) {}

    std::shared_ptr<detail::upstream_group> group_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/upstream/impl/upstream.ipp>
#endif
