// expect: this stage has to be outside of a stage that stands before it: put this stage first
#include "stages.hpp"

namespace {
namespace users_stage_outside {

using namespace stages;

struct stamp {
    using outside_of = relais::tags<relais::authentication>;
    awaitable<> operator()(exchange& x, exchange::next next) const;
};

[[maybe_unused]] void test() {
    (void)(WRONG_OR_RIGHT(basic_auth() | stamp(), relais::stage(stamp()) | basic_auth()));
}

} // namespace users_stage_outside
} // namespace
