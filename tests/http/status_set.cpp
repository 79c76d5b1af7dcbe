#include "catch.hpp"

#include <relais/http/status_set.hpp>

using namespace relais;

TEST_CASE("status_set: what was put in is in it") {
    constexpr status_set set{100, 502, 503, 999};
    for (unsigned status = 0; status < 2000; ++status) {
        CAPTURE(status);
        bool const in = status == 100 || status == 502 || status == 503 || status == 999;
        CHECK(set.contains(status) == in);
    }
    CHECK_FALSE(set.contains(~0u));
    CHECK(set.wrong() == status_set::fine);
    CHECK_FALSE(set.empty());
    CHECK(status_set().empty());
    CHECK(status_set{503, 502} == status_set{502, 503});
}

TEST_CASE("status_set: what is no status is found") {
    CHECK(status_set{99, 500}.wrong() == 99);
    CHECK(status_set{500, 1000}.wrong() == 1000);
    CHECK_FALSE(status_set{1000}.contains(1000));
    CHECK(status_set{0}.wrong() == 0);
}
