// expect: the call operator of this stage is not const: several workers call one stage at once; write const behind its parameters (drop mutable, in a lambda), and keep what it changes in the exchange's state, in an atomic, or in a per_worker
#include "stages.hpp"

namespace {
namespace mutable_lambda {

using namespace stages;

[[maybe_unused]] void test() {
    int calls = 0;
    auto counting = [calls](exchange& x, exchange::next next)
                        WRONG_OR_RIGHT(mutable, ) -> awaitable<> {
        (void)calls;
        return next(x);
    };
    (void)relais::stage(counting);
}

} // namespace mutable_lambda
} // namespace
