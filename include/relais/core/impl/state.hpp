#pragma once

#include <relais/core/state.hpp>

#include <type_traits>

namespace relais {
namespace detail {

// Its address tells types apart. Not const: linkers may fold equal constants.
template <class T>
inline char type_mark = 0;

} // namespace detail

template <class T>
struct state::node_of : node {
    template <class... Arguments>
    explicit node_of(Arguments&&... arguments)
        : node{nullptr, &detail::type_mark<T>,
               [](node* self) noexcept { delete static_cast<node_of*>(self); }},
          object(std::forward<Arguments>(arguments)...) {}

    T object;
};

template <class T, class... Arguments>
T& state::emplace(Arguments&&... arguments) {
    static_assert(std::is_same_v<T, std::remove_cvref_t<T>>,
                  "state keeps objects: name a type without const and &");
    erase<T>();
    auto* made = new node_of<T>(std::forward<Arguments>(arguments)...);
    made->older = newest_;
    newest_ = made;
    return made->object;
}

template <class T>
T* state::find() noexcept {
    node** link = link_of(&detail::type_mark<T>);
    return link ? &static_cast<node_of<T>*>(*link)->object : nullptr;
}

template <class T>
T const* state::find() const noexcept {
    return const_cast<state*>(this)->find<T>();
}

template <class T>
T& state::get() {
    if (auto* found = find<T>())
        return *found;
    throw_missing();
}

template <class T>
T const& state::get() const {
    return const_cast<state*>(this)->get<T>();
}

template <class T>
bool state::erase() noexcept {
    node** link = link_of(&detail::type_mark<T>);
    if (!link)
        return false;
    node* gone = *link;
    *link = gone->older;
    gone->destroy(gone);
    return true;
}

} // namespace relais
