#include "catch.hpp"

#include <relais/http/fields.hpp>

#include <stdexcept>
#include <string>
#include <vector>

using namespace relais;

namespace {

std::string text(fields const& f) {
    std::string s;
    for (auto const& [name, value] : f)
        s.append(name).append("=").append(value).append(";");
    return s;
}

std::vector<std::string> elements(std::string_view list) {
    std::vector<std::string> all;
    for (auto element = next_list_element(list); !element.empty();
         element = next_list_element(list))
        all.emplace_back(element);
    return all;
}

std::string upper(std::string_view s) {
    std::string u(s);
    for (char& c : u)
        if (c >= 'a' && c <= 'z')
            c = static_cast<char>(c - 'a' + 'A');
    return u;
}

template <class F>
std::string sentence(F f) {
    try {
        f();
    } catch (std::invalid_argument const& e) {
        return e.what();
    }
    return "nothing was thrown";
}

} // namespace

TEST_CASE("every known name is found in any case, and its neighbours are not", "[fields]") {
    for (unsigned i = 1; i < detail::known_field_count; ++i) {
        auto const id = static_cast<known_field>(i);
        std::string const name(name_of(id));
        CAPTURE(name);
        CHECK(known_field_of(name) == id);
        CHECK(known_field_of(upper(name)) == id);
        for (std::size_t at = 0; at < name.size(); ++at) {
            auto other = name;
            other[at] = other[at] == '_' ? 'q' : '_';
            CHECK(known_field_of(other) == known_field::other);
            other[at] = static_cast<char>(name[at] ^ 0x80);
            CHECK(known_field_of(other) == known_field::other);
            // The bit that makes letters lower-case makes a hyphen of CR, and a digit of a control
            // byte.
            other[at] = static_cast<char>(name[at] & ~0x20);
            bool const letter = detail::to_lower(name[at]) >= 'a';
            CHECK((known_field_of(other) == id) == letter);
        }
        CHECK(known_field_of(name + "s") != id);
        CHECK(known_field_of(name.substr(1)) != id);
    }
    CHECK(known_field_of("") == known_field::other);
    CHECK(known_field_of("X-Custom") == known_field::other);
    CHECK(known_field_of(std::string(300, 'a')) == known_field::other);
    CHECK(name_of(known_field::other).empty());
}

TEST_CASE("a known name is the one that Beast knows", "[fields]") {
    CHECK(known_field_of("ETag") == known_field::etag);
    struct row {
        field beast;
        known_field id;
    };
    for (auto const& r :
         {row{field::host, known_field::host}, row{field::connection, known_field::connection},
          row{field::content_length, known_field::content_length}, row{field::te, known_field::te},
          row{field::transfer_encoding, known_field::transfer_encoding},
          row{field::set_cookie, known_field::set_cookie},
          row{field::sec_websocket_key, known_field::sec_websocket_key},
          row{field::www_authenticate, known_field::www_authenticate},
          row{field::if_modified_since, known_field::if_modified_since},
          row{field::http2_settings, known_field::http2_settings}}) {
        auto const name = boost::beast::http::to_string(r.beast);
        CHECK(known_field_of({name.data(), name.size()}) == r.id);
    }
}

TEST_CASE("fields keep order, repetition and case", "[fields]") {
    fields f;
    f.add("Host", "a");
    f.add("set-cookie", "x=1");
    f.add("X-Custom", "1");
    f.add("Set-Cookie", "y=2");
    f.add("X-CUSTOM", "2");
    CHECK(text(f) == "Host=a;set-cookie=x=1;X-Custom=1;Set-Cookie=y=2;X-CUSTOM=2;");
    CHECK(f.size() == 5);
    CHECK(f["host"] == "a");
    CHECK(f[field::host] == "a");
    CHECK(f[known_field::host] == "a");
    CHECK(f["x-custom"] == "1");
    CHECK(f["absent"].empty());
    CHECK(f[field::accept].empty());
    CHECK(f[known_field::via].empty());
    CHECK(f.contains("X-custom"));
    CHECK(f.contains(field::set_cookie));
    CHECK(f.contains(known_field::set_cookie));
    CHECK_FALSE(f.contains("x-other"));
    CHECK_FALSE(f.contains(known_field::other));
    CHECK(f.count("Set-Cookie") == 2);
    CHECK(f.count(field::set_cookie) == 2);
    CHECK(f.count(known_field::set_cookie) == 2);
    CHECK(f.count("x-custom") == 2);
    CHECK(f.count("none") == 0);

    std::string values;
    for (auto v : f.all("SET-COOKIE"))
        values.append(v).append("|");
    for (auto v : f.all("x-custom"))
        values.append(v).append("|");
    for (auto v : f.all(field::host))
        values.append(v).append("|");
    for (auto v : f.all(known_field::set_cookie))
        values.append(v).append("|");
    CHECK(values == "x=1|y=2|1|2|a|x=1|y=2|");
    CHECK(f.all("nothing").empty());
    CHECK(f.all(known_field::via).empty());
}

TEST_CASE("set replaces the first where it stands and takes the others off", "[fields]") {
    fields f;
    f.add("A", "1");
    f.add("Via", "x");
    f.add("a", "2");
    f.add("B", "3");
    f.add("via", "y");
    f.set("a", "new");
    CHECK(text(f) == "a=new;Via=x;B=3;via=y;");
    f.set(field::via, "z");
    CHECK(text(f) == "a=new;Via=z;B=3;");
    f.set_view(known_field::via, "w");
    CHECK(text(f) == "a=new;Via=w;B=3;");
    f.set("C", f["a"]);
    f.set("a", f["a"]);
    CHECK(text(f) == "a=new;Via=w;B=3;C=new;");
    CHECK(f.size() == 4);
}

TEST_CASE("what is there more than once is known", "[fields]") {
    fields f;
    auto const twice = [&f](known_field id) { return f.repeated().contains(id); };
    f.add("Via", "1");
    f.add("Host", "a");
    CHECK_FALSE(twice(known_field::via));
    f.add("via", "2");
    f.add("X", "1");
    f.add("X", "2");
    CHECK(twice(known_field::via));
    CHECK_FALSE(twice(known_field::host));
    CHECK_FALSE(twice(known_field::other));
    f.set("Via", "3");
    CHECK_FALSE(twice(known_field::via));
    f.add("Via", "4");
    f.add("Via", "5");
    f.erase_if([](fields::entry const& e) { return e.value == "3"; });
    CHECK(twice(known_field::via));
    f.erase_if([](fields::entry const& e) { return e.value == "4"; });
    CHECK_FALSE(twice(known_field::via));
    f.add("Via", "6");
    CHECK(twice(known_field::via));
    f.erase("Via");
    CHECK_FALSE(twice(known_field::via));
    f.add("Via", "7");
    CHECK_FALSE(twice(known_field::via));
    f.add("Via", "8");
    f.clear();
    f.add("Via", "9");
    CHECK_FALSE(twice(known_field::via));
}

TEST_CASE("erased fields are gone for every way of asking", "[fields]") {
    fields f;
    f.add("Connection", "close");
    f.add("X", "1");
    f.add("connection", "x");
    f.add("Y", "2");
    CHECK(f.erase("CONNECTION") == 2);
    CHECK(f.erase("Connection") == 0);
    CHECK(text(f) == "X=1;Y=2;");
    CHECK_FALSE(f.contains(known_field::connection));
    CHECK(f.find(known_field::connection) == nullptr);
    CHECK(f.size() == 2);
    CHECK(f.erase("") == 0);
    CHECK_FALSE(f.contains(""));
    CHECK(f.count("") == 0);
    CHECK(f[""].empty());
    CHECK(f.erase("x") == 1);
    CHECK(f.erase(field::host) == 0);
    CHECK(f.begin()->name == "Y");
    f.add("Connection", "again");
    CHECK(f[known_field::connection] == "again");
    CHECK(f.erase(known_field::connection) == 1);
    CHECK(text(f) == "Y=2;");

    f.add("Via", "1");
    f.add("via", "2");
    CHECK(f.erase_if([](fields::entry const& e) { return e.value == "1"; }) == 1);
    CHECK(f[known_field::via] == "2");
    CHECK(f.erase_if([](fields::entry const& e) { return e.id == known_field::via; }) == 1);
    CHECK_FALSE(f.contains(known_field::via));
    CHECK(text(f) == "Y=2;");
    CHECK(f.size() == 1);
    CHECK_FALSE(f.empty());
    CHECK(f.erase("Y") == 1);
    CHECK(f.empty());
    CHECK(f.begin() == f.end());
}

TEST_CASE("a name that is no token and a value with a control byte are refused with a sentence",
          "[fields]") {
    fields f;
    f.add("Kept", "as it was");
    struct row {
        std::string name, value, part;
    };
    for (auto const& r : std::vector<row>{
             {"", "v", "empty"},
             {"A b", "v", "'A b'"},
             {"A:", "v", "'A:'"},
             {"A\r\nB", "v", "'A??B'"},
             {"Caf\xc3\xa9", "v", "name of a field"},
             {"A", "x\r\nSet-Cookie: y", "line break (0x0d)"},
             {"A", "x\ny", "line break (0x0a)"},
             {"A", std::string("x\0y", 3), "a NUL (0x00)"},
             {"A", "x\x1by", "control byte (0x1b)"},
             {"A", "x\x7fy", "control byte (0x7f)"},
         }) {
        CAPTURE(r.name, r.value);
        CHECK_THAT(sentence([&] { f.set(r.name, r.value); }), Catch::Contains(r.part));
        CHECK_THAT(sentence([&] { f.add(r.name, r.value); }), Catch::Contains(r.part));
    }
    CHECK_THAT(sentence([&] { f.set(field::location, "/\r\nX: y"); }),
               Catch::Contains("'Location'"));
    CHECK_THAT(sentence([&] { f.add(field::location, "/\n"); }), Catch::Contains("'Location'"));
    CHECK_THROWS_AS(f.set(field::unknown, "x"), std::invalid_argument);
    CHECK(text(f) == "Kept=as it was;");
    f.set("A", "tab\tand \xc3\xa9 are legal");
    CHECK(f["a"] == "tab\tand \xc3\xa9 are legal");
    f.set("A", "");
    CHECK(f.contains("A"));
    CHECK(f["A"].empty());
}

TEST_CASE("what is set is copied, and an object that is cleared starts again", "[fields]") {
    fields f;
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 200; ++i) {
            auto name = "X-Name-" + std::to_string(i);
            std::string value(static_cast<std::size_t>(i), static_cast<char>('a' + i % 26));
            f.add(name, value);
            name.assign(name.size(), '!');
            value.assign(value.size(), '!');
        }
        for (int i = 0; i < 200; ++i)
            CHECK(f["x-name-" + std::to_string(i)] ==
                  std::string(static_cast<std::size_t>(i), static_cast<char>('a' + i % 26)));
        f.add("Host", "h");
        f.clear();
        CHECK(f.empty());
        CHECK(f.begin() == f.end());
        CHECK(f.present().empty());
    }
}

TEST_CASE("views are not copied", "[fields]") {
    std::string const head = "Host: here";
    fields f;
    f.append_view(std::string_view(head).substr(0, 4), std::string_view(head).substr(6),
                  known_field::host);
    f.append_view(known_field::x_real_ip, "192.0.2.1");
    CHECK(f["Host"].data() == head.data() + 6);
    CHECK(text(f) == "Host=here;X-Real-IP=192.0.2.1;");
    CHECK(f.present().contains(known_field::x_real_ip));
    CHECK(f.present().intersects(known_fields(known_field::via, known_field::host)));
    CHECK_FALSE(f.present().intersects(known_fields(known_field::via, known_field::other)));
}

TEST_CASE("comma lists are split as RFC 9110 says", "[fields]") {
    using list = std::vector<std::string>;
    CHECK(elements("a, b ,\tc") == list{"a", "b", "c"});
    CHECK(elements("") == list{});
    CHECK(elements(" , ,,\t") == list{});
    CHECK(elements(",a,,b,") == list{"a", "b"});
    CHECK(elements(R"(a="x,y", b)") == list{R"(a="x,y")", "b"});
    CHECK(elements(R"("a\",b", c)") == list{R"("a\",b")", "c"});
    CHECK(elements(R"(a, "open, b)") == list{"a", R"("open, b)"});
    CHECK(elements("\"a\\") == list{"\"a\\"});

    CHECK(list_has_token("keep-alive, Upgrade", "upgrade"));
    CHECK(list_has_token("UPGRADE", "upgrade"));
    CHECK_FALSE(list_has_token("upgrades, x-upgrade", "upgrade"));
    CHECK_FALSE(list_has_token(R"("upgrade")", "upgrade"));
    CHECK_FALSE(list_has_token(R"("x, upgrade, y")", "upgrade"));
    CHECK_FALSE(list_has_token("upgrade;q=1", "upgrade"));
    CHECK_FALSE(list_has_token("", "upgrade"));

    fields f;
    f.add("Connection", "close");
    f.add("connection", "x, Upgrade");
    f.add("X-List", "one");
    f.add("x-list", "two");
    CHECK(f.has_token(known_field::connection, "upgrade"));
    CHECK(f.has_token("Connection", "x"));
    CHECK_FALSE(f.has_token(known_field::connection, "keep-alive"));
    CHECK(f.has_token("X-List", "two"));
    CHECK_FALSE(f.has_token("X-List", "three"));
    CHECK_FALSE(f.has_token(known_field::via, "a"));
    CHECK_FALSE(f.has_token("x-list2", "one"));
}

TEST_CASE("texts are compared without case in ASCII alone", "[fields]") {
    CHECK(equal_ignoring_case("AbC-1", "aBc-1"));
    CHECK_FALSE(equal_ignoring_case("abc", "abcd"));
    CHECK_FALSE(equal_ignoring_case("[", "{"));
    CHECK_FALSE(equal_ignoring_case("\xc3\x89", "\xc3\xa9"));
    CHECK(equal_ignoring_case("", ""));
}

TEST_CASE("fields are written as they came, less those left out", "[fields]") {
    // One text, as a head is: views into it, whose lines stand one behind the other or do not.
    std::string const head =
        "Host: a\r\nA: 1\r\nB:2\r\nC: 3 \r\nD:  4\r\nAge: 5\r\nE: 6\r\nF: \r\nG: 7\r\n";
    auto at = [&](std::string_view text) {
        return std::string_view(head).substr(head.find(text), text.size());
    };
    auto fill = [&](fields& f) {
        f.append_view(at("Host"), at("a"), known_field::host);
        for (auto [name, value] : {std::pair("A", "1"), {"B", "2"}, {"C", "3"}, {"D", "4"}})
            f.append_view(at(name), at(value), known_field::other);
        f.append_view(at("Age"), at("5"), known_field::age);
        f.append_view(at("E"), at("6"), known_field::other);
        f.append_view(at("F"), at("F: ").substr(3), known_field::other);
        f.append_view(at("G"), at("7"), known_field::other);
    };
    auto written = [](fields const& f, known_fields left_out = {}) {
        text_buffer out;
        detail::put_fields(out, f, left_out);
        return std::string(out.view());
    };
    fields f;
    CHECK(written(f).empty());
    fill(f);
    CHECK(written(f) ==
          "Host: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nAge: 5\r\nE: 6\r\nF: \r\nG: 7\r\n");
    CHECK(written(f, known_fields(known_field::host)) ==
          "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nAge: 5\r\nE: 6\r\nF: \r\nG: 7\r\n");
    CHECK(written(f, known_fields(known_field::host, known_field::age)) ==
          "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 6\r\nF: \r\nG: 7\r\n");
    f.erase("E");
    f.set("A", "one");
    f.add("H", "8");
    f.append_view(at("Age"), at("5"), known_field::age); // once more, out of its order
    f.append_view(at("A"), at("1"), known_field::other);
    CHECK(written(f) ==
          "Host: a\r\nA: one\r\nB: 2\r\nC: 3\r\nD: 4\r\nAge: 5\r\nF: \r\nG: 7\r\nH: 8\r\n"
          "Age: 5\r\nA: 1\r\n");
    // Neighbours in memory that are parted by something else.
    std::string const odd = "A: 1;;B: 2\r;C: 3\r\nD: 4";
    fields g;
    for (std::size_t i = 0; i < odd.size(); i += 6)
        g.append_view(std::string_view(odd).substr(i, 1), std::string_view(odd).substr(i + 3, 1),
                      known_field::other);
    CHECK(written(g) == "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n");
}
