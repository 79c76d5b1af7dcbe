#pragma once

#include <relais/config.hpp>

#include <boost/asio/awaitable.hpp>

namespace relais {

/// What every stage returns: Boost.Asio's coroutine with its default executor, so that `use_awaitable` and every
/// Asio library work inside a stage.
template <class T = void>
using awaitable = boost::asio::awaitable<T>;

namespace detail {

/// For a plain function in the place of a coroutine that has nothing to await.
inline awaitable<> done() {
    co_return;
}

} // namespace detail

} // namespace relais
