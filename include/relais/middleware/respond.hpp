#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>
#include <relais/http/fields.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace relais {

/// Fields of a response, as a list of names and values.
using field_list = std::vector<std::pair<std::string, std::string>>;

/// A terminal that gives every request the same answer.
class respond_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("respond()");

    respond_stage(unsigned status, std::string body, field_list fields);
    awaitable<> operator()(exchange& x) const;

    /// \throws startup_error
    void prepare() const;

private:
    struct answer;
    std::shared_ptr<answer const> answer_;
};

/// `respond(200, "ok\n")`, `respond(503, "later\n", {{"Retry-After", "60"}})`.
///
/// \param status 200 to 599. \param body text; it is plain UTF-8 unless `fields` has a Content-Type.
[[nodiscard]] inline respond_stage respond(unsigned status, std::string body = {},
                                           field_list fields = {}) {
    return respond_stage(status, std::move(body), std::move(fields));
}
[[nodiscard]] inline respond_stage respond(status status, std::string body = {},
                                           field_list fields = {}) {
    return respond_stage(static_cast<unsigned>(status), std::move(body), std::move(fields));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/middleware/impl/respond.ipp>
#endif
