// expect: nothing answers behind this stage: end the chain with proxy_to(...), respond(...) or routes(...)
#include "stages.hpp"

namespace {
namespace no_terminal_behind_users_stage {

using namespace stages;

[[maybe_unused]] void test() {
    relais::require_complete<exchange>(
        WRONG_OR_RIGHT(cors() | signed_in, cors() | signed_in | proxy_to()));
}

} // namespace no_terminal_behind_users_stage
} // namespace
