// expect: http() works on connections, and here there are requests already: put it before http()
#include "stages.hpp"

namespace {
namespace branch_of_connections {

using namespace stages;

[[maybe_unused]] void test() {
    relais::any_chain<exchange> branch(
        WRONG_OR_RIGHT(http() | cors() | proxy_to(), cors() | proxy_to()));
}

} // namespace branch_of_connections
} // namespace
