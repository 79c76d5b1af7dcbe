// expect: this stage takes its connection, exchange or message by value: take it by reference, as in awaitable<> (exchange& x, exchange::next next)
#include "stages.hpp"

namespace {
namespace by_value {

using namespace stages;

awaitable<> copying(exchange WRONG_OR_RIGHT(, &) x, exchange::next next);

[[maybe_unused]] void test() {
    (void)(http() | copying);
}

} // namespace by_value
} // namespace
