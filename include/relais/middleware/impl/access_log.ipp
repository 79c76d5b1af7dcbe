#pragma once

#include <relais/core/deadline.hpp>
#include <relais/core/report.hpp>
#include <relais/core/worker.hpp>
#include <relais/middleware/access_log.hpp>
#include <relais/middleware/authenticated.hpp>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <string>
#include <unistd.h>
#include <utility>

namespace relais {

struct access_log_stage::output {
    access_log_options options;
    int descriptor = -1;
    bool failing = false; ///< said once

    ~output() {
        if (descriptor >= 0 && descriptor != STDOUT_FILENO)
            ::close(descriptor);
    }

    void write(std::string_view whole_lines) {
        while (!whole_lines.empty()) {
            auto count = ::write(descriptor, whole_lines.data(), whole_lines.size());
            if (count < 0) {
                if (errno == EINTR)
                    continue;
                if (!std::exchange(failing, true))
                    report("the access log cannot be written to: " +
                           std::string(std::strerror(errno)) + "; lines are lost");
                return;
            }
            whole_lines.remove_prefix(static_cast<std::size_t>(count));
        }
    }
};

/// The lines of one worker that are not written yet.
struct access_log_stage::lines {
    explicit lines(std::shared_ptr<output> to) : out(std::move(to)), timer(*this) {}
    ~lines() { flush(); }

    void flush() {
        out->write(text.view());
        text.clear();
    }

    void end_line() {
        text.put("\n");
        if (text.size() >= 32 * 1024)
            flush();
        else if (!timer.is_armed())
            worker::current().deadlines().arm(
                timer, deadline_wheel::ticks_of(std::chrono::milliseconds(1)));
    }

    void add(exchange& x);
    void put_escaped(std::string_view bytes);
    void put_or_dash(std::string_view bytes) { put_escaped(bytes.empty() ? "-" : bytes); }
    std::string_view date();

    struct flush_timer final : deadline {
        explicit flush_timer(lines& l) noexcept
            : deadline([](deadline& self) { static_cast<flush_timer&>(self).of.flush(); }), of(l) {}
        lines& of;
    };

    std::shared_ptr<output> out;
    text_buffer text;
    flush_timer timer;
    std::time_t dated = -1;
    char date_text[27] = "";
};

RELAIS_DECL void access_log_stage::lines::put_escaped(std::string_view bytes) {
    auto plain = [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; };
    std::size_t from = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (plain(bytes[i]))
            continue;
        constexpr char digits[] = "0123456789ABCDEF";
        auto value = static_cast<unsigned char>(bytes[i]);
        char escape[4] = {'\\', 'x', digits[value >> 4], digits[value & 15]};
        text.put(bytes.substr(from, i - from)).put({escape, sizeof escape});
        from = i + 1;
    }
    text.put(bytes.substr(from));
}

RELAIS_DECL std::string_view access_log_stage::lines::date() {
    auto now = std::chrono::system_clock::to_time_t(worker::current().wall_time());
    if (now != dated) {
        dated = now;
        std::tm utc{};
        ::gmtime_r(&now, &utc);
        std::string_view months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        auto two = [&](std::size_t at, int value) {
            date_text[at] = static_cast<char>('0' + value / 10 % 10);
            date_text[at + 1] = static_cast<char>('0' + value % 10);
        };
        std::memcpy(date_text, "00/Jan/0000:00:00:00 +0000", sizeof date_text);
        two(0, utc.tm_mday);
        months.copy(date_text + 3, 3, static_cast<std::size_t>(3 * utc.tm_mon));
        two(7, (utc.tm_year + 1900) / 100);
        two(9, (utc.tm_year + 1900) % 100);
        two(12, utc.tm_hour);
        two(15, utc.tm_min);
        two(18, utc.tm_sec);
    }
    return {date_text, sizeof date_text - 1};
}

RELAIS_DECL void access_log_stage::lines::add(exchange& x) {
    auto const& q = x.request;
    put_or_dash(x.client_address());
    text.put(" - ");
    auto const* user = x.state.find<authenticated>();
    put_or_dash(user ? std::string_view(user->name) : std::string_view());
    text.put(" [").put(date()).put("] \"");
    put_escaped(q.method_text());
    text.put(" ");
    put_escaped(q.target());
    text.put(q.version() == 10 ? " HTTP/1.0\" " : " HTTP/1.1\" ");
    text.put_number(x.head_sent() ? x.response.status() : describe(x.reason()).logged_status);
    text.put(" ").put_number(x.body_bytes_sent()).put(" \"");
    put_or_dash(q[known_field::referer]);
    text.put("\" \"");
    put_or_dash(q[known_field::user_agent]);
    text.put("\" ");
    auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
        worker::current().batch_time() - x.started());
    auto ms = static_cast<std::uint64_t>(std::max<std::int64_t>(took.count(), 0));
    char thousandths[4] = {'.', static_cast<char>('0' + ms / 100 % 10),
                           static_cast<char>('0' + ms / 10 % 10), static_cast<char>('0' + ms % 10)};
    text.put_number(ms / 1000)
        .put({thousandths, sizeof thousandths})
        .put(" ")
        .put(word_of(x.reason()));
    end_line();
}

RELAIS_DECL access_log_stage::access_log_stage(access_log_options options)
    : output_(std::make_shared<output>()) {
    output_->options = std::move(options);
}

RELAIS_DECL void access_log_stage::prepare() const {
    auto& out = *output_;
    if (out.descriptor >= 0)
        return;
    if (out.options.file.empty()) {
        out.descriptor = STDOUT_FILENO;
        return;
    }
    out.descriptor =
        ::open(out.options.file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (out.descriptor < 0)
        throw startup_error("access_log({.file = \"" + out.options.file +
                            "\"}) cannot be opened: " + std::strerror(errno) +
                            "; name a file in a directory that this program may write to");
}

RELAIS_DECL awaitable<> access_log_stage::operator()(exchange& x, exchange::next next) const {
    auto& mine = worker::current().local<lines>(
        output_.get(), [this] { return std::make_shared<lines>(output_); });
    x.on_complete([&mine](exchange& ended) { mine.add(ended); });
    return next(x);
}

} // namespace relais
