#pragma once

#include <relais/core/report.hpp>
#include <relais/core/worker.hpp>
#include <relais/http/exchange.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <utility>

namespace relais {

RELAIS_DECL exchange::exchange() = default;
RELAIS_DECL exchange::~exchange() = default;

RELAIS_DECL void exchange::begin(relais::connection& c, detail::exchange_carrier& carrier) {
    connection_ = &c;
    carrier_ = &carrier;
    client_address_ = c.client_address();
    request.secure_ = c.tls() != nullptr;
}

RELAIS_DECL void exchange::respond(unsigned status, std::string_view body,
                                   std::string_view content_type) {
    response.reset();
    response.set_status(status);
    responded_ = true;
    if (!body.empty()) {
        response.set("Content-Type", content_type);
        response.body.set(std::string(body));
    }
}

RELAIS_DECL void exchange::refuse(end_reason why) {
    set_reason(why);
    auto const& facts = describe(why);
    unsigned status = facts.status ? facts.status : 500;
    std::string text;
    text.append(std::to_string(status)).append(" ").append(facts.sentence).append("\n");
    respond(status, text);
}

RELAIS_DECL void exchange::fail(std::exception_ptr thrown) {
    try {
        std::rethrow_exception(thrown);
    } catch (exchange_error const& error) {
        refuse(error.reason());
    } catch (stage_misuse const& error) {
        report(error.what());
        refuse(end_reason::stage_misused);
    } catch (boost::system::system_error const& error) {
        bool aborted = error.code() == boost::asio::error::operation_aborted;
        if (aborted && reason_ == end_reason::client_left)
            return; // nobody is there to read an answer
        if (aborted && connection_->reason() == end_reason::shutting_down) {
            refuse(end_reason::shutting_down);
            return;
        }
        report_exception("a stage threw", thrown);
        refuse(end_reason::stage_threw);
    } catch (...) {
        report_exception("a stage threw", thrown);
        refuse(end_reason::stage_threw);
    }
}

RELAIS_DECL void exchange::set_client_address(std::string_view address) {
    client_address_storage_ = address;
    client_address_ = client_address_storage_;
}

RELAIS_DECL awaitable<> exchange::send_interim(unsigned status, relais::fields const& with) {
    if (status < 100 || status > 199 || status == 101)
        throw std::invalid_argument("send_interim: " + std::to_string(status) +
                                    " is no interim status: use 100, 102 or 103, and respond() "
                                    "for a final answer");
    return carrier_->send_interim(*this, status, with);
}

RELAIS_DECL void exchange::note_next(void const* chain, void const* entry) {
    // A stage that answers and then goes on calls a next that was not called before, one that tries again calls one
    // that was.
    next_call const called{chain, entry};
    auto before = std::ranges::find(nexts_called_, called);
    if (before == nexts_called_.end()) {
        if (responded_)
            throw stage_misuse("next was called after respond: a stage either answers or hands on");
        nexts_called_.push_back(called);
        return;
    }
    nexts_called_.erase(before + 1, nexts_called_.end()); // inner stages have not tried again yet
    if (std::exchange(responded_, false))
        response.reset();
    if (!answering_) {
        stop_upload(); // it would read what this try sends
        request.body.begin_another_try();
    }
}

RELAIS_DECL exchange::answering::answering(exchange& x) : x_(x) {
    if (x.answering_)
        throw stage_misuse("next was called twice at once for one exchange: await the first call");
    x.stop_upload(); // of an earlier try: it would read what the next one sends
    if (x.response.status() != 0)
        x.response.reset();
    x.used_.end(x);
    x.answering_ = true;
    x.responded_ = false;
    if (x.reason_ != end_reason::client_left) // that does not become better
        x.reason_ = end_reason::completed;
}

RELAIS_DECL void exchange::compact() {
    auto head = request.received_;
    // What was received is kept in a block of its own size; everything a stage set lives elsewhere already.
    auto& copy = hold(std::make_unique<std::string>(head));
    request.rebase(head.data(), head.size(), copy->data());
    auto status = response.status();
    response.reset();
    response.status_ = status;
}

RELAIS_DECL void exchange::finish() noexcept {
    used_.end(*this);
    for (auto i = held_.size(); i-- > 0;) {
        try {
            held_[i]->complete(*this);
        } catch (...) { // a completion cannot change what has happened
            report_exception("on_complete threw", std::current_exception());
        }
    }
}

RELAIS_DECL void exchange::recycle() noexcept {
    upload_ = nullptr;
    used_.end(*this);
    upstream = {};
    state.clear();
    while (!held_.empty())
        held_.pop_back();
    response.reset();
    request.recycle();
    client_address_ = {};
    client_address_storage_.clear();
    body_bytes_sent_ = 0;
    nexts_called_.clear();
    matched_prefix_ = std::string_view::npos;
    reason_ = end_reason::completed;
    head_sent_ = responded_ = answering_ = false;
    connection_ = nullptr;
    carrier_ = nullptr;
}

} // namespace relais
