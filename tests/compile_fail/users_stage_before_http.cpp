// expect: this stage works on requests: put http() before it
#include "stages.hpp"

namespace {
namespace users_stage_before_http {

using namespace stages;

[[maybe_unused]] void test() {
    (void)(WRONG_OR_RIGHT(tls() | signed_in, tls() | http() | signed_in));
}

} // namespace users_stage_before_http
} // namespace
