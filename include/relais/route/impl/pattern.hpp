#pragma once

#include <relais/config.hpp>

#include <boost/regex.hpp>

#include <array>
#include <cstddef>
#include <iterator>
#include <locale>
#include <memory_resource>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

namespace relais::detail {

struct too_many_steps {};

// Reads a path for Boost.Regex and counts: its own limit grows with the square of the length.
class counting_iterator {
public:
    using value_type = char;
    using reference = char const&;
    using pointer = char const*;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::random_access_iterator_tag;

    counting_iterator() noexcept = default;
    counting_iterator(char const* at, std::size_t& left) noexcept : at_(at), left_(&left) {}

    reference operator*() const {
        count();
        return *at_;
    }
    reference operator[](difference_type n) const { return *(*this + n); }
    pointer operator->() const { return &**this; }
    counting_iterator& operator++() noexcept { return ++at_, *this; }
    counting_iterator& operator--() noexcept { return --at_, *this; }
    counting_iterator operator++(int) noexcept { return {at_++, *left_}; }
    counting_iterator operator--(int) noexcept { return {at_--, *left_}; }
    counting_iterator& operator+=(difference_type n) noexcept { return at_ += n, *this; }
    counting_iterator& operator-=(difference_type n) noexcept { return at_ -= n, *this; }
    friend counting_iterator operator+(counting_iterator i, difference_type n) noexcept {
        return i += n;
    }
    friend counting_iterator operator+(difference_type n, counting_iterator i) noexcept {
        return i += n;
    }
    friend counting_iterator operator-(counting_iterator i, difference_type n) noexcept {
        return i -= n;
    }
    friend difference_type operator-(counting_iterator a, counting_iterator b) noexcept {
        return a.at_ - b.at_;
    }
    friend bool operator==(counting_iterator const& a, counting_iterator const& b) {
        a.count();
        return a.at_ == b.at_;
    }
    friend auto operator<=>(counting_iterator a, counting_iterator b) noexcept {
        return a.at_ <=> b.at_;
    }

private:
    // A default constructed one stands for no match and is compared as such.
    void count() const {
        if (left_ == nullptr)
            return;
        if (*left_ == 0)
            throw too_many_steps();
        --*left_;
    }

    char const* at_ = nullptr;
    std::size_t* left_ = nullptr;
};

enum class pattern_answer : unsigned char { no, yes, gave_up };

class compiled_pattern {
public:
    // \throws boost::regex_error
    compiled_pattern(std::string const& expression, bool ignores_case) {
        auto flags = boost::regex_constants::perl | boost::regex_constants::no_mod_m;
        if (ignores_case)
            flags |= boost::regex_constants::icase;
        expression_.imbue(std::locale::classic());
        expression_.assign(expression, flags);
    }

    pattern_answer found_in(std::string_view path, std::size_t steps) const {
        using result = boost::sub_match<counting_iterator>;
        using allocator = std::pmr::polymorphic_allocator<result>;
        std::array<std::byte, 1024> storage;
        std::pmr::monotonic_buffer_resource arena(storage.data(), storage.size());
        boost::match_results<counting_iterator, allocator> results{allocator(&arena)};
        counting_iterator const first(path.data(), steps);
        try {
            bool const found = boost::regex_search(
                first, first + static_cast<std::ptrdiff_t>(path.size()), results, expression_,
                boost::regex_constants::match_single_line | boost::regex_constants::match_any);
            return found ? pattern_answer::yes : pattern_answer::no;
        } catch (too_many_steps const&) {
        } catch (std::bad_alloc const&) {
            throw;
        } catch (std::runtime_error const&) { // Boost's own limits
        }
        return pattern_answer::gave_up;
    }

private:
    boost::regex expression_;
};

} // namespace relais::detail
