#pragma once

#include <relais/config.hpp>
#include <relais/core/text_buffer.hpp>
#include <relais/http/impl/octets.hpp>

#include <boost/beast/http/field.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/verb.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory_resource>
#include <span>
#include <string_view>
#include <vector>

namespace relais {

/// A request method, `verb::get`.
using verb = boost::beast::http::verb;
/// A response status, `status::not_found`.
using status = boost::beast::http::status;
/// The name of a field, `field::content_type`.
using field = boost::beast::http::field;

/// The fields that the library itself looks at: those of framing, those that end at each hop, those
/// that say where a request came from and where it goes. There are fewer than 64, so that a set of
/// them is one word.
enum class known_field : std::uint8_t {
    other,
    accept_encoding,
    age,
    allow,
    authorization,
    cache_control,
    client_cert,
    client_cert_chain,
    connection,
    content_encoding,
    content_length,
    content_location,
    content_range,
    content_type,
    cookie,
    date,
    etag,
    expect,
    forwarded,
    host,
    http2_settings,
    if_none_match,
    if_modified_since,
    keep_alive,
    last_modified,
    location,
    max_forwards,
    origin,
    proxy,
    proxy_authenticate,
    proxy_authorization,
    proxy_connection,
    range,
    referer,
    refresh,
    retry_after,
    sec_websocket_accept,
    sec_websocket_extensions,
    sec_websocket_key,
    sec_websocket_protocol,
    sec_websocket_version,
    server,
    set_cookie,
    te,
    trailer,
    transfer_encoding,
    upgrade,
    user_agent,
    vary,
    via,
    www_authenticate,
    x_forwarded_for,
    x_forwarded_host,
    x_forwarded_port,
    x_forwarded_proto,
    x_real_ip,
    x_request_id,
};

/// The usual spelling of a known field's name, empty for `other`.
std::string_view name_of(known_field id) noexcept;

/// Which field a name stands for, in any case; `other` for one that the library does not look at.
known_field known_field_of(std::string_view name) noexcept;

/// A set of known fields.
class known_fields {
public:
    constexpr known_fields() noexcept = default;
    template <class... Ids>
    constexpr explicit known_fields(known_field first, Ids... ids) noexcept : bits_(bit(first)) {
        (insert(ids), ...);
    }

    constexpr void insert(known_field id) noexcept { bits_ |= bit(id); }
    constexpr void erase(known_field id) noexcept { bits_ &= ~bit(id); }
    constexpr bool contains(known_field id) const noexcept { return (bits_ & bit(id)) != 0; }
    constexpr bool intersects(known_fields other) const noexcept {
        return (bits_ & other.bits_) != 0;
    }
    constexpr bool empty() const noexcept { return bits_ == 0; }

    friend constexpr known_fields operator&(known_fields a, known_fields b) noexcept {
        a.bits_ &= b.bits_;
        return a;
    }
    friend constexpr known_fields operator|(known_fields a, known_fields b) noexcept {
        a.bits_ |= b.bits_;
        return a;
    }

private:
    // `other` is no member of any set.
    static constexpr std::uint64_t bit(known_field id) noexcept {
        return (std::uint64_t{1} << static_cast<unsigned>(id)) & ~std::uint64_t{1};
    }

    std::uint64_t bits_ = 0;
};

/// Whether two texts are equal but for the case of ASCII letters.
bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept;

/// Takes the next element off a comma-separated list.
///
///     while (auto element = next_list_element(rest); !element.empty()) ...
///
/// Empty elements are passed over, commas within quoted strings do not separate, white space around
/// elements is cut off. \return empty at the end. Source: RFC 9110, 5.6.1 and 5.6.4.
std::string_view next_list_element(std::string_view& rest) noexcept;

/// Whether a comma-separated list has `token` as an element, in any case. An element with
/// parameters (`a;q=1`) is not the token. Source: RFC 9110, 5.6.1.
bool list_has_token(std::string_view list, std::string_view token) noexcept;

/// The fields of one head: in the order in which they came, repeated ones apart, names in the case
/// they came in.
///
/// Names are compared without case. The parser stores views into the bytes of the head, which
/// outlive this object's content; what `set` and `add` are given is copied. Storage is kept by
/// `clear()`, so that an object that is used again and again allocates nothing.
///
/// Views and iterators that were handed out stay valid until the next `clear()`, iterators also
/// only until the next `set` or `add`. Thread safety: none. Source: RFC 9110, section 5.
class fields {
public:
    /// One field.
    struct value_type {
        std::string_view name;
        std::string_view value;
    };
    /// A field as it is stored: an erased one has an empty name.
    struct entry : value_type {
        known_field id = known_field::other;
    };
    class const_iterator;
    using iterator = const_iterator;
    class values;

    fields() noexcept : arena_(inline_arena_.data(), inline_arena_.size()) {}
    fields(fields const&) = delete;
    fields& operator=(fields const&) = delete;

    /// The value of the first field of this name, empty where there is none.
    std::string_view operator[](std::string_view name) const noexcept;
    std::string_view operator[](field name) const noexcept;
    std::string_view operator[](known_field id) const noexcept;

    bool contains(std::string_view name) const noexcept;
    bool contains(field name) const noexcept;
    bool contains(known_field id) const noexcept { return present_.contains(id); }

    /// How many fields of this name there are.
    std::size_t count(std::string_view name) const noexcept;
    std::size_t count(field name) const noexcept;
    std::size_t count(known_field id) const noexcept;

    /// The values of all fields of this name, in order. The name has to outlive what is returned.
    values all(std::string_view name) const noexcept;
    values all(field name) const noexcept;
    values all(known_field id) const noexcept;

    /// Whether `token` is an element of the comma-separated list that all fields of this name make
    /// together.
    bool has_token(std::string_view name, std::string_view token) const noexcept;
    bool has_token(known_field id, std::string_view token) const noexcept;

    /// Gives the field this value alone: the first one of the name is replaced where it stands, the
    /// others go.
    /// \throws std::invalid_argument for a name that is no token and for a value with a control
    /// byte (CR, LF, NUL ...).
    void set(std::string_view name, std::string_view value);
    void set(field name, std::string_view value);

    /// Appends a field, whether or not there is one of this name.
    /// \throws std::invalid_argument as `set` does.
    void add(std::string_view name, std::string_view value);
    void add(field name, std::string_view value);

    /// Takes all fields of this name off. \return how many there were.
    std::size_t erase(std::string_view name) noexcept;
    std::size_t erase(field name) noexcept;
    std::size_t erase(known_field id) noexcept;

    /// Takes off every field for which `condition(entry const&)` is true. \return how many there
    /// were.
    template <class Condition>
    std::size_t erase_if(Condition condition) {
        std::size_t erased = 0;
        known_fields left, again;
        for (entry& e : entries_) {
            if (e.name.empty())
                continue;
            if (condition(static_cast<entry const&>(e))) {
                e = entry{};
                ++erased;
            } else {
                again = again | (left & known_fields(e.id));
                left.insert(e.id);
            }
        }
        present_ = left;
        repeated_ = again;
        size_ -= erased;
        return erased;
    }

    /// Takes everything off and keeps the storage. Views into what was set or added die.
    void clear() noexcept;

    /// How many fields there are.
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }

    const_iterator begin() const noexcept;
    const_iterator end() const noexcept;

    /// \name For the library: nothing is checked or copied; names and values have to outlive the
    /// content
    /// \{

    /// Appends a field. \param id what `known_field_of(name)` says.
    void append_view(std::string_view name, std::string_view value, known_field id) {
        RELAIS_ASSERT(!name.empty() && id == known_field_of(name));
        entries_.push_back({{name, value}, id});
        known_fields const one(id);
        repeated_ = repeated_ | (present_ & one);
        present_ = present_ | one;
        ++size_;
    }
    /// Appends a known field in its usual spelling.
    void append_view(known_field id, std::string_view value) {
        append_view(name_of(id), value, id);
    }

    /// What `set` does, for a known field and without a copy of the value.
    void set_view(known_field id, std::string_view value);

    /// The first field of this kind, null where there is none.
    entry const* find(known_field id) const noexcept;

    /// Which known fields are there: one test says that none of a set is.
    known_fields present() const noexcept { return present_; }

    /// Which known fields are there more than once.
    known_fields repeated() const noexcept { return repeated_; }

    /// All entries, the erased ones too.
    std::span<entry const> entries() const noexcept { return entries_; }

    /// Copies bytes to where they live until the next `clear()`.
    std::string_view store(std::string_view bytes);

    /// Moves every view into `size` bytes at `from` to the copy of them at `to`.
    void rebase(char const* from, std::size_t size, char const* to) noexcept;

    /// Gives each field of these kinds the value that `value_of(entry const&)` returns, which has to outlive the content.
    template <class ValueOf>
    void replace_values(known_fields of, ValueOf value_of) {
        for (entry& e : entries_)
            if (of.contains(e.id))
                e.value = value_of(static_cast<entry const&>(e));
    }

    /// Makes room, so that so many fields are appended without an allocation.
    void reserve(std::size_t count) { entries_.reserve(count); }

    /// \}

private:
    static bool same(entry const& e, std::string_view name, known_field id) noexcept {
        return e.id == id &&
               (id != known_field::other || (!name.empty() && equal_ignoring_case(e.name, name)));
    }
    entry const* find(std::string_view name, known_field id) const noexcept;
    std::size_t count(std::string_view name, known_field id) const noexcept;
    bool has_token(std::string_view name, known_field id, std::string_view token) const noexcept;
    std::size_t erase(std::string_view name, known_field id, entry const* but) noexcept;
    void put(std::string_view name, std::string_view value, known_field id);

    std::vector<entry> entries_;
    known_fields present_;
    known_fields repeated_;
    std::size_t size_ = 0;
    bool stored_ = false; // something is in the arena
    std::array<std::byte, 512> inline_arena_;
    std::pmr::monotonic_buffer_resource arena_;
};

/// Goes over the fields that are there.
class fields::const_iterator {
public:
    using value_type = fields::value_type;
    using reference = value_type const&;
    using pointer = value_type const*;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::forward_iterator_tag;

    const_iterator() noexcept = default;
    const_iterator(entry const* at, entry const* end) noexcept : at_(at), end_(end) { skip(); }

    reference operator*() const noexcept { return *at_; }
    pointer operator->() const noexcept { return at_; }
    const_iterator& operator++() noexcept {
        ++at_;
        skip();
        return *this;
    }
    const_iterator operator++(int) noexcept {
        auto before = *this;
        ++*this;
        return before;
    }
    friend bool operator==(const_iterator a, const_iterator b) noexcept { return a.at_ == b.at_; }

private:
    void skip() noexcept {
        while (at_ != end_ && at_->name.empty())
            ++at_;
    }

    entry const* at_ = nullptr;
    entry const* end_ = nullptr;
};

/// The values of the fields of one name.
class fields::values {
public:
    class const_iterator {
    public:
        using value_type = std::string_view;
        using reference = std::string_view;
        using pointer = void;
        using difference_type = std::ptrdiff_t;
        using iterator_category = std::input_iterator_tag;

        const_iterator() noexcept = default;

        std::string_view operator*() const noexcept { return at_->value; }
        const_iterator& operator++() noexcept {
            ++at_;
            skip();
            return *this;
        }
        const_iterator operator++(int) noexcept {
            auto before = *this;
            ++*this;
            return before;
        }
        friend bool operator==(const_iterator const& a, const_iterator const& b) noexcept {
            return a.at_ == b.at_;
        }

    private:
        friend class values;
        const_iterator(entry const* at, entry const* end, std::string_view name,
                       known_field id) noexcept
            : at_(at), end_(end), name_(name), id_(id) {
            skip();
        }
        void skip() noexcept {
            while (at_ != end_ && !same(*at_, name_, id_))
                ++at_;
        }

        entry const* at_ = nullptr;
        entry const* end_ = nullptr;
        std::string_view name_;
        known_field id_ = known_field::other;
    };

    const_iterator begin() const noexcept { return {first_, last_, name_, id_}; }
    const_iterator end() const noexcept { return {last_, last_, name_, id_}; }
    bool empty() const noexcept { return begin() == end(); }

private:
    friend class fields;
    values(std::span<entry const> all, std::string_view name, known_field id) noexcept
        : first_(all.data()), last_(all.data() + all.size()), name_(name), id_(id) {}

    entry const* first_;
    entry const* last_;
    std::string_view name_;
    known_field id_;
};

inline fields::const_iterator fields::begin() const noexcept {
    return {entries_.data(), entries_.data() + entries_.size()};
}

inline fields::const_iterator fields::end() const noexcept {
    auto const* last = entries_.data() + entries_.size();
    return {last, last};
}

namespace detail {

/// Writes the lines of all fields but those of `left_out`. Neighbours that still stand as they came are copied at once.
void put_fields(text_buffer& out, fields const& from, known_fields left_out);

} // namespace detail

} // namespace relais

#include <relais/http/impl/fields.hpp>
#if defined(RELAIS_HEADER_ONLY)
#include <relais/http/impl/fields.ipp>
#endif
