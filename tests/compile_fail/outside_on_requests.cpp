// expect: real_ip() has to be outside of a stage that stands before it: put real_ip() first
#include "stages.hpp"

namespace {
namespace outside_on_requests {

using namespace stages;

// The same stage decides about connections where it stands before http(), and then there is no rule for it.
[[maybe_unused]] void test() {
    (void)(allow() | http() | real_ip() | allow() | proxy_to());
    (void)((allow() | allow()) | (http() | (real_ip() | signed_in)));
    (void)(WRONG_OR_RIGHT(http() | (allow() | signed_in) | (signed_in | real_ip()),
                          http() | (real_ip() | signed_in) | (signed_in | allow())));
}

} // namespace outside_on_requests
} // namespace
