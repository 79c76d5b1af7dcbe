// expect: cors() works on requests: put http() before it
#include "stages.hpp"

namespace {
namespace listening_without_http {

using namespace stages;

[[maybe_unused]] void test() {
    relais::any_chain<connection> whole(
        WRONG_OR_RIGHT(cors() | proxy_to(), http() | cors() | proxy_to()));
}

} // namespace listening_without_http
} // namespace
