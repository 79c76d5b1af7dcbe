#pragma once

#include <relais/config.hpp>
#include <relais/core/worker.hpp>

#include <memory>
#include <type_traits>
#include <utility>

namespace relais {

/// One object of `T` for each worker, made where it is first used: what a stage wants to have
/// without synchronisation (a pool of connections, a cache, counters).
///
///     class counting {
///     public:
///         awaitable<> operator()(exchange& x, exchange::next next) const {
///             ++requests_->total;
///             return next(x);
///         }
///
///     private:
///         per_worker<counters> requests_;
///     };
///
/// Copies mean the same objects, so that a stage may be copied into several chains. An object lives
/// until its worker ends, and dies on the worker's thread. To be used on workers only.
template <class T>
class per_worker {
public:
    /// Objects are made by their default constructor.
    per_worker()
        requires std::is_default_constructible_v<T>
        : per_worker([] { return T(); }) {}

    /// Objects are made by `make()`, which is called by several workers at once and returns a `T`.
    template <class Make>
        requires std::is_invocable_r_v<T, Make const&>
    explicit per_worker(Make make) : source_(std::make_shared<source_of<Make>>(std::move(make))) {}

    /// The object of the current worker. What the first use throws while it makes the object is
    /// passed on, and the next use tries again.
    T& get() const;

    T& operator*() const { return get(); }
    T* operator->() const { return &get(); }

private:
    struct source {
        virtual ~source() = default;
        virtual T make() const = 0;
    };

    template <class Make>
    struct source_of final : source {
        explicit source_of(Make m) : function(std::move(m)) {}
        T make() const override { return function(); }
        Make function;
    };

    // Holds the source too: its address is the key, and must not come again while the object lives.
    struct held {
        explicit held(std::shared_ptr<source const> s) : from(std::move(s)), object(from->make()) {}
        std::shared_ptr<source const> from;
        T object;
    };

    std::shared_ptr<source const> source_;
};

template <class T>
T& per_worker<T>::get() const {
    RELAIS_ASSERT(worker::on_a_worker());
    return worker::current().template local<T>(source_.get(), [&] {
        auto made = std::make_shared<held>(source_);
        return std::shared_ptr<T>(made, &made->object);
    });
}

} // namespace relais
