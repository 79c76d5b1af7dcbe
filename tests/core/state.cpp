#include "catch.hpp"

#include <relais/core/state.hpp>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace {

struct session {
    std::string user;
    explicit session(std::string u) : user(std::move(u)) {}
};

struct counter {
    int hits = 0;
};

struct throwing {
    throwing() { throw std::runtime_error("no"); }
};

template <int N>
struct noisy {
    std::string& log;
    explicit noisy(std::string& l) : log(l) {}
    noisy(noisy const&) = delete;
    ~noisy() { log += static_cast<char>('0' + N); }
};

// Looks for another object while it goes.
struct asking {
    relais::state& state;
    bool& found;
    asking(relais::state& s, bool& f) : state(s), found(f) {}
    ~asking() { found = state.find<counter>() != nullptr && state.find<asking>() == nullptr; }
};

struct alignas(128) wide {
    char byte = 'w';
};

} // namespace

static_assert(sizeof(relais::state) == sizeof(void*));
static_assert(!std::is_copy_constructible_v<relais::state>);

TEST_CASE("state is found by its type") {
    relais::state state;
    CHECK(state.empty());
    CHECK(state.find<session>() == nullptr);

    auto& made = state.emplace<session>("ada");
    CHECK(made.user == "ada");
    CHECK(state.find<counter>() == nullptr);
    state.emplace<counter>().hits = 3;
    CHECK(&state.get<session>() == &made);
    CHECK(std::as_const(state).get<counter>().hits == 3);
    CHECK(std::as_const(state).find<session>() == &made);
    CHECK(!state.empty());

    // Types that look alike are different.
    CHECK(state.find<int>() == nullptr);
    state.emplace<int>(1);
    state.emplace<unsigned>(2u);
    CHECK(state.get<int>() == 1);
    CHECK(state.get<unsigned>() == 2);
    CHECK(state.emplace<std::unique_ptr<int>>(std::make_unique<int>(5)));
    CHECK(reinterpret_cast<std::uintptr_t>(&state.emplace<wide>()) % 128 == 0);
}

TEST_CASE("state that nobody made is a mistake of the one who asks") {
    relais::state state;
    CHECK_THROWS_AS(state.get<session>(), relais::stage_misuse);
    CHECK_THROWS_AS(std::as_const(state).get<session>(), relais::stage_misuse);
    CHECK_THROWS_AS(state.emplace<throwing>(), std::runtime_error);
    CHECK(state.empty());
}

TEST_CASE("state is destroyed in the opposite order of its making") {
    std::string log;
    {
        relais::state state;
        state.emplace<noisy<1>>(log);
        state.emplace<noisy<2>>(log);
        state.emplace<noisy<3>>(log);
        CHECK(state.erase<noisy<2>>());
        CHECK(!state.erase<noisy<2>>());
        CHECK(log == "2");
        state.emplace<noisy<1>>(log); // replaced: destroyed at once, and the newest now
        CHECK(log == "21");
    }
    CHECK(log == "2113");
}

TEST_CASE("what was made before is found while state is destroyed") {
    bool found = false;
    relais::state state;
    state.emplace<counter>();
    state.emplace<asking>(state, found);
    state.clear();
    CHECK(found);
    CHECK(state.empty());
    state.clear();
}

TEST_CASE("state moves") {
    std::string log;
    relais::state first;
    first.emplace<noisy<1>>(log);
    relais::state second(std::move(first));
    CHECK(second.find<noisy<1>>());
    relais::state third;
    third.emplace<noisy<2>>(log);
    third = std::move(second);
    CHECK(log == "2");
    CHECK(third.find<noisy<1>>());
    CHECK(!third.find<noisy<2>>());
}
