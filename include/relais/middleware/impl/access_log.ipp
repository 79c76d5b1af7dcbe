#pragma once

#include <relais/core/deadline.hpp>
#include <relais/core/report.hpp>
#include <relais/core/worker.hpp>
#include <relais/middleware/access_log.hpp>
#include <relais/middleware/authenticated.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <mutex>
#include <poll.h>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace relais {

struct access_log_stage::output {
    access_log_options options;
    int descriptor = -1;
    std::atomic<bool> has_reader{false}; ///< a pipe, a terminal: it may stop taking lines
    std::mutex one_writer;               ///< between asking whether it takes lines and writing them
    lines const* amid = nullptr;         ///< who has written a part of a line, and goes on first
    std::atomic<bool> failing{false};

    ~output() {
        if (descriptor >= 0 && descriptor != STDOUT_FILENO)
            ::close(descriptor);
    }

    void open();
    void open_again();
    int open_file() const;
    void look_at_it();
    std::size_t write(lines const& from, std::string_view text);
    void leave(lines const& from);
    bool takes_lines() const noexcept;
};

RELAIS_DECL int access_log_stage::output::open_file() const {
    int const opened =
        ::open(options.file.c_str(),
               O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (opened < 0)
        throw startup_error("access_log({.file = \"" + options.file +
                            "\"}) cannot be opened: " + std::generic_category().message(errno) +
                            "; name a file in a directory that this program may write to");
    return opened;
}

RELAIS_DECL void access_log_stage::output::open() {
    descriptor = options.file.empty() ? STDOUT_FILENO : open_file();
    look_at_it();
}

/// In the place of the old one in one step: workers write meanwhile.
RELAIS_DECL void access_log_stage::output::open_again() {
    if (descriptor < 0 || options.file.empty())
        return;
    int const opened = open_file();
    std::scoped_lock lock(one_writer);
    ::dup3(opened, descriptor, O_CLOEXEC);
    ::close(opened);
    look_at_it();
    failing = false;
}

RELAIS_DECL void access_log_stage::output::look_at_it() {
    struct stat about {};
    bool known = ::fstat(descriptor, &about) == 0;
    has_reader = known && (S_ISFIFO(about.st_mode) || S_ISSOCK(about.st_mode) ||
                           (S_ISCHR(about.st_mode) && ::isatty(descriptor)));
}

RELAIS_DECL bool access_log_stage::output::takes_lines() const noexcept {
    pollfd asked{descriptor, POLLOUT, 0};
    return ::poll(&asked, 1, 0) != 0; // an error is found by the write
}

/// Writes what can be written at once. \return how many bytes need not be kept: written, or lost for good.
RELAIS_DECL std::size_t access_log_stage::output::write(lines const& from, std::string_view text) {
    // What a pipe takes as a whole, and without waiting once it takes anything.
    constexpr std::size_t piece_size = PIPE_BUF;
    std::size_t done = 0;
    std::unique_lock lock(one_writer, std::defer_lock);
    if (has_reader)
        lock.lock();
    if (amid && amid != &from)
        return 0;
    while (done < text.size()) {
        auto piece = text.substr(done);
        if (has_reader) {
            if (!takes_lines())
                break;
            if (piece.size() > piece_size) {
                auto end = piece.rfind('\n', piece_size - 1);
                piece = piece.substr(0, end == piece.npos ? piece_size : end + 1);
            }
        }
        auto count = ::write(descriptor, piece.data(), piece.size());
        if (count >= 0) {
            done += static_cast<std::size_t>(count);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else if (errno != EINTR) {
            if (!failing.exchange(true))
                report("the access log cannot be written to: " +
                       std::generic_category().message(errno) + "; lines are lost");
            done = text.size();
        }
    }
    if (has_reader && done)
        amid = text[done - 1] == '\n' ? nullptr : &from;
    return done;
}

RELAIS_DECL void access_log_stage::output::leave(lines const& from) {
    std::scoped_lock lock(one_writer);
    if (amid == &from)
        amid = nullptr;
}

/// The lines of one worker that are not written yet.
struct access_log_stage::lines {
    explicit lines(std::shared_ptr<output> to) : out(std::move(to)), timer(*this) {}
    ~lines() {
        flush();
        auto rest = text.view();
        lost += static_cast<std::uint64_t>(std::count(rest.begin(), rest.end(), '\n'));
        say_lost();
        out->leave(*this);
    }

    static constexpr std::size_t flushed_at = 32 * 1024;
    static constexpr std::size_t most = 1024 * 1024;

    void flush() {
        text.erase_front(out->write(*this, text.view()));
        stalled = text.size() > 0;
        if (!stalled)
            say_lost();
    }

    void say_lost() {
        if (lost)
            report("the access log was not read: " + std::to_string(std::exchange(lost, 0)) +
                   " lines are lost");
    }

    void end_line() {
        text.put("\n");
        if (!stalled && text.size() >= flushed_at)
            flush();
        if (text.size() && !timer.is_armed())
            flush_soon();
    }

    void flush_soon() {
        auto& deadlines = worker::current().deadlines();
        deadlines.arm(timer, deadline_wheel::ticks_of(std::chrono::milliseconds(1)));
    }

    void add(exchange& x);
    void put_escaped(std::string_view bytes);
    void put_seconds(std::chrono::nanoseconds time);
    void put_or_dash(std::string_view bytes) { put_escaped(bytes.empty() ? "-" : bytes); }
    std::string_view date();

    struct flush_timer final : deadline {
        explicit flush_timer(lines& l) noexcept
            : deadline([](deadline& self) {
                  auto& l = static_cast<flush_timer&>(self).of;
                  l.flush();
                  if (l.stalled)
                      l.flush_soon();
              }),
              of(l) {}
        lines& of;
    };

    std::shared_ptr<output> out;
    text_buffer text;
    flush_timer timer;
    bool stalled = false; ///< nobody reads what was written
    std::uint64_t lost = 0;
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

/// With three places: `0.012`.
RELAIS_DECL void access_log_stage::lines::put_seconds(std::chrono::nanoseconds time) {
    auto ms = static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 0)) / 1'000'000;
    char thousandths[4] = {'.', static_cast<char>('0' + ms / 100 % 10),
                           static_cast<char>('0' + ms / 10 % 10), static_cast<char>('0' + ms % 10)};
    text.put_number(ms / 1000).put({thousandths, sizeof thousandths});
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
        months.copy(date_text + 3, 3, 3 * static_cast<std::size_t>(utc.tm_mon));
        two(7, (utc.tm_year + 1900) / 100);
        two(9, (utc.tm_year + 1900) % 100);
        two(12, utc.tm_hour);
        two(15, utc.tm_min);
        two(18, utc.tm_sec);
    }
    return {date_text, sizeof date_text - 1};
}

RELAIS_DECL void access_log_stage::lines::add(exchange& x) {
    if (text.size() >= most) {
        ++lost;
        return;
    }
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
    auto took = std::chrono::nanoseconds(
        worker::current().now() -
        x.started()); // a stage may have waited for what is no event of a socket
    put_seconds(took);
    text.put(" ").put(word_of(x.reason()));
    if (auto const& by = x.upstream; by.tries > 0) {
        text.put(" upstream=");
        put_escaped(by.server);
        text.put(" tries=").put_number(by.tries).put(" connect=");
        put_seconds(by.connect);
        text.put(" first=");
        put_seconds(by.first_byte);
        text.put(" total=");
        put_seconds(by.total);
    }
    end_line();
}

RELAIS_DECL access_log_stage::access_log_stage(access_log_options options)
    : output_(std::make_shared<output>()) {
    output_->options = std::move(options);
}

RELAIS_DECL void access_log_stage::prepare() const {
    if (output_->descriptor < 0)
        output_->open();
}

RELAIS_DECL void access_log_stage::reload() const {
    output_->open_again();
}

RELAIS_DECL awaitable<> access_log_stage::operator()(exchange& x, exchange::next next) const {
    auto& mine = worker::current().local<lines>(
        output_.get(), [this] { return std::make_shared<lines>(output_); });
    x.on_complete([&mine](exchange& ended) { mine.add(ended); });
    return next(x);
}

} // namespace relais
