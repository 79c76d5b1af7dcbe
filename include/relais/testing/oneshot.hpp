#pragma once

#include <relais/config.hpp>
#include <relais/core/error.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/fields.hpp>
#include <relais/http/http.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace relais::testing {

/// A request for `oneshot`.
struct oneshot_request {
    std::string method = "GET";
    std::string target = "/";
    std::string
        fields{}; ///< lines that end in CRLF; Host and Content-Length are added where they are missing
    std::string body{};
};

/// What a chain answered.
struct oneshot_response {
    unsigned status = 0;          ///< 0: nothing was answered
    std::unique_ptr<fields> head; ///< the fields of the response
    std::string body;             ///< its content, without framing
    std::string raw;              ///< everything that was sent
    bool closed = false;          ///< whether the connection was closed behind it
    end_reason connection_reason = end_reason::completed;

    /// The first value of a field; empty when there is none.
    std::string_view operator[](std::string_view name) const {
        return head ? (*head)[name] : std::string_view();
    }
};

/// Sends one request through a chain of connections (`http() | ...`) in memory, and waits for nothing but what is ready.
oneshot_response oneshot(any_chain<connection> chain, oneshot_request const& request);

/// The same for whatever can be put in such a chain: in front of stages of exchanges goes `http()`.
template <class Stage>
    requires(!std::is_same_v<Stage, any_chain<connection>>)
oneshot_response oneshot(Stage const& stages, oneshot_request const& request = {}) {
    if constexpr (requires { stage(stages).template entry<connection>(); })
        return oneshot(any_chain<connection>(stages), request);
    else
        return oneshot(any_chain<connection>(http() | stages), request);
}

} // namespace relais::testing

#if defined(RELAIS_HEADER_ONLY)
#include <relais/testing/impl/oneshot.ipp>
#endif
