// expect: the call operator of this stage is not const: several workers call one stage at once; write const behind its parameters (drop mutable, in a lambda), and keep what it changes in the exchange's state, in an atomic, or in a per_worker
#include "stages.hpp"

namespace {
namespace operator_not_const {

using namespace stages;

struct counting {
    awaitable<> operator()(exchange& x, exchange::next next) WRONG_OR_RIGHT(, const);
};

[[maybe_unused]] void test() {
    (void)(http() | counting());
}

} // namespace operator_not_const
} // namespace
