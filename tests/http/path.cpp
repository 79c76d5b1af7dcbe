#include "catch.hpp"

#include <relais/http/path.hpp>

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace relais;
using namespace std::string_literals;

struct normalised {
    std::string matched, canonical, sentence;
    bool zero_copy = false;
};

normalised run(std::string_view raw) {
    std::string matched, canonical;
    auto const made = normalise_path(raw, matched, canonical);
    return {std::string(made.matched), std::string(made.canonical), std::string(made.sentence),
            made.matched.data() == raw.data() && made.canonical.data() == raw.data() &&
                matched.empty() && canonical.empty()};
}

} // namespace

TEST_CASE("a clean path is passed on as the view that came", "[path]") {
    for (std::string_view const raw :
         {"/", "/a", "/a/", "/a/b/c.html", "/a.b/c..d/e.", "/index.php", "/a-b_c~d",
          "/!$&'()*+,;=:@", "/a;v=1/b;w", "/user@host:80/x", "/0123456789", "/ABCxyz/", "/a,b;c=d",
          "/wp-content/themes/x/style.min.css"}) {
        INFO(raw);
        auto const made = run(raw);
        CHECK(made.zero_copy);
        CHECK(made.matched == raw);
        CHECK(made.canonical == raw);
    }
}

TEST_CASE("paths are matched in one form and forwarded in one form", "[path]") {
    struct row {
        std::string raw, matched, canonical;
    };
    std::vector<row> const rows{
        {"", "/", "/"},
        // dot segments
        {"/.", "/", "/"},
        {"/./", "/", "/"},
        {"/a/.", "/a/", "/a/"},
        {"/a/./", "/a/", "/a/"},
        {"/a/./b", "/a/b", "/a/b"},
        {"/./a", "/a", "/a"},
        {"/a/..", "/", "/"},
        {"/a/../", "/", "/"},
        {"/a/b/..", "/a/", "/a/"},
        {"/a/b/../", "/a/", "/a/"},
        {"/a/b/../c", "/a/c", "/a/c"},
        {"/a/b/../../c", "/c", "/c"},
        {"/a/../b/../c", "/c", "/c"},
        {"/a/b/c/./../../g", "/a/g", "/a/g"},
        {"/mid/content=5/../6", "/mid/6", "/mid/6"},
        {"/a/%2e", "/a/", "/a/"},
        {"/a/%2E/b", "/a/b", "/a/b"},
        {"/a/%2e%2e/b", "/b", "/b"},
        {"/a/.%2e/b", "/b", "/b"},
        {"/a/%2E./b", "/b", "/b"},
        {"/a/%2e%2E", "/", "/"},
        {"/a%20b/../c", "/c", "/c"},
        {"/a/b%2Fc/../d", "/a/d", "/a/d"},
        // what only looks like one
        {"/...", "/...", "/..."},
        {"/.../a", "/.../a", "/.../a"},
        {"/..a", "/..a", "/..a"},
        {"/a/..b/c", "/a/..b/c", "/a/..b/c"},
        {"/a/.b", "/a/.b", "/a/.b"},
        {"/a../b", "/a../b", "/a../b"},
        {"/a./b", "/a./b", "/a./b"},
        {"/.well-known/acme-challenge/x", "/.well-known/acme-challenge/x",
         "/.well-known/acme-challenge/x"},
        {"/.git/config", "/.git/config", "/.git/config"},
        {"/%2e%2e%2e/a", "/.../a", "/.../a"},
        {"/...;a/b", "/...;a/b", "/...;a/b"},
        {"/a;../b", "/a;../b", "/a;../b"},
        {"/;/b", "/;/b", "/;/b"},
        {"/.a;x/b", "/.a;x/b", "/.a;x/b"},
        // repeated slashes
        {"//", "/", "/"},
        {"///", "/", "/"},
        {"//a", "/a", "/a"},
        {"/a//", "/a/", "/a/"},
        {"/a//b", "/a/b", "/a/b"},
        {"/a///b//c", "/a/b/c", "/a/b/c"},
        {"/a//../b", "/b", "/b"},
        {"/a/b//../c", "/a/c", "/a/c"},
        {"/a/.//b", "/a/b", "/a/b"},
        {"//host/path", "/host/path", "/host/path"},
        // an encoded slash stays one and matches no slash
        {"/a%2Fb", "/a%2Fb", "/a%2Fb"},
        {"/a%2fb", "/a%2Fb", "/a%2Fb"},
        {"/%2F", "/%2F", "/%2F"},
        {"/%2f%2F", "/%2F%2F", "/%2F%2F"},
        {"/a/%2Fb", "/a/%2Fb", "/a/%2Fb"},
        {"/%2Fa..", "/%2Fa..", "/%2Fa.."},
        {"/a%2F...%2Fb", "/a%2F...%2Fb", "/a%2F...%2Fb"},
        {"/a%2F..b", "/a%2F..b", "/a%2F..b"},
        // an encoded backslash is an ordinary character
        {"/a%5Cb", "/a\\b", "/a%5Cb"},
        {"/a%5cb", "/a\\b", "/a%5Cb"},
        // escapes that nobody needs are decoded
        {"/%61", "/a", "/a"},
        {"/%41%5a%7a%30%39", "/AZz09", "/AZz09"},
        {"/%2D%2E%5F%7E", "/-._~", "/-._~"},
        {"/a%2Eb", "/a.b", "/a.b"},
        {"/%7euser", "/~user", "/~user"},
        {"/~user", "/~user", "/~user"},
        {"/%61dmin/x", "/admin/x", "/admin/x"},
        // those of reserved characters are kept: they mean something else than the character
        {"/a%3Bb", "/a;b", "/a%3Bb"},
        {"/a%3bb", "/a;b", "/a%3Bb"},
        {"/%21%24%26%27%28%29%2A%2B%2C%3D%3A%40", "/!$&'()*+,=:@",
         "/%21%24%26%27%28%29%2A%2B%2C%3D%3A%40"},
        {"/a%3Fb", "/a?b", "/a%3Fb"},
        {"/a%23b", "/a#b", "/a%23b"},
        {"/a%26b", "/a&b", "/a%26b"},
        {"/a%2Bb+c", "/a+b+c", "/a%2Bb+c"},
        // others are kept too, in upper case
        {"/a%20b", "/a b", "/a%20b"},
        {"/%22%3c%3e", "/\"<>", "/%22%3C%3E"},
        {"/%5b%5d%7b%7d%7c%5e%60", "/[]{}|^`", "/%5B%5D%7B%7D%7C%5E%60"},
        {"/caf%c3%a9", "/caf\xc3\xa9", "/caf%C3%A9"},
        {"/caf%e9", "/caf\xe9", "/caf%E9"},
        {"/%ff%80", "/\xff\x80", "/%FF%80"},
        {"/%c0%ae%c0%ae/a", "/\xc0\xae\xc0\xae/a", "/%C0%AE%C0%AE/a"},
        {"/%E4%BD%A0", "/\xe4\xbd\xa0", "/%E4%BD%A0"},
        {"/100%25", "/100%", "/100%25"},
        // encoded twice: decoded once, and nobody decodes it further
        {"/%252e", "/%2e", "/%252e"},
        {"/a/%252e%252e/b", "/a/%2e%2e/b", "/a/%252e%252e/b"},
        {"/a%252Fb", "/a%2Fb", "/a%252Fb"},
        {"/a%25252Fb", "/a%252Fb", "/a%25252Fb"},
        {"/%25", "/%", "/%25"},
        {"/%2541", "/%41", "/%2541"},
        {"/%2500", "/%00", "/%2500"},
        {"/%255C..", "/%5C..", "/%255C.."},
        // what browsers send raw is encoded
        {"/[", "/[", "/%5B"},
        {"/a[0]", "/a[0]", "/a%5B0%5D"},
        {"/{id}", "/{id}", "/%7Bid%7D"},
        {"/a|b", "/a|b", "/a%7Cb"},
        {"/a^b", "/a^b", "/a%5Eb"},
        {"/a`b", "/a`b", "/a%60b"},
        // encoded control bytes stay encoded
        {"/a%0Ab", "/a%0Ab", "/a%0Ab"},
        {"/a%0d%0aX:%20y", "/a%0D%0AX: y", "/a%0D%0AX:%20y"},
        {"/%09", "/%09", "/%09"},
        {"/%01%1f%7f", "/%01%1F%7F", "/%01%1F%7F"},
    };
    for (auto const& r : rows) {
        INFO(r.raw);
        auto const made = run(r.raw);
        CHECK(made.sentence == "");
        CHECK(made.matched == r.matched);
        CHECK(made.canonical == r.canonical);
        auto const again = run(made.canonical);
        CHECK(again.matched == r.matched);
        CHECK(again.canonical == r.canonical);
    }
}

TEST_CASE("paths that are refused, and why", "[path]") {
    struct row {
        std::string raw, why;
    };
    std::string const ambiguous = "the path has a dot segment that servers read in different ways";
    std::string const climbs = "the path climbs over the root";
    std::string const escape =
        "the path has a percent sign without two hexadecimal digits after it";
    std::string const backslash = "the path has a backslash: write it as %5C";
    std::string const raw_byte = "the path has a byte beyond ASCII: percent-encode it";
    std::string const character = "the path has a character that has to be percent-encoded";
    std::string const mark = "the path has a ? or # in it: write it as %3F or %23";
    std::vector<row> const rows{
        {"a", "the path does not begin with a slash"},
        {"*", "the path does not begin with a slash"},
        {"../a", "the path does not begin with a slash"},
        {"%2Fa", "the path does not begin with a slash"},
        // bad escapes
        {"/%", escape},
        {"/a%", escape},
        {"/%2", escape},
        {"/a%2", escape},
        {"/a%2/b", escape},
        {"/%/2e", escape},
        {"/%zz", escape},
        {"/%2g", escape},
        {"/%g2", escape},
        {"/%%", escape},
        {"/%%32", escape},
        {"/%u002e", escape},
        {"/%+1", escape},
        {"/% 1", escape},
        {"/%-1", escape},
        {"/%0x", escape},
        {"/100%/a", escape},
        // NUL
        {"/%00", "the path has an encoded NUL"},
        {"/a%00.php", "the path has an encoded NUL"},
        {"/a/..%00/", "the path has an encoded NUL"},
        {"/a\0b"s, character},
        // over the root
        {"/..", climbs},
        {"/../", climbs},
        {"/../a", climbs},
        {"/./..", climbs},
        {"//..", climbs},
        {"/a/../..", climbs},
        {"/a/../../b", climbs},
        {"/a/b/../../../c", climbs},
        {"/%2e%2e", climbs},
        {"/%2E./a", climbs},
        {"/.%2e/a", climbs},
        {"/a/./../../b", climbs},
        {"/a//../../b", climbs},
        // dot segments with parameters
        {"/..;/a", ambiguous},
        {"/..;", ambiguous},
        {"/a/..;/b", ambiguous},
        {"/a/..;x=1/b", ambiguous},
        {"/a/..;x;y/b", ambiguous},
        {"/.;/a", ambiguous},
        {"/a/.;x", ambiguous},
        {"/a/%2e%2e;/b", ambiguous},
        {"/a/.%2E;x/b", ambiguous},
        {"/a/..%3B/b", ambiguous},
        {"/a/..%3bx/b", ambiguous},
        {"/a/%2e;", ambiguous},
        // dot segments beside an encoded slash or backslash
        {"/a/..%2Fb", ambiguous},
        {"/a/..%2fb", ambiguous},
        {"/a%2F..", ambiguous},
        {"/a%2F../b", ambiguous},
        {"/a%2F%2e%2e%2Fb", ambiguous},
        {"/%2e%2e%2fa", ambiguous},
        {"/%2F%2e%2e%2Fa", ambiguous},
        {"/a%2F.", ambiguous},
        {"/.%2Fa", ambiguous},
        {"/a%2F.%2Fb", ambiguous},
        {"/a/..%5Cb", ambiguous},
        {"/a%5C..", ambiguous},
        {"/a%5c..%5cb", ambiguous},
        {"/a/%2e%2e%5cb", ambiguous},
        {"/a%2F..;x", ambiguous},
        {"/a;x%2F../b", ambiguous},
        // characters
        {"/a\\b", backslash},
        {"/\\", backslash},
        {"/..\\a", backslash},
        {"/a/..\\..\\b", backslash},
        {"/a\"b", character},
        {"/<script>", character},
        {"/a>b", character},
        {"/a b", character},
        {"/a\tb", character},
        {"/a\rb", character},
        {"/a\nb", character},
        {"/a\x01", character},
        {"/a\x7f", character},
        {"/caf\xc3\xa9", raw_byte},
        {"/\x80", raw_byte},
        {"/\xff", raw_byte},
        {"/a?b", mark},
        {"/a#b", mark},
        // the last segment is looked at as the first is
        {"/a/b/c/d\"", character},
        {"/a/../%", escape},
    };
    for (auto const& r : rows) {
        INFO(r.raw);
        auto const made = run(r.raw);
        CHECK(made.sentence == r.why);
        CHECK(made.matched.empty());
        CHECK(made.canonical.empty());
    }
    CHECK(path_result::reason == end_reason::bad_target);
}

TEST_CASE("each single octet of a path is either kept, encoded or refused", "[path]") {
    std::string const plain =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/";
    std::string const encoded = "[]{}|^`";
    for (unsigned c = 0; c < 256; ++c) {
        INFO(c);
        auto const raw = "/x"s + static_cast<char>(c);
        auto const made = run(raw);
        if (c != 0 && plain.find(static_cast<char>(c)) != plain.npos) {
            CHECK(made.zero_copy);
        } else if (c != 0 && encoded.find(static_cast<char>(c)) != encoded.npos) {
            CHECK(made.matched == raw);
            CHECK(made.canonical.size() == 5);
        } else {
            CHECK(!made.sentence.empty());
        }
    }
}

TEST_CASE("the canonical form is a fixed point that matches as the path did", "[path]") {
    std::vector<std::string_view> const pieces{
        "/",      "/",   "/",   ".",   "..",  "a",  "bc",  "%2F", "%2f", "%2e", "%2E",
        "%5C",    ";",   "%3B", "%25", "25",  "2e", "2F",  "%61", "%20", "[",   "|",
        "%C3%A9", "%0a", "@",   "~",   "%7E", "%",  "%00", "\\",  "+"};
    std::mt19937 random(20240229);
    std::size_t accepted = 0;
    for (int round = 0; round < 60'000; ++round) {
        std::string raw = "/";
        for (auto count = random() % 9; count != 0; --count) {
            // The last few are rare: they refuse the path.
            auto const of = random() % 16 == 0 ? pieces.size() : pieces.size() - 4;
            raw += pieces[random() % of];
        }
        auto const made = run(raw);
        if (!made.sentence.empty())
            continue;
        ++accepted;
        auto const again = run(made.canonical);
        INFO(raw);
        REQUIRE(again.sentence.empty());
        REQUIRE(again.zero_copy == (again.canonical == again.matched &&
                                    again.canonical.find("/.") == again.canonical.npos &&
                                    again.canonical.find('%') == again.canonical.npos));
        REQUIRE(again.canonical == made.canonical);
        REQUIRE(again.matched == made.matched);
        REQUIRE(made.matched.front() == '/');
        for (std::string_view const bad : {"//", "/./", "/../"}) {
            REQUIRE(made.matched.find(bad) == made.matched.npos);
            REQUIRE(made.canonical.find(bad) == made.canonical.npos);
        }
        // Every prefix of the matched form belongs to a rest of the canonical one.
        std::string matched, canonical;
        REQUIRE(canonical_rest(made.canonical, 0) == made.canonical);
        REQUIRE(canonical_rest(made.canonical, made.matched.size()).empty());
        for (std::size_t cut = 1; cut < made.matched.size(); ++cut) {
            if (made.matched[cut] != '/')
                continue;
            auto const rest = canonical_rest(made.canonical, cut);
            auto const of_rest = normalise_path(rest, matched, canonical);
            REQUIRE(of_rest.matched == std::string_view(made.matched).substr(cut));
        }
    }
    CHECK(accepted > 20'000);
}

TEST_CASE("queries pass as sent but for what must not be there", "[path]") {
    struct row {
        std::string query;
        bool strict, lenient;
    };
    std::vector<row> const rows{
        {"", true, true},          {"a=1&b=2", true, true},   {"a[]=1", true, true},
        {"{a}|^`", true, true},    {"a=%zz&b=%", true, true}, {"a=%00", true, true},
        {"a=../../b", true, true}, {"a=b?c=d", true, true},   {"a=\\b", true, true},
        {"a='b'", true, true},     {"a=%22", true, true},     {"a=\"b\"", false, true},
        {"<b", false, true},       {"b>", false, true},       {"caf\xc3\xa9", false, true},
        {"\x80", false, true},     {"\xff", false, true},     {"a b", false, false},
        {"a\tb", false, false},    {"a\rb", false, false},    {"a\nb", false, false},
        {"a\0b"s, false, false},   {"a\x1f", false, false},   {"a\x7f", false, false},
        {"a#b", false, false},
    };
    for (auto const& r : rows) {
        INFO(r.query);
        CHECK(check_query(r.query).empty() == r.strict);
        CHECK(check_query(r.query, true).empty() == r.strict);
        CHECK(check_query(r.query, false).empty() == r.lenient);
    }
}

TEST_CASE("a prefix is replaced as in nginx, and never makes a dot segment", "[path]") {
    struct row {
        std::string raw, prefix, replacement, result;
    };
    std::vector<row> const rows{
        {"/tomcat/", "/tomcat/", "/", "/"},
        {"/tomcat/x/y", "/tomcat/", "/", "/x/y"},
        {"/tomcat/x", "/tomcat/", "/app/", "/app/x"},
        {"/tomcat/x", "/tomcat/", "/app", "/appx"},
        {"/tomcat/x", "/tomcat", "/app", "/app/x"},
        {"/tomcat/x", "/tomcat", "/", "/x"},
        {"/tomcat/x", "/tomcat", "/app/", "/app/x"},
        {"/tomcat", "/tomcat", "/", "/"},
        {"/tomcat", "/tomcat", "/app", "/app"},
        {"/tomcats", "/tomcat", "/", "/s"},
        {"/x", "/", "/app/", "/app/x"},
        {"/a%20b/c%20d", "/a b/", "/", "/c%20d"},
        {"/%7Ea/%3Bx", "/~a/", "/", "/%3Bx"},
        {"/caf%c3%a9/x", "/caf\xc3\xa9/", "/", "/x"},
        {"/a%2Fb/c", "/a%2Fb/", "/z/", "/z/c"},
        {"/a%0Ab/c", "/a%0Ab/", "/z/", "/z/c"},
        {"/a%2Fb", "/a", "/z", "/z%2Fb"},
        {"/a%2Fb", "/a%", "/z", "/z%2Fb"},
        {"/a%252Fb", "/a%", "/z", "/z2Fb"},
        // what would climb
        {"/a../secret", "/a", "/files/", ""},
        {"/a./secret", "/a", "/files/", ""},
        {"/a..", "/a", "/files/", ""},
        {"/a..;x/b", "/a", "/files/", ""},
        {"/a..%2Fb", "/a", "/files/", ""},
        {"/a./b", "/a", "/files/.", ""},
        {"/a%5C..b", "/a", "/files/..", ""},
        {"/a../b", "/a", "/files", "/files../b"},
        {"/a.../b", "/a", "/files/", "/files/.../b"},
    };
    for (auto const& r : rows) {
        INFO(r.raw << " " << r.prefix << " -> " << r.replacement);
        auto const made = run(r.raw);
        REQUIRE(made.matched.starts_with(r.prefix));
        std::string result;
        CHECK(replace_prefix(made.canonical, r.prefix.size(), r.replacement, result) == r.result);
    }
}
