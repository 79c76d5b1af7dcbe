// expect: this stage works on messages: put http() and websocket() before it
#include "stages.hpp"

namespace {
namespace messages_of_connections {

using namespace stages;

[[maybe_unused]] void test() {
    (void)(WRONG_OR_RIGHT(tls() | redact, tls() | http() | websocket() | redact));
}

} // namespace messages_of_connections
} // namespace
