#pragma once

#include <relais/config.hpp>

#include <boost/asio/awaitable.hpp>

namespace relais {

/// What every stage returns: Boost.Asio's coroutine with its default executor, so that `use_awaitable` and every
/// Asio library work inside a stage.
template <class T = void>
using awaitable = boost::asio::awaitable<T>;

} // namespace relais
