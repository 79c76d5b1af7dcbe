// expect: this stage does not return awaitable<>: write awaitable<> (exchange& x, exchange::next next), and co_await next(x) or return next(x) in it
#include "stages.hpp"

namespace {
namespace wrong_result {

using namespace stages;

WRONG_OR_RIGHT(void, awaitable<>) plain(exchange& x, exchange::next next);

[[maybe_unused]] void test() {
    (void)(http() | plain);
}

} // namespace wrong_result
} // namespace
