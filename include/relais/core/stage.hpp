#pragma once

/// \file
/// Stages, `next`, and how stages become a chain.
///
/// A stage is anything that can be called so, and returns `awaitable<>`:
///
///     awaitable<> stamp(exchange& x, exchange::next next) {
///         co_await next(x);                          // hand on; the response head is there after
///         x.response.set("X-Served-By", "relais");
///     }
///
/// It may look at what comes, change it, answer it itself and return, or hand it on with `next` and
/// act again after that. A stage without `next` is a terminal and ends a chain. Stages work on
/// connections, on exchanges (a request and its response) or on messages (of a WebSocket):
/// `connection&` and `connection::next`, and so on. A stage that takes one kind and calls the
/// `next` of another turns connections into exchanges (`http`) or exchanges into messages
/// (`websocket`). A stage may be a function in a .cpp file. A class holds options:
///
///     class stamp {
///     public:
///         explicit stamp(std::string name) : name_(std::move(name)) {}
///         awaitable<> operator()(exchange& x, exchange::next next) const;
///         void prepare() const; // optional: called at start, before the first connection
///         void reload() const;  // optional: loads its files anew, for what begins from then on
///
///     private:
///         std::string name_;
///     };
///
/// - The operator is const because all workers call one stage at once. Composing copies the stage;
///   what copies share sits behind a `shared_ptr`. What belongs to one request goes into `x.state`,
///   what belongs to a worker into a `per_worker<T>`, and what belongs to the program is
///   synchronised by the stage.
/// - A stage with nothing to do afterwards writes `return next(x);` and costs no coroutine frame.
/// - `a | b | c` is a chain, and the first one written is the outermost. A chain is a stage again:
///   it can be named, copied into several listeners, and put into another chain. Functions and
///   classes of one's own follow stages of the library as they are; a chain of them alone begins
///   with `stage(f)`, as in `auto const mine = stage(signed_in) | stamp`.
/// - What a stage works on is found by asking how it can be called. Where more than one answer
///   fits, its neighbours in the chain decide. A class may state it, and then it is not asked:
///
///       using faces = relais::faces<relais::face<exchange>, relais::face<message, void>>;
///
/// - A stage that has to be outside of others says so, and a wrong order does not compile:
///
///       using outside_of = relais::tags<relais::authentication>; // this has to stand before ...
///       using provides = relais::tags<relais::authentication>;   // ... what has this
///
///   This holds between stages that work on the same kind: `allow()` before `http()` decides about connections, and is no
///   matter to `real_ip()` on requests. The branches of `routes` are checked each on its own.

#include <relais/config.hpp>
#include <relais/core/awaitable.hpp>
#include <relais/core/impl/faces.hpp>

#include <cstddef>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace relais {

/// A class that wants to hear of each call of a `next` that is handed an object of it. `chain` and
/// `entry` together tell one `next` from another: calls of the same one are tries of the same
/// thing.
template <class T>
struct next_hook {
    static void called(T&, void const* /*chain*/, void const* /*entry*/) noexcept {}
};

/// The exchange refuses calls that cannot be right; defined in http/exchange.hpp.
template <>
struct next_hook<exchange> {
    static void called(exchange& in, void const* chain, void const* entry);
};

/// What comes after a stage: `connection::next`, `exchange::next`, `message::next`.
///
/// Two pointers, cheap to copy. It stays valid as long as the chain, which the listener keeps until
/// its last connection has ended.
template <class T>
class basic_next {
public:
    using entry = awaitable<> (*)(void const* chain, T& in);

    /// For those who run chains, and for tests of a stage alone.
    basic_next(void const* chain, entry e) noexcept : chain_(chain), entry_(e) {}

    /// Hands `in` on. The awaitable is that of the stage that follows: there is no frame between.
    [[nodiscard("write co_await next(x), or return next(x)")]] awaitable<> operator()(T& in) const {
        next_hook<T>::called(in, chain_, reinterpret_cast<void const*>(entry_));
        return entry_(chain_, in);
    }

private:
    void const* chain_;
    entry entry_;
};

/// One way in which a stage can be called: what goes in, and what its `next` takes; `void` for a
/// terminal.
template <class In, class Out = In>
struct face {};

/// What a class states as its member `faces`.
template <class... Faces>
struct faces {};

/// Names for the rules about order: a stage's `provides` and `outside_of`.
template <class... Tags>
struct tags {};

/// Provided by stages that refuse requests without credentials.
struct authentication {};

/// Provided by stages that decide by the client's address, on what they work on.
struct address_check {};

/// The base of the library's own stages: they start a chain without `stage()`. A user's class may
/// have it too.
struct stage_base {};

/// Gives a stage its name in the compiler's messages: `RELAIS_STAGE_NAME("cors()");` in the class,
/// public.
#define RELAIS_STAGE_NAME(name)                                                                    \
    template <::relais::detail::mistake M>                                                         \
    struct relais_sentence : ::relais::detail::stage_sentence<M> {                                 \
        RELAIS_DETAIL_ORDER_SENTENCES(name);                                                       \
    }

/// A rule about order with a sentence of its own, in the class, public, in the place of
/// `outside_of`; the stage has to stand before those that provide the tag.
#define RELAIS_OUTSIDE_OF(tag, sentence)                                                           \
    template <class Stage>                                                                         \
    static constexpr void relais_outside_of(tag*) {                                                \
        static_assert(sizeof(Stage) == 0, sentence);                                               \
    }                                                                                              \
    static_assert(true)

/// Stages in a row, the outermost first. Made by `operator|` and `stage()`.
///
/// A chain that ends in a terminal is called with what it works on; the caller keeps it alive until
/// then. One that does not can be called with what follows, as any stage.
template <class... Stages>
class chain {
public:
    explicit chain(std::tuple<Stages...> stages) : stages_(std::move(stages)) {}

    /// Runs the whole chain, which has to end in a terminal. The awaitable is that of the first
    /// stage.
    awaitable<> operator()(connection& in) const
        requires detail::serves<connection, Stages...>
    {
        return run<0, connection, void>(this, in);
    }
    awaitable<> operator()(exchange& in) const
        requires detail::serves<exchange, Stages...>
    {
        return run<0, exchange, void>(this, in);
    }
    awaitable<> operator()(message& in) const
        requires detail::serves<message, Stages...>
    {
        return run<0, message, void>(this, in);
    }

    /// Runs a chain without a terminal, and then what follows. Costs a frame, which composing does
    /// not.
    template <class Out>
        requires detail::leads<connection, Out, Stages...>
    awaitable<> operator()(connection& in, basic_next<Out> next) const {
        return run_open<connection, Out>(in, {*this, next});
    }
    template <class Out>
        requires detail::leads<exchange, Out, Stages...>
    awaitable<> operator()(exchange& in, basic_next<Out> next) const {
        return run_open<exchange, Out>(in, {*this, next});
    }
    template <class Out>
        requires detail::leads<message, Out, Stages...>
    awaitable<> operator()(message& in, basic_next<Out> next) const {
        return run_open<message, Out>(in, {*this, next});
    }

    /// The chain as a `next`, valid as long as the chain stays where it is.
    template <class In>
        requires detail::serves<In, Stages...>
    basic_next<In> entry() const noexcept {
        return {this, &run<0, In, void>};
    }

    /// The entry alone, for those who keep the chain's address themselves.
    template <class In>
        requires detail::serves<In, Stages...>
    static constexpr auto entry_of() noexcept -> typename basic_next<In>::entry {
        return &run<0, In, void>;
    }

    /// Calls `prepare()` of each stage that has one, the outermost first: files are opened,
    /// certificates loaded, names resolved. The server does so at start, before the first
    /// connection; copies of one stage in several chains are called once each.
    /// \throws startup_error what a stage says about its configuration.
    void prepare() const;

    /// Calls `reload()` of each stage that has one. \return what those say that could not, and go on as they were.
    std::vector<std::string> reload() const;

    /// Calls `visitor(stage)` for each stage, the outermost first: how more calls of the kind of
    /// `prepare` are made.
    template <class Visitor>
    void visit(Visitor&& visitor) const {
        std::apply([&](Stages const&... stages) { (visitor(stages), ...); }, stages_);
    }

    static constexpr std::size_t size() noexcept { return sizeof...(Stages); }

private:
    template <class... Left, class... Right>
    friend chain<Left..., Right...> detail::join(chain<Left...>&&, chain<Right...>&&);

    // What runs where the chain goes on with something that is known only when it is called.
    template <class Out>
    struct open {
        open(chain const& c, basic_next<Out> n) noexcept : self(&c), end(n) {}
        chain const* self;
        basic_next<Out> end;
    };

    template <std::size_t I, class In, class End>
    static awaitable<> run(void const* context, In& in);

    template <class In, class Out>
    static awaitable<> run_open(In& in, open<Out> context);

    std::tuple<Stages...> stages_;
};

/// Starts a chain with a stage of one's own: a function, a lambda, an object. A chain stays what it
/// is. Needed where neither side of a `|` is a stage of the library or a chain: C++ knows no `|` of
/// two functions.
template <class F>
[[nodiscard]] auto stage(F&& f);

/// Puts `right` inside of `left`. What is passed as an lvalue is copied.
///
/// Does not compile where the two do not fit, and says what to write.
template <class Left, class Right>
    requires detail::composable<Left, Right>
[[nodiscard]] auto operator|(Left&& left, Right&& right);

/// Two lambdas, or objects of classes of one's own: says that a chain begins with `stage()`.
template <class Left, class Right>
    requires detail::both_own<Left, Right>
auto operator|(Left&& left, Right&& right);

/// Checks that a stage or a chain serves `In` as a whole: that it can begin with `In` and ends in a
/// terminal. What `listen()`, `at()` and `oneshot()` call, so that what is missing is said in one
/// sentence.
template <class In, class S>
constexpr void require_complete(S const& stage_or_chain);

/// A whole chain of a type that is not known any more: what a listener runs for `connection`, a
/// branch of `routes` for `exchange`. Copies share the stages.
template <class In>
class any_chain {
public:
    any_chain() = default;

    /// Does not compile where the chain is not complete, see `require_complete`.
    template <class S>
        requires(!std::is_same_v<std::remove_cvref_t<S>, any_chain>)
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): it hides none, as it requires above
    explicit any_chain(S&& stage_or_chain) {
        require_complete<In>(stage_or_chain);
        keep(stage(std::forward<S>(stage_or_chain)));
    }

    /// Runs it. There is no frame between the caller and the first stage. Keep the object until the
    /// end.
    awaitable<> operator()(In& in) const { return entry_(stages_.get(), in); }

    /// The chain as a `next`, valid as long as a copy of this lives.
    basic_next<In> entry() const noexcept { return {stages_.get(), entry_}; }

    /// Prepares the stages, see `chain::prepare`.
    /// \throws startup_error what a stage says about its configuration.
    void prepare() const {
        if (prepare_)
            prepare_(stages_.get());
    }

    /// Has the stages load their files anew, see `chain::reload`.
    std::vector<std::string> reload() const {
        return reload_ ? reload_(stages_.get()) : std::vector<std::string>();
    }

    explicit operator bool() const noexcept { return stages_ != nullptr; }

private:
    template <class Chain>
    void keep(Chain whole);

    std::shared_ptr<void const> stages_;
    typename basic_next<In>::entry entry_ = nullptr;
    void (*prepare_)(void const*) = nullptr;
    std::vector<std::string> (*reload_)(void const*) = nullptr;
};

} // namespace relais

#include <relais/core/impl/stage.hpp>
