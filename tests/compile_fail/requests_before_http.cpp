// expect: cors() works on requests: put http() before it
#include "stages.hpp"

namespace {
namespace requests_before_http {

using namespace stages;

[[maybe_unused]] void test() {
    (void)(WRONG_OR_RIGHT(tls() | cors(), tls() | http() | cors()));
}

} // namespace requests_before_http
} // namespace
