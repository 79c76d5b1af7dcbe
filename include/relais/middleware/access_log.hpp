#pragma once

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/stage.hpp>
#include <relais/http/exchange.hpp>

#include <memory>
#include <string>

namespace relais {

/// Where the access log goes.
struct access_log_options {
    /// A file that lines are appended to; empty: standard output.
    std::string file{};
};

/// Writes one line for each exchange when it ends: nginx's combined format, and behind it the seconds it took, the word of
/// its `end_reason`, and where an upstream was asked, what `x.upstream` knows of it, times in seconds.
///
///     192.0.2.7 - ann [23/Nov/2026:06:53:12 +0000] "GET /a HTTP/1.1" 200 1234 "https://abc.com/" "curl/8" 0.012 completed
///     upstream=10.0.0.1:8080 tries=1 connect=0.000 first=0.011 total=0.012
///
/// (in one line).
///
/// A tunnel's line comes when it closes. What a client wrote cannot break a line or the terminal that shows it: quotes,
/// backslashes, control bytes and bytes beyond ASCII are written as `\xHH`. A worker gathers lines and writes whole ones
/// at once, after a tenth of a second at the latest. A pipe or a terminal that nobody reads stops no worker: each keeps
/// about 1 MiB of lines, and says later how many more there were. The stage has no coroutine frame.
class access_log_stage : public stage_base {
public:
    RELAIS_STAGE_NAME("access_log()");
    explicit access_log_stage(access_log_options options);
    awaitable<> operator()(exchange& x, exchange::next next) const;

    /// Opens the file. \throws startup_error
    void prepare() const;

    /// Opens the file anew, for programs that rename logs to begin a new one (logrotate). \throws startup_error, and goes on
    /// with the one it has
    void reload() const;

private:
    struct output;
    struct lines;
    std::shared_ptr<output> output_;
};

/// An access log; to standard output unless a file is named.
inline access_log_stage access_log(access_log_options options = {}) {
    return access_log_stage(std::move(options));
}

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/middleware/impl/access_log.ipp>
#endif
