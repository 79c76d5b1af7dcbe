// expect: cors() works on requests, and here there are messages already: put it before websocket()
#include "stages.hpp"

namespace {
namespace requests_behind_websocket {

using namespace stages;

[[maybe_unused]] void test() {
    (void)(WRONG_OR_RIGHT(websocket() | redact | cors(), cors() | websocket() | redact));
}

} // namespace requests_behind_websocket
} // namespace
