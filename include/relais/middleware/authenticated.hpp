#pragma once

#include <string>

namespace relais {

/// Who a request comes from: left in `x.state` by the stages that check it, read by those that follow and by the
/// access log.
///
///     if (auto const* user = x.state.find<authenticated>()) ... user->name
struct authenticated {
    std::string name;
};

} // namespace relais
