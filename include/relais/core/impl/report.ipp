#pragma once

#include <relais/core/report.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <atomic>
#include <cstdio>
#include <string>

namespace relais {

namespace detail {

RELAIS_DECL std::atomic<report_function>& report_receiver() noexcept {
    static std::atomic<report_function> receiver{nullptr};
    return receiver;
}

} // namespace detail

RELAIS_DECL void set_report_function(report_function receiver) noexcept {
    detail::report_receiver().store(receiver);
}

RELAIS_DECL void report(std::string_view sentence) noexcept {
    try {
        if (auto receiver = detail::report_receiver().load()) {
            receiver(sentence);
            return;
        }
        std::string line("relais: ");
        for (char c : sentence) // one line, whatever an exception's text holds
            line += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
        line += '\n';
        std::fwrite(line.data(), 1, line.size(), stderr);
    } catch (...) { // there is nobody left to tell
    }
}

RELAIS_DECL void report_exception(std::string_view where, std::exception_ptr thrown) noexcept {
    try {
        std::rethrow_exception(thrown);
    } catch (boost::system::system_error const& error) {
        if (error.code() != boost::asio::error::operation_aborted)
            report(std::string(where) + ": " + error.what());
    } catch (std::exception const& error) {
        report(std::string(where) + ": " + error.what());
    } catch (...) {
        report(std::string(where) + ": it is no std::exception");
    }
}

} // namespace relais
