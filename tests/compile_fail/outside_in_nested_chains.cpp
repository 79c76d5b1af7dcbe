// expect: real_ip() has to be outside of a stage that stands before it: put real_ip() first
#include "stages.hpp"

namespace {
namespace outside_in_nested_chains {

using namespace stages;

[[maybe_unused]] void test() {
    auto guards = rate_limit() | signed_in;
    (void)(WRONG_OR_RIGHT(guards | (basic_auth() | real_ip()),
                          (basic_auth() | real_ip()) | guards));
}

} // namespace outside_in_nested_chains
} // namespace
