#include "catch.hpp"

#include <relais/core/error.hpp>
#include <relais/net/address_set.hpp>

#include <string>
#include <vector>

using namespace relais;

TEST_CASE("what is in a set of addresses", "[address_set]") {
    address_set const set({"10.0.0.0/8", "192.0.2.7", "172.16.0.0/12", "2001:db8::/33", "fe80::1"},
                          "x");
    struct row {
        char const* address;
        bool in;
    };
    for (auto const& r : {
             row{"10.0.0.0", true},
             row{"10.255.255.255", true},
             row{"11.0.0.0", false},
             row{"9.255.255.255", false},
             row{"192.0.2.7", true},
             row{"192.0.2.6", false},
             row{"192.0.2.8", false},
             row{"172.15.255.255", false},
             row{"172.16.0.0", true},
             row{"172.31.255.255", true},
             row{"172.32.0.0", false},
             row{"::ffff:10.1.2.3", true},
             row{"::ffff:11.1.2.3", false},
             row{"2001:db8::1", true},
             row{"2001:db8:7fff::1", true},
             row{"2001:db8:8000::1", false},
             row{"2001:db9::1", false},
             row{"fe80::1", true},
             row{"fe80::2", false},
             row{"unix:", false},
             row{"", false},
             row{"10.0.0.1 ", false},
             row{"10.0.0.1:80", false},
             row{"a name", false},
         }) {
        INFO(r.address);
        CHECK(set.contains(std::string_view(r.address)) == r.in);
    }
    CHECK_FALSE(set.contains(std::string(100, '1')));
}

TEST_CASE("sets of everybody, of nobody and of Unix sockets", "[address_set]") {
    CHECK(address_set().empty());
    CHECK_FALSE(address_set().contains(std::string_view("10.0.0.1")));
    address_set const all({"all"}, "x");
    CHECK_FALSE(all.empty());
    CHECK(all.contains(std::string_view("unix:")));
    CHECK(all.contains(std::string_view("::1")));
    address_set const here({"unix:"}, "x");
    CHECK_FALSE(here.empty());
    CHECK(here.contains(std::string_view("unix:")));
    CHECK_FALSE(here.contains(std::string_view("127.0.0.1")));
    address_set const four({"0.0.0.0/0"}, "x");
    CHECK(four.contains(std::string_view("1.2.3.4")));
    CHECK_FALSE(four.contains(std::string_view("::1")));
    address_set const six({"::/0"}, "x");
    CHECK(six.contains(std::string_view("::1")));
    CHECK_FALSE(six.contains(std::string_view("1.2.3.4")));
    CHECK_FALSE(six.contains(std::string_view("::ffff:1.2.3.4")));
}

TEST_CASE("texts that are no ranges", "[address_set]") {
    auto const why = [](char const* text) -> std::string {
        try {
            address_set({"::1", text}, "allow()");
        } catch (startup_error const& e) {
            return e.what();
        }
        return "";
    };
    std::string const how =
        "; ranges are written as 10.0.0.0/8, 192.0.2.7, 2001:db8::/32, unix: or all";
    CHECK(why("localhost") == "allow(): \"localhost\" is no address" + how);
    CHECK(why("10.0.0.0/33") == "allow(): \"10.0.0.0/33\" has no prefix length of 0 to 32" + how);
    CHECK(why("::/129") == "allow(): \"::/129\" has no prefix length of 0 to 128" + how);
    CHECK(why("10.0.0.1/8") == "allow(): \"10.0.0.1/8\" has bits behind its prefix: is the address "
                               "or the length the mistake?" +
                                   how);
    for (auto const* text : {"", "/8", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x", "10.0.0.0/8/8",
                             "10.0.0", "fe80::1%lo", "2001:db8::1/32", "10.0.0.0/9999999999"}) {
        INFO(text);
        CHECK_FALSE(why(text).empty());
    }
    CHECK(why("10.0.0.1/32").empty());
    CHECK(why("0.0.0.0/0").empty());
}
