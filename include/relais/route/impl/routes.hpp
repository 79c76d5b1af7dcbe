#pragma once

#include <relais/route/routes.hpp>

namespace relais::detail {

template <class Stages>
struct branch_calls {
    static void prepare(void const* stages, matcher const& rule) {
        auto const& whole = *static_cast<Stages const*>(stages);
        whole.visit([&rule](auto const& stage) {
            if constexpr (requires { stage.prepare_at(rule); })
                stage.prepare_at(rule);
        });
        whole.prepare();
    }

    static std::vector<std::string> reload(void const* stages) {
        return static_cast<Stages const*>(stages)->reload();
    }
};

template <class Chain>
any_branch erase_branch(branch<Chain> const& b) {
    static_assert(!std::is_void_v<Chain>,
                  "this branch of routes() has nothing behind at(...): put a terminal there, "
                  "at(\"/p\") | proxy_to(\"http://127.0.0.1:8080\")");
    if constexpr (!std::is_void_v<Chain>) {
        require_complete<exchange>(b.stages());
        if constexpr (requires { Chain::template entry_of<exchange>(); })
            return {b.rule(), std::make_shared<Chain const>(b.stages()),
                    Chain::template entry_of<exchange>(), &branch_calls<Chain>::prepare,
                    &branch_calls<Chain>::reload};
    }
    return {b.rule(), nullptr, nullptr, nullptr, nullptr};
}

} // namespace relais::detail
