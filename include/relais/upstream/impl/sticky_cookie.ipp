#pragma once

#include <relais/core/error.hpp>
#include <relais/http/exchange.hpp>
#include <relais/upstream/balance.hpp>
#include <relais/upstream/impl/balance.ipp>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

namespace relais {
namespace detail {

// What a cookie says: a keyed hash of the server's id, in the URL-safe alphabet of base 64 (RFC 4648, section 5).
using sticky_token = std::array<char, 43>;

inline sticky_token make_sticky_token(std::string_view key, std::string_view name,
                                      std::uint64_t id) {
    std::string text = "relais sticky_cookie ";
    text.append(name).push_back('=');
    for (int i = 0; i < 8; ++i)
        text.push_back(static_cast<char>(id >> 8 * i));
    std::array<unsigned char, 33>
        code{}; // a byte more, so that it ends with a whole group of three
    unsigned size = 0;
    if (!HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
              reinterpret_cast<unsigned char const*>(text.data()), text.size(), code.data(), &size))
        throw std::bad_alloc();
    constexpr char const* digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    sticky_token token;
    for (std::size_t i = 0; i < token.size(); ++i) {
        auto const* group = &code[i / 4 * 3];
        unsigned const bits = unsigned{group[0]} << 16 | unsigned{group[1]} << 8 | group[2];
        token[i] = digits[bits >> (18 - i % 4 * 6) & 63];
    }
    return token;
}

// The tokens of the candidates, under the key and those of before.
class sticky_tokens {
public:
    sticky_tokens(sticky_options const& options, std::span<candidate const> list) {
        auto const add = [&](std::string_view key, bool former) {
            for (std::size_t i = 0; i < list.size(); ++i)
                entries_.push_back(
                    {make_sticky_token(key, options.name, list[i].id), list[i].id, i, former});
        };
        add(options.key, false);
        for (auto const& key : options.former_keys)
            add(key, true);
        std::stable_sort(entries_.begin(), entries_.end(), [](entry const& a, entry const& b) {
            return beginning(a.token.data()) < beginning(b.token.data());
        });
    }

    struct entry {
        sticky_token token;
        std::uint64_t id;
        std::size_t index;
        bool former; ///< of a key of before
    };

    // What a cookie names; null where it names nothing. Its beginning finds the entry and is no secret, a guess of which has
    // to bring all the rest with it; that is compared in constant time.
    entry const* find(std::string_view cookie) const noexcept {
        if (cookie.size() != sticky_token().size())
            return nullptr;
        auto const wanted = beginning(cookie.data());
        auto at = std::lower_bound(
            entries_.begin(), entries_.end(), wanted,
            [](entry const& e, std::uint64_t w) { return beginning(e.token.data()) < w; });
        for (; at != entries_.end() && beginning(at->token.data()) == wanted; ++at)
            if (CRYPTO_memcmp(at->token.data(), cookie.data(), cookie.size()) == 0)
                return &*at;
        return nullptr;
    }

    // The token of an id under the present key.
    std::string_view of(std::uint64_t id) const noexcept {
        for (auto const& e : entries_)
            if (e.id == id && !e.former)
                return {e.token.data(), e.token.size()};
        return {};
    }

private:
    static std::uint64_t beginning(char const* token) noexcept {
        std::uint64_t first;
        std::memcpy(&first, token, sizeof first);
        return first;
    }

    std::vector<entry> entries_;
};

class sticky_chooser final : public chooser {
public:
    sticky_chooser(std::shared_ptr<sticky_options const> options, std::span<candidate const> list,
                   sticky_chooser const* before, std::uint64_t seed)
        : options_(std::move(options)),
          otherwise_(
              options_->otherwise.among(list, before ? before->otherwise_.get() : nullptr, seed)) {
        for (auto const& c : list)
            ids_.push_back(c.id);
        if (before && before->options_ == options_ && before->ids_ == ids_)
            tokens_ = before->tokens_;
        else
            tokens_ = std::make_shared<sticky_tokens const>(*options_, list);
    }

    std::size_t choose(exchange& x) override {
        auto const* named = named_by(x);
        return named ? named->index : otherwise_->choose(x);
    }

    void answered(exchange& x, candidate const& by) override {
        otherwise_->answered(x, by);
        auto const* named = named_by(x);
        if (named && named->id == by.id && !named->former)
            return;
        if (auto const token = tokens_->of(by.id); !token.empty())
            x.response.add("Set-Cookie", line(x, token));
    }

private:
    sticky_tokens::entry const* named_by(exchange& x) const noexcept {
        return tokens_->find(x.request.cookie(options_->name));
    }

    // Source: RFC 6265, section 4.1.1.
    std::string line(exchange const& x, std::string_view token) const {
        auto const& o = *options_;
        auto text = o.name;
        text.append("=").append(token);
        if (!o.path.empty())
            text.append("; Path=").append(o.path);
        if (!o.domain.empty())
            text.append("; Domain=").append(o.domain);
        if (o.max_age)
            text.append("; Max-Age=").append(std::to_string(o.max_age->count()));
        if (o.secure.value_or(o.same_site == same_site::none || x.request.scheme() == "https"))
            text.append("; Secure");
        if (o.http_only)
            text.append("; HttpOnly");
        switch (o.same_site) {
        case same_site::unset: break;
        case same_site::lax: text.append("; SameSite=Lax"); break;
        case same_site::strict: text.append("; SameSite=Strict"); break;
        case same_site::none: text.append("; SameSite=None"); break;
        }
        return text;
    }

    std::shared_ptr<sticky_options const> options_;
    std::unique_ptr<chooser> otherwise_;
    std::vector<std::uint64_t> ids_;
    std::shared_ptr<sticky_tokens const> tokens_;
};

class sticky_rule final : public balancing::rule {
public:
    explicit sticky_rule(sticky_options options)
        : options_(std::make_shared<sticky_options const>(std::move(options))) {}

    bool marks_answers() const noexcept override { return true; }

    std::unique_ptr<chooser> among(std::span<candidate const> list, chooser const* before,
                                   std::uint64_t seed) const override {
        return std::make_unique<sticky_chooser>(options_, list,
                                                dynamic_cast<sticky_chooser const*>(before), seed);
    }

    void prepare() const override {
        auto const& o = *options_;
        auto const fail = [](std::string const& why) {
            throw startup_error("sticky_cookie(): " + why);
        };
        auto const is_token = [](std::string_view text) {
            return !text.empty() &&
                   std::all_of(text.begin(), text.end(), [](char c) { return is(octet_token, c); });
        };
        auto const is_value = [](std::string_view text) {
            return std::all_of(text.begin(), text.end(),
                               [](char c) { return c > ' ' && c < 0x7f && c != ';'; });
        };
        if (!is_token(o.name))
            fail("\"" + o.name + "\" cannot be a cookie's name: take letters and digits");
        if (o.key.empty())
            fail("there is no key: write .key = \"...\" with what `openssl rand -hex 32` prints, "
                 "the same on all gateways of the service");
        auto keys = o.former_keys;
        keys.push_back(o.key);
        for (auto const& key : keys)
            if (key.size() < 16)
                fail("a key has " + std::to_string(key.size()) +
                     " bytes, too few to be a secret: take what `openssl rand -hex 32` prints");
        if (!o.path.starts_with('/') || !is_value(o.path))
            fail("\"" + o.path + "\" is no path for a cookie: write one that begins with a slash");
        if (!is_value(o.domain))
            fail("\"" + o.domain + "\" is no domain for a cookie: write a host name");
        if (o.max_age && o.max_age->count() <= 0)
            fail("a max_age of " + std::to_string(o.max_age->count()) +
                 " s deletes the cookie at once: write a longer one, or none");
        if (o.same_site == same_site::none && o.secure == false)
            fail("browsers drop a cookie with SameSite=None that is not secure: leave out .secure "
                 "= false, or take another same_site");
        o.otherwise.prepare();
    }

private:
    std::shared_ptr<sticky_options const> options_;
};

} // namespace detail

RELAIS_DECL balancing sticky_cookie(sticky_options options) {
    return balancing(std::make_shared<detail::sticky_rule>(std::move(options)));
}

} // namespace relais
