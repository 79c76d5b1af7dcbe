// expect: this is not a stage: a stage is awaitable<> (exchange& x, exchange::next next), with connection or message where it works on those, and without next where it is a terminal
#include "stages.hpp"

namespace {
namespace not_a_stage {

using namespace stages;

[[maybe_unused]] void test() {
    (void)(http() | WRONG_OR_RIGHT(42, signed_in));
}

} // namespace not_a_stage
} // namespace
