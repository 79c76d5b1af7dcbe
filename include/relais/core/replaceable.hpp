#pragma once

#include <relais/config.hpp>

#include <memory>
#include <mutex>
#include <utility>

namespace relais {

/// A shared object that one thread replaces while others take it; who has taken it keeps it.
///
/// In the place of `std::atomic<std::shared_ptr>`, whose `load()` is a race in libstdc++ 12.
template <class T>
class replaceable {
public:
    replaceable() = default;
    explicit replaceable(std::shared_ptr<T> value) : value_(std::move(value)) {}

    std::shared_ptr<T> load() const {
        std::lock_guard lock(mutex_);
        return value_;
    }

    void store(std::shared_ptr<T> value) {
        std::lock_guard lock(mutex_);
        value_.swap(value);
    }

private:
    mutable std::mutex mutex_;
    std::shared_ptr<T> value_;
};

} // namespace relais
