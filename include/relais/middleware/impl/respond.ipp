#pragma once

#include <relais/middleware/respond.hpp>

#include <stdexcept>

namespace relais {

struct respond_stage::answer {
    unsigned status;
    std::string body;
    field_list fields;
};

RELAIS_DECL respond_stage::respond_stage(unsigned status, std::string body, field_list fields)
    : answer_(std::make_shared<answer const>(answer{status, std::move(body), std::move(fields)})) {}

RELAIS_DECL void respond_stage::prepare() const {
    auto const& a = *answer_;
    auto const where = "respond(" + std::to_string(a.status) + "): ";
    if (a.status < 200 || a.status > 599)
        throw startup_error(where + "it is no final status: write one from 200 to 599");
    if (!a.body.empty() && (a.status == 204 || a.status == 205 || a.status == 304))
        throw startup_error(where + "this status has no content: leave the body out or write 200");
    fields trial;
    for (auto const& [name, value] : a.fields) {
        try {
            trial.add(name, value);
        } catch (std::invalid_argument const& e) {
            throw startup_error(where + e.what());
        }
        if (trial.contains(known_field::content_length) ||
            trial.contains(known_field::transfer_encoding) ||
            trial.contains(known_field::connection))
            throw startup_error(where + "\"" + name + "\" belongs to the connection: leave it out");
    }
}

RELAIS_DECL awaitable<> respond_stage::operator()(exchange& x) const {
    auto const& a = *answer_;
    x.respond(a.status, a.body);
    // The first of a name takes the place of what stands there, the others are added.
    for (auto const& field : a.fields) {
        if (equal_ignoring_case(field.first, "Content-Type"))
            x.response.set(field.first, field.second);
        else
            x.response.add(field.first, field.second);
    }
    co_return;
}

} // namespace relais
