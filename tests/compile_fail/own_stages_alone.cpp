// expect: two functions or classes of one's own make no chain by themselves: begin it with stage(), as in stage(first) | second
#include "stages.hpp"

namespace {
namespace own_stages_alone {

using namespace relais;
using stages::http;

[[maybe_unused]] void test() {
    auto const first = [](exchange& x, exchange::next next) -> awaitable<> { return next(x); };
    auto const second = first;
    (void)(http() | (WRONG_OR_RIGHT(first, stage(first)) | second));
}

} // namespace own_stages_alone
} // namespace
