#pragma once

#include <relais/core/state.hpp>

namespace relais {

RELAIS_DECL state& state::operator=(state&& other) noexcept {
    if (this != &other) {
        clear();
        newest_ = std::exchange(other.newest_, nullptr);
    }
    return *this;
}

RELAIS_DECL void state::clear() noexcept {
    while (node* gone = newest_) {
        newest_ = gone->older;
        gone->destroy(gone);
    }
}

RELAIS_DECL void state::throw_missing() {
    throw stage_misuse("state of a type was asked for that no stage has made: emplace<T>() it in a "
                       "stage that stands "
                       "before, or ask with find<T>()");
}

RELAIS_DECL state::node** state::link_of(void const* type) noexcept {
    for (node** link = &newest_; *link; link = &(*link)->older)
        if ((*link)->type == type)
            return link;
    return nullptr;
}

} // namespace relais
