// The forms of coroutine code that this project allows itself, executed. g++ 12 makes wrong code of
// others: it destroys temporaries twice, loses frames, or crashes (its tracker: 107288 and kin);
// those stand in comments and are not run. Under AddressSanitizer with g++ 12 this file tells
// whether the allowed forms are right.

#include "catch.hpp"

#include <relais/core/awaitable.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace {

namespace net = boost::asio;
using relais::awaitable;

// A class with constructors, on the heap so that AddressSanitizer sees a second destruction, and
// counted.
class tracked {
public:
    static inline int living = 0;

    explicit tracked(std::string_view text) : text_(std::make_unique<std::string>(text)) {
        ++living;
    }
    tracked(tracked const& other) : text_(std::make_unique<std::string>(*other.text_)) { ++living; }
    tracked(tracked&& other) noexcept : text_(std::move(other.text_)) { ++living; }
    tracked& operator=(tracked other) noexcept {
        text_.swap(other.text_);
        return *this;
    }
    ~tracked() { --living; }

    std::string const& text() const { return *text_; }

private:
    std::unique_ptr<std::string> text_;
};

// An aggregate whose destructor has something to do.
struct options {
    std::string name = "unnamed";
    std::function<std::string()> make;
};

// Runs a coroutine to its end; everything that it made is gone after it.
void run(awaitable<> coroutine) {
    net::io_context context;
    std::exception_ptr thrown;
    bool ended = false;
    net::co_spawn(context, std::move(coroutine), [&](std::exception_ptr e) {
        thrown = e;
        ended = true;
    });
    context.run();
    CHECK(ended);
    if (thrown)
        std::rethrow_exception(thrown);
    CHECK(tracked::living == 0);
}

// Suspends once, so that temporaries of the caller live in its frame.
awaitable<> turn() {
    co_await net::post(net::deferred);
}

awaitable<int> number(int value) {
    co_await turn();
    co_return value;
}

awaitable<bool> truth(bool value) {
    co_await turn();
    co_return value;
}

awaitable<tracked> make(std::string_view text) {
    co_await turn();
    co_return tracked(text);
}

awaitable<std::string> by_value(tracked object) {
    co_await turn();
    co_return object.text();
}

awaitable<std::string> by_reference(tracked const& object) {
    co_await turn();
    co_return object.text();
}

awaitable<std::string> by_view(std::string_view text, std::span<int const> numbers) {
    co_await turn();
    std::string result(text);
    for (int n : numbers)
        result += std::to_string(n);
    co_return result;
}

awaitable<std::string> with_options(options const& o) {
    co_await turn();
    co_return o.name + (o.make ? o.make() : "");
}

template <class F>
awaitable<int> calling(F f) {
    co_await turn();
    co_return f();
}

awaitable<> nothing() {
    co_return;
}

} // namespace

// Rule: no aggregate temporary with a non-trivial destructor in a full expression that contains
// co_await. Not allowed:
//     co_await with_options({.name = "a"});
//     awaitable<> f(options o = {});  ...  co_await f();
TEST_CASE("aggregates are named first") {
    run([]() -> awaitable<> {
        options o{.name = "an aggregate with a long name", .make = [] { return "!"; }};
        auto text = co_await with_options(o);
        CHECK(text == "an aggregate with a long name!");
    }());
}

// Rule: a temporary of a class with constructors of its own is fine.
TEST_CASE("temporaries of classes with constructors") {
    run([]() -> awaitable<> {
        auto a = co_await by_value(tracked("a string that is longer than any small buffer"));
        CHECK(a == "a string that is longer than any small buffer");
        auto b =
            co_await by_reference(tracked("another string that is longer than any small buffer"));
        CHECK(b == "another string that is longer than any small buffer");
        auto c = co_await by_value(co_await make("made by an awaited function"));
        CHECK(c == "made by an awaited function");
        auto d = co_await by_value(tracked(std::string("through ") + "a string"));
        CHECK(d == "through a string");
        CHECK(tracked::living == 0);
    }());
}

TEST_CASE("named objects and std::move") {
    run([]() -> awaitable<> {
        tracked object("moved into the callee's frame, and from there");
        auto copied = co_await by_value(object);
        auto moved = co_await by_value(std::move(object));
        CHECK(copied == moved);
        tracked made = co_await make("returned");
        CHECK(made.text() == "returned");
        made = co_await make("assigned");
        CHECK(made.text() == "assigned");
    }());
}

// Rule: no temporary lambda with a capture that has a destructor. Not allowed:
//     co_await calling([object = tracked("x")] { return 1; });
TEST_CASE("temporary lambdas capture references and trivial values only") {
    run([]() -> awaitable<> {
        int a = 1;
        int b = 2;
        auto by_reference = co_await calling([&] { return ++a; });
        CHECK(by_reference == 2);
        CHECK(a == 2);
        auto by_value = co_await calling([b] { return b; });
        CHECK(by_value == 2);
        auto named = [object = tracked("held by a named lambda")] {
            return static_cast<int>(object.text().size());
        };
        auto size = co_await calling(named);
        CHECK(size == 22);
        auto again = co_await calling(std::move(named));
        CHECK(again == 22);
    }());
}

// Rule: no ternary that yields a class in such an expression. Not allowed:
//     co_return condition ? co_await make("a") : tracked("b");
//     co_await (condition ? f(x) : g(x));
TEST_CASE("a choice between awaits is an if") {
    auto choose = [](bool first) -> awaitable<tracked> {
        if (first)
            co_return co_await make("awaited");
        co_return tracked("at once");
    };
    run([](auto& choosing) -> awaitable<> {
        auto a = co_await choosing(true);
        auto b = co_await choosing(false);
        CHECK(a.text() + b.text() == "awaitedat once");
    }(choose));
}

// Rule: never co_await in the condition of if, while or switch; in a coroutine without a local at
// function scope the code crashes. Not allowed:
//     if (!co_await truth(false)) co_return;
//     while (co_await truth(true)) ...
//     switch (co_await number(1)) ...
namespace {

std::string steps;

awaitable<> named_before_if() {
    bool ok = co_await truth(false);
    if (!ok) {
        steps += "a";
        co_return;
    }
    steps += "wrong";
}

awaitable<> named_in_if() {
    if (bool ok = co_await truth(false); !ok) {
        steps += "b";
        co_return;
    }
    steps += "wrong";
}

awaitable<> named_in_else_if() {
    if (bool first = co_await truth(false); first) {
        steps += "wrong";
    } else if (bool second = co_await truth(true); second) {
        steps += "c";
        co_await turn();
        co_return;
    }
    steps += "wrong";
}

awaitable<> named_in_switch() {
    switch (int n = co_await number(2); n) {
    case 2:
        co_await turn();
        steps += "d";
        co_return;
    default: steps += "wrong";
    }
}

awaitable<> named_in_loop() {
    for (int i = 0;; ++i) {
        bool more = co_await truth(i < 3);
        if (!more)
            co_return;
        steps += "e";
    }
}

} // namespace

TEST_CASE("the result of an await is named before it is tested") {
    run([]() -> awaitable<> {
        steps.clear();
        co_await named_before_if();
        co_await named_in_if();
        co_await named_in_else_if();
        co_await named_in_switch();
        co_await named_in_loop();
        CHECK(steps == "abcdeee");
    }());
}

TEST_CASE("structured bindings of an await, and as_tuple(deferred)") {
    run([]() -> awaitable<> {
        auto executor = co_await net::this_coro::executor;
        net::steady_timer timer(executor);
        timer.expires_at(net::steady_timer::time_point::min());
        auto [error] = co_await timer.async_wait(net::as_tuple(net::deferred));
        CHECK(!error);
        timer.expires_at(net::steady_timer::time_point::max());
        timer.cancel();
        net::post(executor, [&] { timer.cancel(); });
        auto [aborted] = co_await timer.async_wait(net::as_tuple(net::deferred));
        CHECK(aborted == net::error::operation_aborted);
        auto initiate = [](auto handler, int n) {
            net::post(std::bind(std::move(handler), boost::system::error_code(), n));
        };
        auto [none, count] = co_await net::async_initiate<net::as_tuple_t<net::deferred_t> const,
                                                          void(boost::system::error_code, int)>(
            initiate, net::as_tuple(net::deferred), 42);
        CHECK(!none);
        CHECK(count == 42);
    }());
}

TEST_CASE("awaited functions take references, scalars, views and classes with constructors") {
    run([]() -> awaitable<> {
        std::string text = "text that outlives the call ";
        int const numbers[] = {1, 2, 3};
        auto result = co_await by_view(text, numbers);
        CHECK(result == "text that outlives the call 123");
        // A temporary lives until the end of the full expression, which is after the await.
        auto temporary =
            co_await by_view(std::string("a temporary that is long enough "), std::span(numbers));
        CHECK(temporary == "a temporary that is long enough 123");
    }());
}

// Rule: no capturing lambda coroutine that is called at once: its captures die before it runs. Not
// allowed:
//     co_spawn(executor, [this, x]() -> awaitable<> { ... }(), detached);
TEST_CASE("lambda coroutines take arguments, or are kept while they run") {
    auto coroutine = [](tracked argument) -> awaitable<> {
        co_await turn();
        CHECK(argument.text() == "passed as an argument");
        auto kept = [&argument, own = tracked("captured by what is kept")]() -> awaitable<> {
            co_await turn();
            CHECK(argument.text() + own.text() == "passed as an argumentcaptured by what is kept");
        };
        co_await kept();
    }(tracked("passed as an argument"));
    run(std::move(coroutine));

    // co_spawn keeps a function object that it is given uncalled.
    net::io_context context;
    bool ran = false;
    net::co_spawn(
        context,
        [object = tracked("kept by co_spawn"), &ran]() -> awaitable<> {
            co_await turn();
            ran = object.text() == "kept by co_spawn";
        },
        [](std::exception_ptr e) { CHECK(!e); });
    context.run();
    CHECK(ran);
    CHECK(tracked::living == 0);
}

// Rule: an await after cancellation throws unless throw_if_cancelled(false) was said.
TEST_CASE("clean-up awaits after cancellation") {
    net::io_context context;
    net::cancellation_signal signal;
    std::string log;
    auto work = [](std::string& seen) -> awaitable<> {
        auto executor = co_await net::this_coro::executor;
        net::steady_timer timer(executor, net::steady_timer::time_point::max());
        auto [error] = co_await timer.async_wait(net::as_tuple(net::deferred));
        seen += error == net::error::operation_aborted ? "aborted " : "wrong ";
        bool threw = false;
        try {
            co_await turn();
        } catch (boost::system::system_error const&) {
            threw = true;
        }
        seen += threw ? "throws " : "wrong ";
        co_await net::this_coro::throw_if_cancelled(false);
        co_await turn();
        seen += "cleaned";
    };
    std::exception_ptr thrown;
    net::co_spawn(
        context, work(log),
        net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { thrown = e; }));
    context.poll();
    net::post(context, [&] { signal.emit(net::cancellation_type::terminal); });
    context.restart();
    context.run();
    CHECK(!thrown);
    CHECK(log == "aborted throws cleaned");
}

TEST_CASE("exceptions leave a coroutine and destroy what its frame holds once") {
    auto throwing = [](tracked argument) -> awaitable<tracked> {
        tracked local(argument.text());
        co_await turn();
        throw std::runtime_error(local.text());
    };
    run([](auto& thrower) -> awaitable<> {
        std::string caught;
        try {
            auto never = co_await thrower(tracked("thrown through a frame"));
            caught = "wrong";
        } catch (std::runtime_error const& e) {
            caught = e.what();
        }
        CHECK(caught == "thrown through a frame");
        CHECK(tracked::living == 0);
    }(throwing));
}

TEST_CASE("frames that never ran, or were suspended, are destroyed with what they hold") {
    {
        auto never = by_value(tracked("a parameter of a coroutine that never runs"));
        CHECK(tracked::living == 1);
    }
    CHECK(tracked::living == 0);
    {
        net::io_context context;
        auto waiting = [](tracked argument) -> awaitable<> {
            tracked local(argument.text());
            auto executor = co_await net::this_coro::executor;
            net::steady_timer timer(executor, net::steady_timer::time_point::max());
            co_await timer.async_wait(net::deferred);
            FAIL("it is never resumed");
        };
        net::co_spawn(context, waiting(tracked("argument")), [](std::exception_ptr) {});
        context.poll();
        CHECK(tracked::living == 2);
    }
    CHECK(tracked::living == 0);
}

// Rule: functions that are no coroutines return the awaitable of another, without a frame.
TEST_CASE("passing an awaitable through") {
    auto passing = [](tracked const& object) { return by_reference(object); };
    run([](auto& pass) -> awaitable<> {
        tracked object("passed through");
        auto text = co_await pass(object);
        CHECK(text == "passed through");
        auto of_temporary = co_await pass(tracked("a temporary, passed through"));
        CHECK(of_temporary == "a temporary, passed through");
        co_await nothing();
    }(passing));
}
