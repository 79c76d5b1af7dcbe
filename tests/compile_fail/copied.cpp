// expect: this stage or chain cannot be copied: write std::move(...) around it
#include "stages.hpp"

namespace {
namespace copied {

using namespace stages;

struct owning {
    std::unique_ptr<int> owned;
    awaitable<> operator()(exchange& x, exchange::next next) const;
};

[[maybe_unused]] void test() {
    auto guards = relais::stage(owning()) | signed_in;
    (void)(http() | WRONG_OR_RIGHT(guards, std::move(guards)));
}

} // namespace copied
} // namespace
