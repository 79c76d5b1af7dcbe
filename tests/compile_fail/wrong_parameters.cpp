// expect: this is not a stage: a stage is awaitable<> (exchange& x, exchange::next next), with connection or message where it works on those, and without next where it is a terminal
#include "stages.hpp"

namespace {
namespace wrong_parameters {

using namespace stages;

awaitable<> reversed(WRONG_OR_RIGHT(exchange::next next, exchange& x),
                     WRONG_OR_RIGHT(exchange& x, exchange::next next));

[[maybe_unused]] void test() {
    (void)(http() | reversed);
}

} // namespace wrong_parameters
} // namespace
