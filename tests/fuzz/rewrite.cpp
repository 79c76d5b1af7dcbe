// What an upstream says about itself, in the client's words: nothing happens to what is not the upstream's, and what comes
// out is read as the same kind of reference, on the client's host, with the same end.

#include <relais/proxy/rewrite.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

using relais::rewrite_sides;

void require(bool ok) {
    if (!ok)
        std::abort();
}

// As browsers read it: tabs are not there, and a backslash is a slash.
std::string as_browsers_read(std::string_view reference) {
    std::string made;
    for (char c : reference)
        if (c != '\t')
            made += c == '\\' ? '/' : c;
    return made;
}

enum class form { absolute, without_scheme, path, other };

form form_of(std::string_view reference) {
    auto const plain = as_browsers_read(reference);
    auto const colon = plain.find(':');
    auto const scheme = std::string_view(plain).substr(0, colon == plain.npos ? 0 : colon);
    if (relais::equal_ignoring_case(scheme, "http") || relais::equal_ignoring_case(scheme, "https"))
        return form::absolute;
    return plain.starts_with("//")  ? form::without_scheme
           : plain.starts_with('/') ? form::path
                                    : form::other;
}

std::vector<std::string_view> attributes(std::string_view cookie) {
    std::vector<std::string_view> made;
    for (std::size_t at = 0;;) {
        auto const end = std::min(cookie.find(';', at), cookie.size());
        made.push_back(cookie.substr(at, end - at));
        if (end == cookie.size())
            return made;
        at = end + 1;
    }
}

void check_location(std::string_view value, rewrite_sides const& between) {
    std::string made, again;
    if (!rewrite_location(value, between, made))
        return;
    require(made != value);
    auto const before = form_of(value), after = form_of(made);
    require(before != form::other);
    if (between.client_authority.empty()) {
        require(after == form::path);
        require(made.starts_with("/"));
    } else {
        require(after == before);
        if (before != form::path)
            require(relais::equal_ignoring_case(
                std::string_view(made).substr(made.find("//") + 2, between.client_authority.size()),
                between.client_authority));
    }
    auto const more = value.find_first_of("?#", value.find("//") == 0 ? 2 : 0);
    if (more != value.npos)
        require(made.ends_with(value.substr(more)));
    // Those are the client's words: where no prefix is replaced, nothing is left to do.
    auto client = between;
    client.path = {};
    require(!rewrite_location(made, client, again));
}

void check_cookie(std::string_view value, rewrite_sides const& between, std::string_view domain) {
    std::string made;
    if (!rewrite_cookie(value, between, domain, made))
        return;
    require(made != value);
    auto const before = attributes(value), after = attributes(made);
    require(before[0] == after[0]); // the name, and the value as browsers read it
    if (!domain.empty())
        require(before.size() == after.size());
    std::size_t i = 0;
    for (auto const& one : after) {
        // Each is one of those that came, in their order, or a Path or Domain with another content.
        auto const name = one.substr(0, one.find('='));
        while (i < before.size() && before[i].substr(0, before[i].find('=')) != name)
            ++i;
        require(i++ < before.size());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    if (size == 0)
        return 0;
    std::string_view const value(reinterpret_cast<char const*>(data) + 1, size - 1);
    static constexpr std::string_view prefixes[][2] = {
        {"/app/", "/tomcat/"}, {"/", "/tomcat/"},     {"/app/", "/"},        {"/app", "/tomcat"},
        {"/", "/tomcat"},      {"/app/", "/app/v1/"}, {"/app/v1/", "/app/"}, {"", ""}};
    auto const& prefix = prefixes[data[0] & 7];
    rewrite_sides const between{.secure = (data[0] & 8) != 0,
                                .authority = "app.internal:81",
                                .sent_host =
                                    (data[0] & 16) != 0 ? "gate.example" : "app.internal:81",
                                .path = prefix[0],
                                .client_secure = (data[0] & 32) != 0,
                                .client_authority = (data[0] & 64) != 0 ? "" : "gate.example",
                                .client_path = prefix[1]};
    std::string_view const domain = (data[0] & 128) != 0 ? "example" : "";
    check_location(value, between);
    check_cookie(value, between, domain);
    std::string made;
    if (rewrite_refresh(value, between, made)) {
        require(made != value);
        std::string url;
        auto const from = std::min(made.find('=') + 1, made.size());
        require(made.substr(0, from) == value.substr(0, from));
    }
    // Nobody's words but the client's: nothing happens.
    rewrite_sides const alike{.authority = "gate.example",
                              .sent_host = "gate.example",
                              .path = prefix[0],
                              .client_authority = "gate.example",
                              .client_path = prefix[0]};
    require(!rewrite_location(value, alike, made) && !rewrite_refresh(value, alike, made) &&
            !rewrite_cookie(value, alike, domain, made));
    return 0;
}
