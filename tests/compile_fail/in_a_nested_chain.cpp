// expect: cors() works on requests: put http() before it
#include "stages.hpp"

namespace {
namespace in_a_nested_chain {

using namespace stages;

[[maybe_unused]] void test() {
    auto middle = cors() | signed_in;
    (void)(WRONG_OR_RIGHT(tls() | (middle | proxy_to()), tls() | http() | (middle | proxy_to())));
}

} // namespace in_a_nested_chain
} // namespace
