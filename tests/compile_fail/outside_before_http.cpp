// expect: real_ip() has to be outside of a stage that stands before it: put real_ip() first
#include "stages.hpp"

namespace {
namespace outside_before_http {

using namespace stages;

// It is not known yet whether http() will stand before these, but they cannot stand before http().
[[maybe_unused]] void test() {
    (void)(WRONG_OR_RIGHT(allow() | real_ip(), real_ip() | allow()));
}

} // namespace outside_before_http
} // namespace
