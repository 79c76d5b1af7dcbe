// expect: tls() works on connections, and here there are requests already: put it before http()
#include "stages.hpp"

namespace {
namespace connections_behind_http {

using namespace stages;

[[maybe_unused]] void test() {
    (void)(WRONG_OR_RIGHT(http() | cors() | tls(), tls() | http() | cors()));
}

} // namespace connections_behind_http
} // namespace
