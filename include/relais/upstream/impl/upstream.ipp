#pragma once

#include <relais/upstream/impl/group.hpp>
#include <relais/upstream/upstream.hpp>

#include <utility>

namespace relais {

RELAIS_DECL upstream::upstream(server_list servers, upstream_options options)
    : group_(std::make_shared<detail::upstream_group>(std::move(servers), std::move(options))) {}

RELAIS_DECL upstream upstream::of_url(std::string_view url) {
    return upstream(std::make_shared<detail::upstream_group>(server_list{server_entry(url)},
                                                             upstream_options(), true));
}

RELAIS_DECL void upstream::prepare() const {
    group_->prepare();
}

RELAIS_DECL void upstream::replace(server_list const& servers) const {
    group_->replace(servers);
}

RELAIS_DECL std::vector<std::shared_ptr<upstream_server>> upstream::servers() const {
    auto const members = group_->members();
    return members ? detail::upstream_group::servers_of(*members)
                   : std::vector<std::shared_ptr<upstream_server>>();
}

RELAIS_DECL std::shared_ptr<upstream_server> upstream::find(std::string_view name) const {
    if (auto const members = group_->members())
        for (auto const& m : *members)
            if (m.server->name() == name)
                return m.server;
    return nullptr;
}

RELAIS_DECL std::size_t upstream::waiting() const noexcept {
    return group_->waiting();
}

} // namespace relais
