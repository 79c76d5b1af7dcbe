// expect: cors() has to be outside of authentication: put cors() before it
#include "stages.hpp"

namespace {
namespace outside_of_authentication {

using namespace stages;

[[maybe_unused]] void test() {
    (void)(WRONG_OR_RIGHT(http() | basic_auth() | signed_in | cors(),
                          http() | cors() | basic_auth() | signed_in));
}

} // namespace outside_of_authentication
} // namespace
