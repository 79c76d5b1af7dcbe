// expect: this stage states faces for which it has no call operator: correct its list `faces`, or its operator
#include "stages.hpp"

namespace {
namespace wrong_faces {

using namespace stages;

struct claiming {
    using faces = relais::faces<relais::face<WRONG_OR_RIGHT(connection, exchange)>>;
    awaitable<> operator()(exchange& x, exchange::next next) const;
};

[[maybe_unused]] void test() {
    (void)relais::stage(claiming());
}

} // namespace wrong_faces
} // namespace
