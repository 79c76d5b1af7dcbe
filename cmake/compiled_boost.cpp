// relais::compiled: the bodies of Asio and Beast, apart from ours because they never change.

#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>
