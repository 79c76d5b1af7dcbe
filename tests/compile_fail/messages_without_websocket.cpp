// expect: this stage works on messages: put websocket() before it
#include "stages.hpp"

namespace {
namespace messages_without_websocket {

using namespace stages;

[[maybe_unused]] void test() {
    (void)(WRONG_OR_RIGHT(http() | cors() | redact, http() | cors() | websocket() | redact));
}

} // namespace messages_without_websocket
} // namespace
