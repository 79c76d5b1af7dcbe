// expect: nothing can follow proxy_to(): it answers by itself; put it last
#include "stages.hpp"

namespace {
namespace behind_a_terminal {

using namespace stages;

[[maybe_unused]] void test() {
    (void)(WRONG_OR_RIGHT(http() | proxy_to() | cors(), http() | cors() | proxy_to()));
}

} // namespace behind_a_terminal
} // namespace
