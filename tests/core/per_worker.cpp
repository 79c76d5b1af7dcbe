#include "catch.hpp"

#include <relais/core/per_worker.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <type_traits>

namespace {

struct pinned {
    explicit pinned(int n) : number(n) {}
    pinned(pinned const&) = delete;
    pinned& operator=(pinned const&) = delete;
    int number;
};

struct threads {
    std::thread::id made, destroyed;
};

struct living {
    explicit living(threads& t) : log(t) { log.made = std::this_thread::get_id(); }
    living(living const&) = delete;
    ~living() { log.destroyed = std::this_thread::get_id(); }
    threads& log;
};

} // namespace

TEST_CASE("each worker has one object, made on first use") {
    relais::worker first, second({.index = 1});
    std::atomic<int> made = 0;
    relais::per_worker<pinned> const number([&] { return pinned(++made); });
    auto const copy = number;
    CHECK(made == 0);
    {
        relais::worker::scoped_current on(first);
        CHECK(number->number == 1);
        number->number = 10;
        CHECK((*copy).number == 10);
    }
    {
        relais::worker::scoped_current on(second);
        CHECK(copy->number == 2);
        CHECK(&copy.get() == &number.get());
    }
    relais::worker::scoped_current on(first);
    CHECK(number->number == 10);
    CHECK(made == 2);
}

TEST_CASE("two of one type are two objects, also where one comes into the place of the other") {
    relais::worker w;
    relais::worker::scoped_current on(w);
    relais::per_worker<int> one, other;
    *one = 1;
    *other = 2;
    CHECK(*one == 1);
    CHECK(*other == 2);
    for (int i = 0; i < 100; ++i) {
        relais::per_worker<int> next;
        REQUIRE(*next == 0);
        *next = i + 1;
    }
}

TEST_CASE("an object lives and dies on its worker's thread") {
    threads log;
    std::thread::id id;
    std::optional<relais::per_worker<living>> object;
    object.emplace([&] { return living(log); });
    std::thread([&] {
        id = std::this_thread::get_id();
        relais::worker w;
        w.post([&] {
            object->get();
            w.stop();
        });
        w.run();
        CHECK(log.made == id);
        CHECK(log.destroyed == std::thread::id());
        object.reset();
        CHECK(log.destroyed == std::thread::id());
    }).join();
    CHECK(log.destroyed == id);
}

TEST_CASE("a factory that throws is asked again") {
    relais::worker w;
    relais::worker::scoped_current on(w);
    int calls = 0;
    relais::per_worker<int> object([&] {
        if (++calls == 1)
            throw std::runtime_error("not yet");
        return 7;
    });
    CHECK_THROWS_AS(object.get(), std::runtime_error);
    CHECK(*object == 7);
    CHECK(calls == 2);
}
