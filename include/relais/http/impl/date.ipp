#pragma once

#include <relais/core/worker.hpp>
#include <relais/http/date.hpp>

#include <cstring>
#include <ctime>
#include <memory>

namespace relais {

namespace detail {

struct date_now {
    std::array<char, 29> text{};
    std::chrono::steady_clock::time_point until{};
    bool made = false;
};

} // namespace detail

RELAIS_DECL std::array<char, 29> http_date(std::chrono::system_clock::time_point when) noexcept {
    auto seconds = std::chrono::system_clock::to_time_t(when);
    std::tm utc{};
    ::gmtime_r(&seconds, &utc);
    std::array<char, 29> text;
    std::memcpy(text.data(), "Sun, 00 Jan 0000 00:00:00 GMT", 29);
    auto two = [&](std::size_t at, int value) {
        text[at] = static_cast<char>('0' + value / 10 % 10);
        text[at + 1] = static_cast<char>('0' + value % 10);
    };
    std::memcpy(text.data(), &"SunMonTueWedThuFriSat"[3 * utc.tm_wday], 3);
    two(5, utc.tm_mday);
    std::memcpy(text.data() + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[3 * utc.tm_mon], 3);
    two(12, (utc.tm_year + 1900) / 100);
    two(14, (utc.tm_year + 1900) % 100);
    two(17, utc.tm_hour);
    two(20, utc.tm_min);
    two(23, utc.tm_sec);
    return text;
}

RELAIS_DECL std::string_view http_date_now() {
    static char const key = 0;
    auto& w = worker::current();
    auto& now =
        w.lasting<detail::date_now>(&key, [] { return std::make_shared<detail::date_now>(); });
    if (!now.made || w.batch_time() >= now.until) {
        now.text = http_date(w.wall_time());
        now.until = w.batch_time() + std::chrono::milliseconds(500);
        now.made = true;
    }
    return {now.text.data(), now.text.size()};
}

} // namespace relais
