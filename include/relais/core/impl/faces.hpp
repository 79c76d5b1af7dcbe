#pragma once

#include <relais/core/awaitable.hpp>

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace relais {

class connection;
class exchange;
class message;

struct stage_base;

template <class T>
class basic_next;

template <class In, class Out>
struct face;

template <class... Faces>
struct faces;

template <class... Tags>
struct tags;

template <class... Stages>
class chain;

namespace detail {

// The kinds of what stages work on, and `nothing` for what comes out of a terminal.
inline constexpr unsigned kinds = 3;
inline constexpr unsigned nothing = kinds;

template <class T>
inline constexpr unsigned kind_of = kinds + 1;
template <>
inline constexpr unsigned kind_of<connection> = 0;
template <>
inline constexpr unsigned kind_of<exchange> = 1;
template <>
inline constexpr unsigned kind_of<message> = 2;
template <>
inline constexpr unsigned kind_of<void> = nothing;

template <class T>
concept kind = kind_of<T> < kinds;

template <unsigned K>
struct kind_at;
template <>
struct kind_at<0> {
    using type = connection;
};
template <>
struct kind_at<1> {
    using type = exchange;
};
template <>
struct kind_at<2> {
    using type = message;
};

// Which kinds go in, and which come out for each of them.
struct face_matrix {
    bool at[kinds][kinds + 1] = {};

    constexpr bool accepts(unsigned in) const {
        for (bool fits : at[in])
            if (fits)
                return true;
        return false;
    }

    constexpr bool gives(unsigned out) const {
        for (auto& row : at)
            if (row[out])
                return true;
        return false;
    }

    constexpr bool empty() const {
        for (unsigned in = 0; in < kinds; ++in)
            if (accepts(in))
                return false;
        return true;
    }

    // What can be done one after the other.
    friend constexpr face_matrix operator*(face_matrix const& a, face_matrix const& b) {
        face_matrix product;
        for (unsigned in = 0; in < kinds; ++in)
            for (unsigned between = 0; between < kinds; ++between)
                for (unsigned out = 0; out <= kinds; ++out)
                    product.at[in][out] |= a.at[in][between] && b.at[between][out];
        return product;
    }
};

template <class F, class... Arguments>
concept called_with =
    requires(F& f, Arguments... arguments) { f(static_cast<Arguments>(arguments)...); };

template <class F, class... Arguments>
concept fits = requires(F& f, Arguments... arguments) {
    { f(static_cast<Arguments>(arguments)...) } -> std::same_as<awaitable<>>;
};

// Same-kind pairs and terminals are asked first: a generic lambda without a return type of its own
// is instantiated by the question, and `next(x)` with the wrong kind in its body would be a hard
// error.
template <class F>
consteval face_matrix deduced_faces() {
    face_matrix m;
    m.at[0][0] = fits<F, connection&, basic_next<connection>>;
    m.at[1][1] = fits<F, exchange&, basic_next<exchange>>;
    m.at[2][2] = fits<F, message&, basic_next<message>>;
    m.at[0][nothing] = fits<F, connection&>;
    m.at[1][nothing] = fits<F, exchange&>;
    m.at[2][nothing] = fits<F, message&>;
    return m;
}

template <class F>
consteval face_matrix deduced_mixed_faces() {
    face_matrix m;
    m.at[0][1] = fits<F, connection&, basic_next<exchange>>;
    m.at[1][2] = fits<F, exchange&, basic_next<message>>;
    return m;
}

template <class List>
struct stated_faces : std::false_type {};

template <class... In, class... Out>
struct stated_faces<faces<face<In, Out>...>> : std::true_type {
    template <class F, class I, class O>
    static consteval bool callable() {
        if constexpr (std::is_void_v<O>)
            return fits<F, I&>;
        else
            return fits<F, I&, basic_next<O>>;
    }

    template <class F>
    static consteval bool all_callable() {
        return (callable<F, In, Out>() && ...);
    }

    static consteval face_matrix matrix() {
        static_assert(
            (kind<In> && ...) && ((kind_of<Out> <= nothing) && ...),
            "a face is made of connection, exchange and message, or of void in the place of Out");
        face_matrix m;
        ((m.at[kind_of<In>][kind_of<Out>] = true), ...);
        return m;
    }
};

template <class F>
concept states_faces = requires { typename F::faces; } && stated_faces<typename F::faces>::value;

template <class F>
consteval face_matrix faces_of() {
    if constexpr (states_faces<F>) {
        if constexpr (stated_faces<typename F::faces>::template all_callable<F const>())
            return stated_faces<typename F::faces>::matrix();
        else
            return {};
    } else if constexpr (!deduced_faces<F const>().empty()) {
        return deduced_faces<F const>();
    } else {
        return deduced_mixed_faces<F const>();
    }
}

template <class F>
inline constexpr face_matrix faces_v = faces_of<F>();

// What a user may do wrong; each has a sentence.
enum class mistake {
    none,
    // with a stage
    not_a_stage,
    not_const,
    by_value,
    wrong_result,
    wrong_faces,
    cannot_copy,
    // with an order
    after_terminal,
    needs_http,
    needs_websocket,
    needs_http_and_websocket,
    before_http,
    before_websocket,
    out_of_order,
    no_terminal,
    no_terminal_for_connections,
};

template <class T>
struct first_parameter {
    using type = void;
};
template <class R, class A, class... B>
struct first_parameter<R (*)(A, B...)> {
    using type = A;
};
template <class R, class A, class... B>
struct first_parameter<R (*)(A, B...) noexcept> {
    using type = A;
};
template <class R, class C, class A, class... B>
struct first_parameter<R (C::*)(A, B...)> {
    using type = A;
};
template <class R, class C, class A, class... B>
struct first_parameter<R (C::*)(A, B...) noexcept> {
    using type = A;
};
template <class R, class C, class A, class... B>
struct first_parameter<R (C::*)(A, B...) const> {
    using type = A;
};
template <class R, class C, class A, class... B>
struct first_parameter<R (C::*)(A, B...) const noexcept> {
    using type = A;
};
template <class F>
    requires requires { &F::operator(); }
struct first_parameter<F> : first_parameter<decltype(&F::operator())> {};

template <class F>
concept called_somehow =
    called_with<F, connection&, basic_next<connection>> ||
    called_with<F, exchange&, basic_next<exchange>> ||
    called_with<F, message&, basic_next<message>> || called_with<F, connection&> ||
    called_with<F, exchange&> || called_with<F, message&> ||
    called_with<F, connection&, basic_next<exchange>> ||
    called_with<F, exchange&, basic_next<message>>;

template <class F>
consteval mistake mistake_of_stage() {
    if constexpr (kind<std::remove_cv_t<typename first_parameter<F>::type>>) {
        return mistake::by_value;
    } else if constexpr (!faces_v<F>.empty()) {
        return mistake::none;
    } else if constexpr (states_faces<F>) {
        return stated_faces<typename F::faces>::template all_callable<F>() ? mistake::not_const
                                                                           : mistake::wrong_faces;
    } else if constexpr (called_somehow<F const>) {
        return mistake::wrong_result;
        // The next two are not one condition: the second is instantiated where the first does not hold.
        // NOLINTNEXTLINE(bugprone-branch-clone)
    } else if constexpr (!deduced_faces<F>().empty()) {
        return mistake::not_const;
    } else if constexpr (!deduced_mixed_faces<F>().empty()) {
        return mistake::not_const;
    } else {
        return mistake::not_a_stage;
    }
}

// Why `right` cannot take what comes: the kinds that come, and the kinds that it takes, have none
// in common.
constexpr mistake mismatch(unsigned comes, unsigned taken) {
    if (taken == kind_of<connection>)
        return mistake::before_http;
    if (taken == kind_of<exchange>)
        return comes == kind_of<connection> ? mistake::needs_http : mistake::before_websocket;
    return comes == kind_of<connection> ? mistake::needs_http_and_websocket
                                        : mistake::needs_websocket;
}

constexpr unsigned first_taken(face_matrix const& m) {
    unsigned in = 0;
    while (in < kinds && !m.accepts(in))
        ++in;
    return in;
}

// A static_assert takes a literal only: each sentence has to be spelled where the name of its stage
// is known.
// clang-format off
template <mistake M>
struct stage_sentence {
    static_assert(M != mistake::not_a_stage,
        "this is not a stage: a stage is awaitable<> (exchange& x, exchange::next next), with "
        "connection or message where it works on those, and without next where it is a terminal");
    static_assert(M != mistake::not_const,
        "the call operator of this stage is not const: several workers call one stage at once; "
        "write const behind its parameters (drop mutable, in a lambda), and keep what it changes "
        "in the exchange's state, in an atomic, or in a per_worker");
    static_assert(M != mistake::by_value,
        "this stage takes its connection, exchange or message by value: take it by reference, as "
        "in awaitable<> (exchange& x, exchange::next next)");
    static_assert(M != mistake::wrong_result,
        "this stage does not return awaitable<>: write awaitable<> (exchange& x, exchange::next "
        "next), and co_await next(x) or return next(x) in it");
    static_assert(M != mistake::wrong_faces,
        "this stage states faces for which it has no call operator: correct its list `faces`, or "
        "its operator");
    static_assert(M != mistake::cannot_copy,
        "this stage or chain cannot be copied: write std::move(...) around it");
};

#define RELAIS_DETAIL_ORDER_SENTENCES(name)                                                        \
    static_assert(M != ::relais::detail::mistake::after_terminal,                                  \
        "nothing can follow " name ": it answers by itself; put it last");                         \
    static_assert(M != ::relais::detail::mistake::needs_http,                                      \
        name " works on requests: put http() before it");                                          \
    static_assert(M != ::relais::detail::mistake::needs_websocket,                                 \
        name " works on messages: put websocket() before it");                                     \
    static_assert(M != ::relais::detail::mistake::needs_http_and_websocket,                        \
        name " works on messages: put http() and websocket() before it");                          \
    static_assert(M != ::relais::detail::mistake::before_http,                                     \
        name " works on connections, and here there are requests already: put it before http()");  \
    static_assert(M != ::relais::detail::mistake::before_websocket,                                \
        name " works on requests, and here there are messages already: put it before "             \
        "websocket()");                                                                            \
    static_assert(M != ::relais::detail::mistake::out_of_order,                                    \
        name " has to be outside of a stage that stands before it: put " name " first");           \
    static_assert(M != ::relais::detail::mistake::no_terminal,                                     \
        "nothing answers behind " name ": end the chain with proxy_to(...), "          \
        "respond(...) or routes(...)");                                                            \
    static_assert(M != ::relais::detail::mistake::no_terminal_for_connections,                     \
        "nothing serves the connection behind " name ": go on with http() and end with "           \
        "proxy_to(...), respond(...) or routes(...), or end with relay(...)")
// clang-format on

template <class Stage, mistake M>
struct general_sentence : stage_sentence<M> {
    RELAIS_DETAIL_ORDER_SENTENCES("this stage");
};

template <class Stage, mistake M>
constexpr void complain() {
    if constexpr (M != mistake::none) {
        if constexpr (requires { typename Stage::template relais_sentence<M>; })
            static_cast<void>(sizeof(typename Stage::template relais_sentence<M>));
        else
            static_cast<void>(sizeof(general_sentence<Stage, M>));
    }
}

// Rules about what has to be outside of what.
template <class Stage>
struct tags_provided {
    using type = tags<>;
};
template <class Stage>
    requires requires { typename Stage::provides; }
struct tags_provided<Stage> {
    using type = typename Stage::provides;
};

template <class Tag, class List>
inline constexpr bool contains_tag = false;
template <class Tag, class... Tags>
inline constexpr bool contains_tag<Tag, tags<Tags...>> = (std::same_as<Tag, Tags> || ...);

template <class Stage, class Tag>
inline constexpr bool has_sentence =
    requires { Stage::template relais_outside_of<Stage>(static_cast<Tag*>(nullptr)); };

template <class Stage, class Tag>
inline constexpr bool is_outside_of = false;
template <class Stage, class Tag>
    requires requires { typename Stage::outside_of; }
inline constexpr bool is_outside_of<Stage, Tag> = contains_tag<Tag, typename Stage::outside_of>;

template <class Stage, class Tag>
inline constexpr bool has_rule = has_sentence<Stage, Tag> || is_outside_of<Stage, Tag>;

template <class Stage, class Tag>
constexpr void check_tag() {
    if constexpr (has_sentence<Stage, Tag>)
        Stage::template relais_outside_of<Stage>(
            static_cast<Tag*>(nullptr)); // says it in the stage's own words
    else if constexpr (is_outside_of<Stage, Tag>)
        complain<Stage, mistake::out_of_order>();
}

// What goes where in a chain; a chain keeps all ways that are open, and whoever runs it picks one.
template <class... Stages>
struct plan {
    static constexpr std::size_t size = sizeof...(Stages);

    static constexpr face_matrix faces = [] {
        face_matrix const each[] = {faces_v<Stages>...};
        face_matrix m = each[0];
        for (std::size_t i = 1; i < size; ++i)
            m = m * each[i];
        return m;
    }();

    // Whether stage `at` gets `in` on one of the ways.
    static consteval bool takes(std::size_t at, unsigned in) {
        face_matrix const each[] = {faces_v<Stages>...};
        face_matrix before = each[0];
        for (std::size_t i = 1; i < at; ++i)
            before = before * each[i];
        face_matrix behind = each[at];
        for (std::size_t i = at + 1; i < size; ++i)
            behind = behind * each[i];
        return (at == 0 || before.gives(in)) && behind.accepts(in);
    }

    // Whether stage `outer` works on nothing but what stage `inner` works on too.
    static consteval bool meet(std::size_t outer, std::size_t inner) {
        for (unsigned in = 0; in < kinds; ++in)
            if (takes(outer, in) && !takes(inner, in))
                return false;
        return true;
    }

    // What stage `at` hands on when it gets `in` and the chain as a whole has to end in `target`.
    // The same kind comes first.
    static consteval unsigned out_of(std::size_t at, unsigned in, unsigned target) {
        face_matrix const each[] = {faces_v<Stages>...};
        bool open[kinds] = {}; // which kinds the stages from `i` on take to the target
        if (target != nothing)
            open[target] = true;
        for (std::size_t i = size - 1; i > at; --i) {
            bool before[kinds] = {};
            for (unsigned k = 0; k < kinds; ++k) {
                before[k] = target == nothing && i == size - 1 && each[i].at[k][nothing];
                for (unsigned out = 0; out < kinds; ++out)
                    before[k] |= each[i].at[k][out] && open[out];
            }
            for (unsigned k = 0; k < kinds; ++k)
                open[k] = before[k];
        }
        if (target == nothing && at == size - 1)
            return nothing;
        if (each[at].at[in][in] && open[in])
            return in;
        unsigned out = 0;
        while (out < kinds && !(each[at].at[in][out] && open[out]))
            ++out;
        return out;
    }
};

template <class In, class... Stages>
concept serves = kind<In> && plan<Stages...>::faces.at[kind_of<In>][nothing];

template <class In, class Out, class... Stages>
concept leads = kind<In> && kind<Out> && plan<Stages...>::faces.at[kind_of<In>][kind_of<Out>];

template <class First, class... Rest>
struct ends_of {
    using first = First;
    using last = typename ends_of<Rest...>::last;
};
template <class Only>
struct ends_of<Only> {
    using first = Only;
    using last = Only;
};

template <class T>
inline constexpr bool is_chain = false;
template <class... Stages>
inline constexpr bool is_chain<chain<Stages...>> = true;

template <class... Left, class... Right>
chain<Left..., Right...> join(chain<Left...>&& left, chain<Right...>&& right);

template <class T>
concept library_stage =
    is_chain<std::remove_cvref_t<T>> || std::is_base_of_v<stage_base, std::remove_cvref_t<T>>;

// A user's function may stand on the left as well, where the other side is known to be a stage.
template <class T>
inline constexpr bool has_faces = !faces_v<T>.empty();

// Known without asking: nothing is instantiated for other people's operators.
template <class F>
inline constexpr bool names_a_kind =
    kind<std::remove_cvref_t<typename first_parameter<std::decay_t<F>>::type>>;

template <class Left, class Right>
concept both_own =
    !library_stage<Left> && !library_stage<Right> && names_a_kind<Left> && names_a_kind<Right>;

template <class Left, class Right>
concept composable = library_stage<Left> || (library_stage<Right> && has_faces<std::decay_t<Left>>);

} // namespace detail
} // namespace relais
