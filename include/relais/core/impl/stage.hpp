#pragma once

#include <relais/core/stage.hpp>

namespace relais {
namespace detail {

template <class Left, class Right>
struct joint;

template <class... Left, class... Right>
struct joint<chain<Left...>, chain<Right...>> {
    static constexpr face_matrix left = plan<Left...>::faces;
    static constexpr face_matrix right = plan<Right...>::faces;

    static consteval unsigned comes() {
        for (unsigned out = 0; out < kinds; ++out)
            if (left.gives(out))
                return out;
        return nothing;
    }

    // Rules hold between stages that work on the same: what decides on connections is no matter to what works on requests.
    template <std::size_t Outer, std::size_t... Inner, class... Tags>
    static constexpr void check_order(std::index_sequence<Inner...>, tags<Tags...>*) {
        (check_tags<Outer, Inner, Right, Tags...>(), ...);
    }

    template <std::size_t Outer, std::size_t Inner, class Stage, class... Tags>
    static constexpr void check_tags() {
        if constexpr ((has_rule<Stage, Tags> || ...)) {
            if constexpr (plan<Left..., Right...>::meet(Outer, sizeof...(Left) + Inner))
                (check_tag<Stage, Tags>(), ...);
        }
    }

    template <std::size_t... Outer>
    static constexpr void check_orders(std::index_sequence<Outer...>) {
        (check_order<Outer>(std::index_sequence_for<Right...>(),
                            static_cast<typename tags_provided<Left>::type*>(nullptr)),
         ...);
    }

    static constexpr void check() {
        if constexpr (left.empty() || right.empty()) {
            // all is said
        } else if constexpr (comes() == nothing) {
            complain<typename ends_of<Left...>::last, mistake::after_terminal>();
        } else if constexpr ((left * right).empty()) {
            complain<typename ends_of<Right...>::first, mismatch(comes(), first_taken(right))>();
        } else {
            check_orders(std::index_sequence_for<Left...>());
        }
    }
};

template <class... Left, class... Right>
chain<Left..., Right...> join(chain<Left...>&& left, chain<Right...>&& right) {
    return chain<Left..., Right...>(
        std::tuple_cat(std::move(left.stages_), std::move(right.stages_)));
}

template <class In, class... Stages>
constexpr void check_complete(chain<Stages...> const*) {
    static_assert(kind<In>, "chains work on connection, exchange or message");
    constexpr face_matrix all = plan<Stages...>::faces;
    constexpr unsigned in = kind_of<In>;
    using first = typename ends_of<Stages...>::first;
    using last = typename ends_of<Stages...>::last;
    if constexpr (all.empty() || all.at[in][nothing])
        return;
    else if constexpr (!all.accepts(in))
        complain<first, mismatch(in, first_taken(all))>();
    else if constexpr (all.at[in][kind_of<connection>])
        complain<last, mistake::no_terminal_for_connections>();
    else
        complain<last, mistake::no_terminal>();
}

// A stage may want to know what follows it: ALPN depends on whether requests do.
template <class Stage, class... After>
void prepare_stage(Stage const& stage) {
    if constexpr (requires { stage.template prepare_before<After...>(); })
        stage.template prepare_before<After...>();
    else if constexpr (requires { stage.prepare(); })
        stage.prepare();
}

template <class... Stages>
void prepare_stages(std::tuple<Stages...> const& stages) {
    auto one = [&]<std::size_t I, std::size_t... Behind>(std::index_sequence<Behind...>) {
        using all = std::tuple<Stages...>;
        prepare_stage<std::tuple_element_t<I, all>, std::tuple_element_t<I + 1 + Behind, all>...>(
            std::get<I>(stages));
    };
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        (one.template operator()<I>(std::make_index_sequence<sizeof...(Stages) - 1 - I>()), ...);
    }(std::index_sequence_for<Stages...>());
}

// In the place of a stage of which all is said: nothing more is said about its chain.
struct broken_stage {};

} // namespace detail

template <class... Stages>
template <std::size_t I, class In, class End>
awaitable<> chain<Stages...>::run(void const* context, In& in) {
    if constexpr (I == sizeof...(Stages)) {
        return static_cast<open<End> const*>(context)->end(in);
    } else {
        auto& stage = [&]() -> auto& {
            if constexpr (std::is_void_v<End>)
                return std::get<I>(static_cast<chain const*>(context)->stages_);
            else
                return std::get<I>(static_cast<open<End> const*>(context)->self->stages_);
        }();
        constexpr unsigned out =
            detail::plan<Stages...>::out_of(I, detail::kind_of<In>, detail::kind_of<End>);
        if constexpr (out == detail::nothing) {
            return stage(in);
        } else {
            using next = typename detail::kind_at<out>::type;
            return stage(in, basic_next<next>(context, &run<I + 1, next, End>));
        }
    }
}

template <class... Stages>
template <class In, class Out>
awaitable<> chain<Stages...>::run_open(In& in, open<Out> context) {
    co_await run<0, In, Out>(&context, in);
}

template <class... Stages>
void chain<Stages...>::prepare() const {
    detail::prepare_stages(stages_);
}

template <class... Stages>
std::vector<std::string> chain<Stages...>::reload() const {
    std::vector<std::string> failed;
    visit([&failed](auto const& one) {
        if constexpr (requires { one.reload(); })
            try {
                one.reload();
            } catch (std::exception const& error) {
                failed.emplace_back(error.what());
            }
    });
    return failed;
}

template <class F>
auto stage(F&& f) {
    using type = std::decay_t<F>;
    if constexpr (!std::is_constructible_v<type, F>) {
        detail::complain<type, detail::mistake::cannot_copy>();
        return chain<detail::broken_stage>({});
    } else if constexpr (detail::is_chain<type>) {
        return type(std::forward<F>(f));
    } else {
        detail::complain<type, detail::mistake_of_stage<type>()>();
        return chain<type>(std::tuple<type>(std::forward<F>(f)));
    }
}

template <class Left, class Right>
    requires detail::composable<Left, Right>
auto operator|(Left&& left, Right&& right) {
    auto outer = stage(std::forward<Left>(left));
    auto inner = stage(std::forward<Right>(right));
    detail::joint<decltype(outer), decltype(inner)>::check();
    return detail::join(std::move(outer), std::move(inner));
}

template <class Left, class Right>
    requires detail::both_own<Left, Right>
auto operator|(Left&&, Right&&) {
    static_assert(
        sizeof(Left) == 0,
        "two functions or classes of one's own make no chain by themselves: begin it with "
        "stage(), as in stage(first) | second");
    return chain<detail::broken_stage>({});
}

template <class In, class S>
constexpr void require_complete(S const&) {
    using whole = decltype(stage(std::declval<S>()));
    detail::check_complete<In>(static_cast<whole const*>(nullptr));
}

template <class In>
template <class Chain>
void any_chain<In>::keep(Chain whole) {
    if constexpr (requires { Chain::template entry_of<In>(); }) {
        entry_ = Chain::template entry_of<In>();
        prepare_ = [](void const* stages) { static_cast<Chain const*>(stages)->prepare(); };
        reload_ = [](void const* stages) { return static_cast<Chain const*>(stages)->reload(); };
        stages_ = std::make_shared<Chain const>(std::move(whole));
    }
}

} // namespace relais
