// expect: nothing serves the connection behind tls(): go on with http() and end with proxy_to(...), respond(...) or routes(...), or end with relay(...)
#include "stages.hpp"

namespace {
namespace no_terminal_for_a_connection {

using namespace stages;

[[maybe_unused]] void test() {
    relais::require_complete<connection>(WRONG_OR_RIGHT(tls(), tls() | relay()));
}

} // namespace no_terminal_for_a_connection
} // namespace
