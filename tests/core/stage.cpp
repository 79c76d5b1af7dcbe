#include "catch.hpp"
#include "core/stand_ins.hpp"

#include <relais/core/stage.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using relais::awaitable;
using relais::chain;
using relais::connection;
using relais::exchange;
using relais::message;
using relais::stage;

template <class Chain, class In>
void run(Chain const& whole, In& in) {
    boost::asio::io_context context;
    std::exception_ptr thrown;
    boost::asio::co_spawn(context, whole(in), [&](std::exception_ptr e) { thrown = e; });
    context.run();
    if (thrown)
        std::rethrow_exception(thrown);
}

template <class In, class Chain>
std::string seen_by(Chain const& whole) {
    In in;
    run(whole, in);
    return in.seen;
}

// Stages of the library's making.

struct http_stage : relais::stage_base {
    awaitable<> operator()(connection& c, exchange::next next) const {
        exchange x;
        co_await next(x);
        c.seen += "http(" + x.seen + ")";
    }
};

struct websocket_stage : relais::stage_base {
    awaitable<> operator()(exchange& x, message::next next) const {
        for (auto text : {"one", "two"}) {
            message m;
            m.seen = text;
            co_await next(m);
            x.seen += "[" + m.seen + "]";
        }
    }
};

struct tls_stage : relais::stage_base {
    awaitable<> operator()(connection& c, connection::next next) const {
        c.seen += "tls ";
        return next(c);
    }
};

struct respond_stage : relais::stage_base {
    std::string text = "respond";
    awaitable<> operator()(exchange& x) const {
        x.seen += text;
        co_return;
    }
};

struct relay_stage : relais::stage_base {
    awaitable<> operator()(connection& c) const {
        c.seen += "relay";
        co_return;
    }
};

// Serves exchanges and messages.
struct proxy_stage : relais::stage_base {
    awaitable<> operator()(exchange& x) const {
        x.seen += "proxied";
        co_return;
    }
    awaitable<> operator()(message& m) const {
        m.seen += " delivered";
        co_return;
    }
};

// Guards connections and exchanges.
struct allow_stage : relais::stage_base {
    template <class In>
    awaitable<> operator()(In& in, relais::basic_next<In> next) const {
        in.seen += std::is_same_v<In, connection> ? "allow-c " : "allow-x ";
        return next(in);
    }
};

http_stage http() {
    return {};
}
websocket_stage websocket() {
    return {};
}
tls_stage tls() {
    return {};
}
respond_stage respond(std::string text = "respond") {
    respond_stage made;
    made.text = std::move(text);
    return made;
}

struct stated {
    using faces = relais::faces<relais::face<connection, exchange>>;
    awaitable<> operator()(auto& in, auto next) const {
        exchange x;
        co_await next(x);
        in.seen += "stated(" + x.seen + ")";
    }
};

struct only_messages {
    using faces = relais::faces<relais::face<message>, relais::face<message, void>>;
    awaitable<> operator()(auto& in) const {
        in.seen += " ended";
        co_return;
    }
    awaitable<> operator()(auto& in, auto next) const { return next(in); }
};

struct authenticating : relais::stage_base {
    using provides = relais::tags<relais::authentication>;
    awaitable<> operator()(exchange& x, exchange::next next) const { return next(x); }
};

struct outside : relais::stage_base {
    using outside_of = relais::tags<relais::authentication, relais::address_check>;
    awaitable<> operator()(exchange& x, exchange::next next) const { return next(x); }
};

// Stages of a user's.

awaitable<> outer(exchange& x, exchange::next next) {
    x.seen += "<";
    co_await next(x);
    x.seen += ">";
}

awaitable<> passing(exchange& x, exchange::next next) {
    return next(x);
}

awaitable<> redact(message& m, message::next next) {
    m.seen += " redacted";
    co_await next(m);
}

} // namespace

// A `next` is two pointers.
static_assert(sizeof(exchange::next) == 2 * sizeof(void*));
static_assert(std::is_trivially_copyable_v<exchange::next>);

// A chain of empty stages holds nothing, and one stage is as large as what it holds.
static_assert(sizeof(chain<http_stage>) == 1);
static_assert(sizeof(chain<respond_stage>) == sizeof(respond_stage));

TEST_CASE("stages run in the order in which they are written, and unwind in the opposite one") {
    auto whole = tls() | http() | outer |
                 stage([](exchange& x, exchange::next next) -> awaitable<> {
                     x.seen += "(";
                     co_await next(x);
                     x.seen += ")";
                 }) |
                 respond();
    CHECK(seen_by<connection>(whole) == "tls http(<(respond)>)");
    CHECK(whole.size() == 5);
}

TEST_CASE("a chain starts with stage(f), with a library stage, or with a function before one") {
    CHECK(seen_by<exchange>(stage(outer) | outer | respond()) == "<<respond>>");
    CHECK(seen_by<exchange>(outer | respond()) == "<respond>");
    CHECK(seen_by<exchange>(stage(respond())) == "respond");
    CHECK(seen_by<exchange>(stage(&outer) | stage(passing) | respond()) == "<respond>");
}

TEST_CASE("chains nest and are copied; composing leaves the parts as they were") {
    auto guards = stage(outer) | passing;
    auto const app = guards | respond("a");
    auto twice = guards | guards | respond("b");
    auto nested = http() | (guards | (outer | respond("c")));
    CHECK(seen_by<exchange>(app) == "<a>");
    CHECK(seen_by<exchange>(twice) == "<<b>>");
    CHECK(seen_by<connection>(nested) == "http(<<c>>)");
    auto copy = app;
    CHECK(seen_by<exchange>(copy) == "<a>");
    CHECK(seen_by<connection>(http() | app) == "http(<a>)");
    static_assert(std::is_same_v<decltype(guards | (guards | respond())),
                                 decltype((guards | guards) | respond())>);
}

TEST_CASE("stages may be moved only") {
    auto make = [] {
        return [held = std::make_unique<std::string>("held ")](exchange& x,
                                                               exchange::next next) -> awaitable<> {
            x.seen += *held;
            return next(x);
        };
    };
    auto start = stage(make());
    static_assert(!std::is_copy_constructible_v<decltype(start)>);
    auto whole = std::move(start) | make() | respond();
    CHECK(seen_by<exchange>(whole) == "held held respond");
    auto moved = std::move(whole);
    CHECK(seen_by<exchange>(moved) == "held held respond");
    relais::any_chain<exchange> erased(std::move(moved));
    CHECK(seen_by<exchange>(erased) == "held held respond");
}

TEST_CASE("what copies share sits behind a pointer, and is not copied by composing") {
    struct counting {
        std::shared_ptr<int> hits = std::make_shared<int>(0);
        awaitable<> operator()(exchange& x, exchange::next next) const noexcept {
            ++*hits;
            return next(x);
        }
    };
    counting counter;
    auto a = stage(counter) | respond();
    auto b = stage(counter) | respond();
    seen_by<exchange>(a);
    seen_by<exchange>(b);
    CHECK(*counter.hits == 2);
}

TEST_CASE("the neighbours decide what a stage with several faces works on") {
    allow_stage allow;
    proxy_stage proxy;
    CHECK(seen_by<connection>(allow | http() | allow | proxy) == "allow-c http(allow-x proxied)");
    CHECK(seen_by<exchange>(allow | proxy) == "allow-x proxied");
    CHECK(seen_by<connection>(tls() | allow | relay_stage()) == "tls allow-c relay");
    CHECK(seen_by<exchange>(websocket() | redact | proxy) ==
          "[one redacted delivered][two redacted delivered]");
    CHECK(seen_by<exchange>(websocket() | proxy) == "[one delivered][two delivered]");
    // A chain keeps what is open until its user decides.
    auto both = allow | allow;
    CHECK(seen_by<connection>(both | relay_stage()) == "allow-c allow-c relay");
    CHECK(seen_by<exchange>(both | respond()) == "allow-x allow-x respond");
}

TEST_CASE("generic lambdas are stages of whatever is around them") {
    auto generic = [](auto& in, auto next) {
        in.seen += "generic ";
        return next(in);
    };
    CHECK(seen_by<connection>(stage(generic) | http() | generic | respond()) ==
          "generic http(generic respond)");
    CHECK(seen_by<exchange>(websocket() | generic | proxy_stage()) ==
          "[onegeneric  delivered][twogeneric  delivered]");
    auto terminal = [](auto& in) -> awaitable<> {
        in.seen += "end";
        co_return;
    };
    CHECK(seen_by<connection>(http() | outer | terminal) == "http(<end>)");
    CHECK(seen_by<connection>(stage(generic) | terminal) == "generic end");
}

TEST_CASE("a class may state its faces") {
    CHECK(seen_by<connection>(stage(stated()) | respond()) == "stated(respond)");

    // Of those that fit, the stated ones; a terminal is a face too.
    CHECK(seen_by<exchange>(websocket() | only_messages() | only_messages()) ==
          "[one ended][two ended]");
}

TEST_CASE("the same kind is preferred where several ways are open") {
    struct either {
        using faces = relais::faces<relais::face<exchange, message>, relais::face<exchange>>;
        awaitable<> operator()(exchange& x, exchange::next next) const {
            x.seen += "same ";
            return next(x);
        }
        awaitable<> operator()(exchange& x, message::next next) const {
            message m;
            co_await next(m);
            x.seen += "mixed";
        }
    };
    CHECK(seen_by<exchange>(stage(either()) | proxy_stage()) == "same proxied");
    CHECK(seen_by<exchange>(stage(either()) | redact | proxy_stage()) == "mixed");
}

TEST_CASE("bases, overloads, noexcept and references to const are called as the language does") {
    struct base_of_both {
        awaitable<> operator()(exchange const& x) const noexcept {
            const_cast<exchange&>(x).seen +=
                "const "; // NOLINT: what a terminal may see is up to it
            co_return;
        }
    };
    CHECK(seen_by<exchange>(stage(base_of_both())) == "const ");

    struct derived : exchange {};
    derived x;
    run(stage(outer) | respond(), x);
    CHECK(x.seen == "<respond>");

    struct overloaded {
        awaitable<> operator()(exchange& in, exchange::next next) const noexcept {
            in.seen += "x ";
            return next(in);
        }
        awaitable<> operator()(connection& in, connection::next next) const {
            in.seen += "c ";
            return next(in);
        }
    };
    CHECK(seen_by<connection>(stage(overloaded()) | http() | overloaded() | respond()) ==
          "c http(x respond)");
    CHECK(seen_by<exchange>(stage(std::function<awaitable<>(exchange&, exchange::next)>(outer)) |
                            respond()) == "<respond>");
}

TEST_CASE("a chain without a terminal is a stage that others may call") {
    auto inner = stage(outer) | outer;
    static_assert(std::is_invocable_v<decltype(inner) const&, exchange&, exchange::next>);
    static_assert(!std::is_invocable_v<decltype(inner) const&, exchange&>);
    static_assert(!std::is_invocable_v<decltype(inner) const&, connection&, connection::next>);
    auto wrapping = [inner](exchange& x, exchange::next next) -> awaitable<> {
        x.seen += "w";
        return inner(x, next);
    };
    CHECK(seen_by<exchange>(stage(wrapping) | respond()) == "w<<respond>>");
    auto to_exchange = tls() | http();
    auto front = [to_exchange](connection& c, exchange::next next) { return to_exchange(c, next); };
    CHECK(seen_by<connection>(stage(front) | respond()) == "tls http(respond)");
}

TEST_CASE("a stage may call next again, or never, and each next has an identity") {
    auto twice = [](exchange& x, exchange::next next) -> awaitable<> {
        co_await next(x);
        co_await next(x);
    };
    exchange x;
    run(stage(outer) | twice | respond("r"), x);
    CHECK(x.seen == "<rr>");
    REQUIRE(x.entries.size() == 3);
    CHECK(x.entries[0] != x.entries[1]);
    CHECK(x.entries[1] == x.entries[2]);

    auto never = [](exchange& in, exchange::next) -> awaitable<> {
        in.seen += "no";
        co_return;
    };
    CHECK(seen_by<exchange>(stage(outer) | never | respond()) == "<no>");
}

TEST_CASE("passing on costs no frame and calls the next stage directly") {
    // A stage that is no coroutine runs when it is called; the awaitable it returns is that of the
    // one behind it.
    static int depth = 0;
    auto marking = [](exchange& x, exchange::next next) {
        ++depth;
        return next(x);
    };
    auto whole = stage(marking) | marking | marking | respond();
    exchange x;
    depth = 0;
    auto last = whole(x);
    CHECK(depth == 3);
    CHECK(x.seen.empty()); // a coroutine has not begun
}

TEST_CASE("what coroutine lambdas of a chain write through captured references is there") {
    int hits = 0;
    std::string text;
    auto whole = stage([&](exchange& x, exchange::next next) -> awaitable<> {
                     ++hits;
                     co_await next(x);
                     text += "after";
                 }) |
                 [&hits](exchange& x, exchange::next next) {
                     ++hits;
                     return next(x);
                 } |
                 [&](exchange&) -> awaitable<> {
        ++hits;
        text += "inside ";
        co_return;
    };
    seen_by<exchange>(whole);
    CHECK(hits == 3);
    CHECK(text == "inside after");
}

TEST_CASE("exceptions come back through the stages") {
    auto throwing = [](exchange&) -> awaitable<> {
        throw std::runtime_error("thrown");
        co_return;
    };
    auto catching = [](exchange& x, exchange::next next) -> awaitable<> {
        try {
            co_await next(x);
        } catch (std::runtime_error const& e) {
            x.seen += e.what();
        }
    };
    CHECK(seen_by<exchange>(stage(catching) | outer | throwing) == "<thrown");
    exchange x;
    CHECK_THROWS_AS(run(stage(outer) | throwing, x), std::runtime_error);

    // Thrown by a stage that is no coroutine, before there is an awaitable.
    auto at_once = [](exchange&) -> awaitable<> { throw std::runtime_error("at once"); };
    CHECK(seen_by<exchange>(stage(catching) | passing | at_once) == "at once");
}

TEST_CASE("stages suspend and resume like any coroutine") {
    auto suspending = [](exchange& x, exchange::next next) -> awaitable<> {
        co_await boost::asio::post(boost::asio::use_awaitable);
        x.seen += "s";
        co_await next(x);
        co_await boost::asio::post(boost::asio::use_awaitable);
        x.seen += "s";
    };
    CHECK(seen_by<connection>(http() | suspending | outer | suspending | respond()) ==
          "http(s<sresponds>s)");
}

TEST_CASE("prepare is called for each stage that has it, the outermost first") {
    static std::string order;
    struct prepared : relais::stage_base {
        explicit prepared(char n) : name(n) {}
        char name;
        awaitable<> operator()(exchange& x, exchange::next next) const { return next(x); }
        void prepare() const { order += name; }
    };
    auto whole = http() | prepared('a') | outer | (prepared('b') | respond());
    order.clear();
    whole.prepare();
    CHECK(order == "ab");

    relais::any_chain<connection> erased(whole);
    erased.prepare();
    CHECK(order == "abab");

    int count = 0;
    whole.visit([&](auto const& s) { count += std::is_empty_v<std::remove_cvref_t<decltype(s)>>; });
    CHECK(count == 1);
}

TEST_CASE("reload is called for each stage that has it, and one that fails stops no other") {
    static std::string order;
    struct reloaded : relais::stage_base {
        reloaded(char n, bool f) : name(n), fails(f) {}
        char name;
        bool fails;
        awaitable<> operator()(exchange& x, exchange::next next) const { return next(x); }
        void reload() const {
            if (fails)
                throw std::runtime_error(std::string("no file ") + name);
            order += name;
        }
    };
    relais::any_chain<connection> const erased(
        http() | reloaded('a', true) | outer |
        (reloaded('b', false) | reloaded('c', true) | reloaded('d', false) | respond()));
    order.clear();
    CHECK(erased.reload() == std::vector<std::string>{"no file a", "no file c"});
    CHECK(order == "bd");
    CHECK(relais::any_chain<connection>().reload().empty());
}

TEST_CASE("any_chain forgets the type and shares the stages") {
    relais::any_chain<exchange> none;
    CHECK(!none);
    relais::any_chain<exchange> one(stage(outer) | respond("a"));
    relais::any_chain<exchange> copy = one;
    one = relais::any_chain<exchange>(respond("b")); // a stage alone is a chain
    CHECK(seen_by<exchange>(copy) == "<a>");
    CHECK(seen_by<exchange>(one) == "b");
    exchange x;
    auto next = copy.entry();
    run([next](exchange& in) { return next(in); }, x);
    CHECK(x.seen == "<a>");
}

TEST_CASE("what has to be outside stands outside") {
    CHECK(seen_by<exchange>(outside() | outer | authenticating() | respond()) == "<respond>");
}
