#include "catch.hpp"

#include <relais/net/connection.hpp>

#include <ostream>
#include <string>

using namespace relais;

TEST_CASE("connection: which hosts a TLS session serves") {
    struct row {
        char const* name; // as the client sent it; empty: none
        char const* host;
        bool guarded;
        bool one_host;
        bool served;
    };
    for (auto const& r : {
             row{"a.example", "a.example", true, false, true},
             row{"a.example", "A.EXAMPLE", true, false, true},
             row{"a.example", "a.example.", true, false, true},
             row{"a.example.", "a.example", true, false, true},
             row{"a.example", "b.example", true, false, false},
             row{"a.example", "a.example.evil", true, false, false},
             row{"a.example", "a.exampl", true, false, false},
             row{"a.example", "b.example", true, true,
                 false},                              // one rule, but not the client's own words
             row{"a.example", "", true, false, true}, // HTTP/1.0: no host is claimed
             row{"", "a.example", true, false, false},
             row{"", "a.example", true, true, true}, // with one rule for all it does not matter
             row{"a.example", "b.example", false, false, true},
             row{"", "b.example", false, false, true},
         }) {
        tls_session session;
        session.server_name = r.name;
        session.guarded = r.guarded;
        session.one_host = r.one_host;
        INFO(r.name << " / " << r.host << " guarded " << r.guarded << " one " << r.one_host);
        CHECK(session.serves(r.host) == r.served);
    }
}
