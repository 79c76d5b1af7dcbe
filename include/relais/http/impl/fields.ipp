#pragma once

#include <relais/http/fields.hpp>

#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

namespace relais {
namespace detail {

inline std::string_view name_of(field name) {
    auto const text = boost::beast::http::to_string(name);
    return {text.data(), text.size()};
}

inline void check_field_name(std::string_view name) {
    if (name.empty())
        throw std::invalid_argument("a field needs a name: it is empty");
    if (all_are(octet_token, name))
        return;
    std::string shown;
    for (char const c : name.substr(0, 64))
        shown += is(octet_value, c) ? c : '?';
    throw std::invalid_argument("'" + shown +
                                "' cannot be the name of a field: use letters, digits, '-' and the "
                                "other characters of a token");
}

inline void check_field_value(std::string_view name, std::string_view value) {
    for (char const c : value) {
        if (is(octet_value, c))
            continue;
        char hex[8];
        std::snprintf(hex, sizeof hex, "0x%02x", static_cast<unsigned char>(c));
        auto const what = c == '\r' || c == '\n' ? "a line break"
                          : c == '\0'            ? "a NUL"
                                                 : "a control byte";
        throw std::invalid_argument("the value of the field '" + std::string(name) + "' has " +
                                    what + " (" + hex +
                                    ") in it: take it out or encode it before the field is set");
    }
}

} // namespace detail

RELAIS_DECL std::string_view next_list_element(std::string_view& rest) noexcept {
    while (!rest.empty()) {
        std::size_t i = 0;
        bool quoted = false;
        for (; i < rest.size() && (quoted || rest[i] != ','); ++i) {
            if (rest[i] == '"')
                quoted = !quoted;
            else if (quoted && rest[i] == '\\' && i + 1 < rest.size())
                ++i;
        }
        auto const element = detail::trim(rest.substr(0, i));
        rest.remove_prefix(i < rest.size() ? i + 1 : i);
        if (!element.empty())
            return element;
    }
    return {};
}

RELAIS_DECL bool list_has_token(std::string_view list, std::string_view token) noexcept {
    for (;;) {
        auto const element = next_list_element(list);
        if (element.empty())
            return false;
        if (equal_ignoring_case(element, token))
            return true;
    }
}

RELAIS_DECL fields::entry const* fields::find(std::string_view name,
                                              known_field id) const noexcept {
    if (id != known_field::other && !present_.contains(id))
        return nullptr;
    for (entry const& e : entries_)
        if (same(e, name, id))
            return &e;
    return nullptr;
}

RELAIS_DECL fields::entry const* fields::find(known_field id) const noexcept {
    return id == known_field::other ? nullptr : find({}, id);
}

RELAIS_DECL std::string_view fields::operator[](std::string_view name) const noexcept {
    auto const* e = find(name, known_field_of(name));
    return e != nullptr ? e->value : std::string_view();
}

RELAIS_DECL std::string_view fields::operator[](field name) const noexcept {
    return (*this)[detail::name_of(name)];
}

RELAIS_DECL std::string_view fields::operator[](known_field id) const noexcept {
    auto const* e = find(id);
    return e != nullptr ? e->value : std::string_view();
}

RELAIS_DECL bool fields::contains(std::string_view name) const noexcept {
    return find(name, known_field_of(name)) != nullptr;
}

RELAIS_DECL bool fields::contains(field name) const noexcept {
    return contains(detail::name_of(name));
}

RELAIS_DECL std::size_t fields::count(std::string_view name, known_field id) const noexcept {
    std::size_t n = 0;
    for (entry const& e : entries_)
        n += same(e, name, id) ? 1 : 0;
    return n;
}

RELAIS_DECL std::size_t fields::count(std::string_view name) const noexcept {
    return count(name, known_field_of(name));
}

RELAIS_DECL std::size_t fields::count(field name) const noexcept {
    return count(detail::name_of(name));
}

RELAIS_DECL std::size_t fields::count(known_field id) const noexcept {
    return contains(id) ? count({}, id) : 0;
}

RELAIS_DECL fields::values fields::all(std::string_view name) const noexcept {
    return {entries_, name, known_field_of(name)};
}

RELAIS_DECL fields::values fields::all(field name) const noexcept {
    return all(detail::name_of(name));
}

RELAIS_DECL fields::values fields::all(known_field id) const noexcept {
    return {contains(id) ? entries() : std::span<entry const>(), name_of(id), id};
}

RELAIS_DECL bool fields::has_token(std::string_view name, known_field id,
                                   std::string_view token) const noexcept {
    for (entry const& e : entries_)
        if (same(e, name, id) && list_has_token(e.value, token))
            return true;
    return false;
}

RELAIS_DECL bool fields::has_token(std::string_view name, std::string_view token) const noexcept {
    return has_token(name, known_field_of(name), token);
}

RELAIS_DECL bool fields::has_token(known_field id, std::string_view token) const noexcept {
    return contains(id) && has_token({}, id, token);
}

RELAIS_DECL std::string_view fields::store(std::string_view bytes) {
    if (bytes.empty())
        return {};
    stored_ = true;
    auto* copy = static_cast<char*>(arena_.allocate(bytes.size(), 1));
    std::memcpy(copy, bytes.data(), bytes.size());
    return {copy, bytes.size()};
}

// The others of the name go; the entry that stays keeps its place.
RELAIS_DECL std::size_t fields::erase(std::string_view name, known_field id,
                                      entry const* but) noexcept {
    std::size_t erased = 0;
    for (entry& e : entries_) {
        if (&e == but || e.name.empty() || !same(e, name, id))
            continue;
        e = entry{};
        ++erased;
    }
    size_ -= erased;
    repeated_.erase(id);
    if (but == nullptr)
        present_.erase(id);
    return erased;
}

RELAIS_DECL void fields::put(std::string_view name, std::string_view value, known_field id) {
    if (auto const* first = find(name, id)) {
        auto& e = entries_[static_cast<std::size_t>(first - entries_.data())];
        erase(name, id, first);
        e.name = name;
        e.value = value;
    } else {
        append_view(name, value, id);
    }
}

RELAIS_DECL void fields::set(std::string_view name, std::string_view value) {
    detail::check_field_name(name);
    detail::check_field_value(name, value);
    put(store(name), store(value), known_field_of(name));
}

RELAIS_DECL void fields::set(field name, std::string_view value) {
    auto const text = detail::name_of(name);
    detail::check_field_name(text);
    detail::check_field_value(text, value);
    put(text, store(value), known_field_of(text));
}

RELAIS_DECL void fields::set_view(known_field id, std::string_view value) {
    RELAIS_ASSERT(id != known_field::other);
    put(name_of(id), value, id);
}

RELAIS_DECL void fields::add(std::string_view name, std::string_view value) {
    detail::check_field_name(name);
    detail::check_field_value(name, value);
    append_view(store(name), store(value), known_field_of(name));
}

RELAIS_DECL void fields::add(field name, std::string_view value) {
    auto const text = detail::name_of(name);
    detail::check_field_name(text);
    detail::check_field_value(text, value);
    append_view(text, store(value), known_field_of(text));
}

RELAIS_DECL std::size_t fields::erase(std::string_view name) noexcept {
    return name.empty() ? 0 : erase(name, known_field_of(name), nullptr);
}

RELAIS_DECL std::size_t fields::erase(field name) noexcept {
    return erase(detail::name_of(name));
}

RELAIS_DECL std::size_t fields::erase(known_field id) noexcept {
    return contains(id) ? erase({}, id, nullptr) : 0;
}

RELAIS_DECL void fields::clear() noexcept {
    entries_.clear();
    present_ = repeated_ = {};
    size_ = 0;
    if (stored_)
        arena_.release();
    stored_ = false;
}

RELAIS_DECL void fields::rebase(char const* from, std::size_t size, char const* to) noexcept {
    auto const move = [&](std::string_view& view) {
        if (view.data() >= from && view.data() + view.size() <= from + size)
            view = {to + (view.data() - from), view.size()};
    };
    for (entry& e : entries_) {
        move(e.name);
        move(e.value);
    }
}

RELAIS_DECL void detail::put_fields(text_buffer& out, fields const& from, known_fields left_out) {
    std::string_view as_came; // "A: 1\r\nB: 2", without its last CRLF
    auto put_as_came = [&] {
        if (!as_came.empty())
            out.put(as_came).put("\r\n");
        as_came = {};
    };
    for (auto const& e : from.entries()) {
        if (e.name.empty() || left_out.contains(e.id))
            continue;
        auto const* name_end = e.name.data() + e.name.size();
        if (e.value.data() != name_end + 2 || name_end[0] != ':' || name_end[1] != ' ') {
            put_as_came();
            out.put_field(e.name, e.value);
            continue;
        }
        std::string_view line(e.name.data(), e.name.size() + 2 + e.value.size());
        auto const* end = as_came.data() + as_came.size();
        if (!as_came.empty() && line.data() == end + 2 && end[0] == '\r' && end[1] == '\n') {
            as_came = {as_came.data(), as_came.size() + 2 + line.size()};
        } else {
            put_as_came();
            as_came = line;
        }
    }
    put_as_came();
}

} // namespace relais
