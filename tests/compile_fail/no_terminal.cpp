// expect: nothing answers behind cors(): end the chain with proxy_to(...), respond(...) or routes(...)
#include "stages.hpp"

namespace {
namespace no_terminal {

using namespace stages;

[[maybe_unused]] void test() {
    relais::require_complete<connection>(
        WRONG_OR_RIGHT(http() | cors(), http() | cors() | proxy_to()));
}

} // namespace no_terminal
} // namespace
