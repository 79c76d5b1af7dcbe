#pragma once

#include <relais/config.hpp>
#include <relais/core/error.hpp>

#include <utility>

namespace relais {

/// Objects that stages keep for one exchange or one connection, found by their type.
///
///     struct session { std::string user; };
///     x.state.emplace<session>(std::move(name));      // in an outer stage
///     auto& user = x.state.get<session>().user;       // in an inner one
///
/// Made for a handful of objects: looking one up walks a list. Costs a pointer while it is empty.
/// Objects are destroyed in the opposite order of their making; while one is, those made before it
/// are still found. One worker's thread only.
class state {
public:
    state() noexcept = default;
    state(state&& other) noexcept : newest_(std::exchange(other.newest_, nullptr)) {}
    state& operator=(state&& other) noexcept;
    ~state() { clear(); }

    /// Makes the object of type `T`; one that was there is destroyed first. References to it last
    /// until `erase`, `clear`, or the next `emplace` of the same type.
    template <class T, class... Arguments>
    T& emplace(Arguments&&... arguments);

    /// The object of type `T`, or null.
    template <class T>
    T* find() noexcept;
    template <class T>
    T const* find() const noexcept;

    /// The object of type `T`.
    /// \throws stage_misuse when there is none: the stage that makes it has to stand outside of the
    /// one that asks.
    template <class T>
    T& get();
    template <class T>
    T const& get() const;

    /// Destroys the object of type `T`. \return whether there was one.
    template <class T>
    bool erase() noexcept;

    /// Destroys all objects, the newest first.
    void clear() noexcept;

    bool empty() const noexcept { return newest_ == nullptr; }

private:
    struct node {
        node* older;
        void const* type;
        void (*destroy)(node*) noexcept;
    };

    template <class T>
    struct node_of;

    [[noreturn]] static void throw_missing();
    node** link_of(void const* type) noexcept;

    node* newest_ = nullptr;
};

} // namespace relais

#include <relais/core/impl/state.hpp>

#if defined(RELAIS_HEADER_ONLY)
#include <relais/core/impl/state.ipp>
#endif
