#include "catch.hpp"
#include "proxied.hpp"

#include <relais/core/report.hpp>
#include <relais/core/waiter.hpp>
#include <relais/middleware/respond.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <stdexcept>

using namespace relais;
using namespace relais::testing;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

std::string post_of(std::size_t length, std::string_view begin = {}) {
    std::string text = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: ";
    return text.append(std::to_string(length)).append("\r\n\r\n").append(begin);
}

} // namespace

TEST_CASE("uploads: the response comes while the upload goes on, both arrive whole") {
    bool chunked = GENERATE(false, true);
    bool chunked_back = GENERATE(false, true);
    proxied p;
    auto up = p.ask(chunked ? "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                            : post_of(6));
    REQUIRE(up);
    up->take();
    auto upload = [&](std::string const& bytes) {
        p.client.send(chunked ? std::to_string(bytes.size()) + "\r\n" + bytes + "\r\n" : bytes);
        return up->take();
    };
    auto download = [&](std::string const& bytes) {
        p.answer(up, chunked_back ? std::to_string(bytes.size()) + "\r\n" + bytes + "\r\n" : bytes);
        return p.got();
    };
    auto in_chunks = [](bool is, std::string const& bytes) {
        return is ? std::to_string(bytes.size()) + "\r\n" + bytes + "\r\n" : bytes;
    };
    CHECK(upload("ab") == in_chunks(chunked, "ab"));
    p.answer(up, "HTTP/1.1 200 OK\r\n"s +
                     (chunked_back ? "Transfer-Encoding: chunked" : "Content-Length: 4") +
                     "\r\n\r\n");
    CHECK(p.got().starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(download("12") == in_chunks(chunked_back, "12"));
    CHECK(upload("cd") == in_chunks(chunked, "cd"));
    CHECK(download("3") == in_chunks(chunked_back, "3"));
    CHECK(upload("ef") == in_chunks(chunked, "ef"));
    if (chunked) {
        p.client.send("0\r\n\r\n");
        CHECK(up->take() == "0\r\n\r\n");
    }
    CHECK(download("4") == in_chunks(chunked_back, "4"));
    if (chunked_back) {
        p.answer(up, "0\r\n\r\n");
        CHECK(p.got() == "0\r\n\r\n");
    }
    CHECK(p.last_reason() == end_reason::completed);
    p.client.send(get); // the client's connection goes on
    auto next = p.upstream.accept();
    auto& by = next ? next : up;
    CHECK(by->take().starts_with("GET / "));
    p.answer(by, ok("next"));
    CHECK(content_of(p.got()) == "next");
}

TEST_CASE("uploads: a response that is complete ends an upload that is not") {
    proxied p;
    auto up = p.ask(post_of(1000, "ab"));
    REQUIRE(up);
    up->take();
    SECTION("at once, with a short rest") {
        p.answer(up, "HTTP/1.1 401 No\r\nContent-Length: 4\r\n\r\nstop");
        auto got = p.got();
        CHECK(got.ends_with("\r\n\r\nstop"));
        CHECK(up->saw_end()); // never again, with half a request in it
        p.client.send(std::string(998, 'x'));
        auto next = p.ask(get); // the rest was read, the connection goes on
        REQUIRE(next);
        p.answer(next, ok("next"));
        CHECK(content_of(p.got()) == "next");
    }
    SECTION("later") {
        p.answer(up, "HTTP/1.1 401 No\r\nContent-Length: 4\r\n\r\nst");
        p.client.send("cd");
        CHECK(up->take() == "cd");
        p.answer(up, "op");
        CHECK(content_of(p.got()) == "stop");
        CHECK((up->saw_end() || up->saw_reset()));
        p.client.advance(3s); // nothing more comes of the body
        CHECK(p.last_reason() == end_reason::completed);
        CHECK(p.client.ended());
    }
    SECTION("and the upstream closes") {
        p.answer(up, "HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 4\r\n\r\nstop");
        up.reset();
        p.client.run();
        CHECK(content_of(p.got()) == "stop");
    }
}

TEST_CASE("uploads: an upstream that answers and closes while the client still sends") {
    auto over = GENERATE(transport::local, transport::tcp);
    proxied p({}, {}, over);
    p.client.send(post_of(10'000'000));
    proxied::peer up;
    for (int i = 0; i < 1000 && !up; ++i) {
        p.client.run();
        up = p.upstream.accept();
    }
    REQUIRE(up);
    up->send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge");
    up->shutdown_send();
    for (int i = 0; i < 200 && p.client.received().empty(); ++i)
        p.client.send(std::string(1000, 'x'));
    up.reset();
    for (int i = 0; i < 10; ++i)
        p.client.send(std::string(1000, 'x'));
    CHECK(p.client.received().starts_with("HTTP/1.1 413 "));
    CHECK(content_of(p.client.received()) == "large");
    p.client.advance(3s);
    CHECK(p.client.ended());
    CHECK_FALSE(p.client.saw_reset());
}

TEST_CASE("uploads: a body that is malformed or breaks off") {
    struct row {
        char const* body;
        bool then_ends;
        char const* answer;
        end_reason why;
    };
    auto const r = GENERATE(values<row>({
        {"zz\r\n", false, "HTTP/1.1 400 ", end_reason::bad_body},
        {"2\r\nabX", false, "HTTP/1.1 400 ", end_reason::bad_body},
        {"2\r\nab\r\n0\r\nContent-Length: 7\r\n\r\n", false, "HTTP/1.1 400 ", end_reason::bad_body},
        {"2\r\nab\r\n", true, "", end_reason::client_left},
        {"2\r\na", true, "", end_reason::client_left},
    }));
    CAPTURE(r.body);
    proxied p;
    auto up = p.ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    REQUIRE(up);
    p.client.send(r.body);
    if (r.then_ends)
        p.client.shutdown_send();
    CHECK(p.client.received().starts_with(r.answer));
    CHECK(p.last_reason() == r.why);
    CHECK((up->saw_end() || up->saw_reset()));
    CHECK(up->take().find("\r\n0\r\n\r\n") == std::string::npos); // never a fake end
    p.client.advance(1100ms);
    CHECK(p.client.ended());
}

TEST_CASE("uploads: a body that breaks off while the response is on its way") {
    proxied p;
    auto up = p.ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    REQUIRE(up);
    p.answer(up, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    up->take();
    SECTION("malformed") {
        p.client.send("zz\r\n");
        CHECK(up->take().empty());
        p.answer(up, "world");
        CHECK(content_of(p.got()) == "helloworld");
        p.client.advance(1100ms);
        CHECK(p.client.ended());
    }
    SECTION("reset") {
        p.client.reset();
        CHECK(p.client.ended());
        CHECK(p.last_reason() == end_reason::client_left);
    }
    CHECK((up->saw_end() || up->saw_reset()));
    CHECK(up->take().find("0\r\n\r\n") == std::string::npos);
}

TEST_CASE("uploads: a client that is too slow") {
    http_options h;
    h.body_timeout = 30s;
    SECTION("that stops") {
        proxied p({}, h);
        auto up = p.ask(post_of(10, "ab"));
        REQUIRE(up);
        p.client.advance(29800ms);
        CHECK(p.got().empty());
        p.client.advance(400ms);
        CHECK(p.got().starts_with("HTTP/1.1 408 "));
        CHECK(p.last_reason() == end_reason::body_timeout);
        CHECK((up->saw_end() || up->saw_reset()));
        CHECK(p.client.saw_end());
    }
    SECTION("that drips") {
        proxied p({}, h);
        auto up = p.ask(post_of(1000, "ab"));
        REQUIRE(up);
        int seconds = 0;
        for (; seconds < 100 && p.client.received().empty(); ++seconds) {
            p.client.advance(1s);
            p.client.send("x");
        }
        CHECK(seconds >= 10);
        CHECK(seconds <= 12);
        CHECK(p.got().starts_with("HTTP/1.1 408 "));
    }
    SECTION("that is fast on average") {
        proxied p({}, h);
        auto up = p.ask(post_of(100'000));
        REQUIRE(up);
        for (int i = 0; i < 10; ++i) {
            p.client.advance(25s);
            p.client.send(std::string(10'000, 'x'));
        }
        CHECK(content_of(up->take()).size() == 100'000);
        p.answer(up, ok("x"));
        CHECK(content_of(p.got()) == "x");
    }
}

TEST_CASE("uploads: large ones both ways at once, through small buffers") {
    std::size_t const size = 3'000'000;
    proxied p({}, {}, transport::local,
              {.read_at_most = 7000, .write_at_most = 5000, .capacity = 20'000});
    std::string sent, back;
    for (std::size_t i = 0; sent.size() < size; ++i)
        sent += std::to_string(i * 7919) + ",";
    for (std::size_t i = 0; back.size() < size; ++i)
        back += std::to_string(i * 104729) + ";";
    auto up = p.ask(post_of(sent.size()));
    REQUIRE(up);
    std::string came = content_of(up->take()).data();
    up->send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(back.size() + 1) + "\r\n\r\n");
    std::size_t up_at = 0, down_at = 0;
    for (int turn = 0; turn < 10'000 && (came.size() < sent.size() || down_at < back.size());
         ++turn) {
        up_at += p.client.send(std::string_view(sent).substr(up_at, 30'000));
        came += up->take();
        down_at += up->send(std::string_view(back).substr(down_at, 50'000));
        p.client.run();
    }
    came += up->take();
    CHECK((came == sent)); // not printed
    CHECK((content_of(p.client.received()) == back));
    p.answer(up, "."); // a response that is complete would have ended the upload
    CHECK(p.client.received().ends_with(";."));
    CHECK(p.last_reason() == end_reason::completed);
    CHECK_FALSE(p.client.ended());
}

TEST_CASE("clients that leave: the upstream is told at once") {
    auto how = GENERATE(values<std::string>({"end", "reset"}));
    proxied p;
    auto up = p.ask(get);
    REQUIRE(up);
    up->take();
    auto leave = [&] {
        if (how == "end")
            p.client.shutdown_send();
        else
            p.client.reset();
    };
    SECTION("while it thinks") {
        leave();
        CHECK(p.last_reason() == end_reason::client_left);
        CHECK(p.client.reason() == end_reason::client_left);
    }
    SECTION("while it answers") {
        p.answer(up, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        leave();
        CHECK(p.last_reason() == end_reason::client_left);
    }
    SECTION("while a body without length comes") {
        p.answer(up, "HTTP/1.1 200 OK\r\n\r\nhello");
        leave();
        CHECK(p.last_reason() == end_reason::client_left);
    }
    CHECK(p.client.ended());
    CHECK((up->saw_end() || up->saw_reset()));
}

TEST_CASE("clients that leave: not with half_close") {
    http_options h;
    h.half_close = true;
    proxied p({}, h);
    auto up = p.ask(get);
    REQUIRE(up);
    p.client.shutdown_send();
    CHECK_FALSE(up->saw_end());
    p.answer(up, ok("still there"));
    CHECK(content_of(p.got()) == "still there");
    CHECK(p.last_reason() == end_reason::completed);
    CHECK(p.client.ended());
}

TEST_CASE("clients that leave: one that pipelines has not left") {
    proxied p;
    auto up = p.ask(get + get);
    REQUIRE(up);
    p.client.shutdown_send(); // with a request unread
    CHECK_FALSE(up->saw_end());
    up->take();
    p.answer(up, ok("one"));
    // The second one has nobody who waits for it, but it costs the first answer nothing.
    CHECK(content_of(p.got()) == "one");
    CHECK(p.client.saw_end());
    CHECK_FALSE(p.client.saw_reset());
    CHECK(p.last_reason() == end_reason::client_left);
    CHECK(up->take().empty());
}

TEST_CASE("clients that leave: during an upload") {
    proxied p;
    auto up = p.ask(post_of(100, "abc"));
    REQUIRE(up);
    if (GENERATE(true, false))
        p.client.reset();
    else
        p.client.shutdown_send();
    CHECK(p.client.ended());
    CHECK(p.last_reason() == end_reason::client_left);
    CHECK((up->saw_end() || up->saw_reset()));
}

TEST_CASE("uploads: a stage's body that is not as long as it says never becomes another request") {
    struct liar final : body {
        liar(std::string t, std::uint64_t says) : text(std::move(t)), promised(says) {}
        io_result try_read(std::span<std::byte> to) override {
            auto got = text.try_read(to);
            promised -= std::min<std::uint64_t>(promised, got.count);
            return got;
        }
        std::optional<std::uint64_t> remaining() const noexcept override { return promised; }
        text_body text;
        std::uint64_t promised;
    };
    auto says = GENERATE(std::uint64_t{3}, std::uint64_t{40});
    CAPTURE(says);
    scripted_server upstream(transport::local);
    auto lying = [says](exchange& x, exchange::next next) -> awaitable<> {
        x.request.body.wrap([says](std::unique_ptr<body>) {
            return std::make_unique<liar>("GET /smuggled HTTP/1.1\r\n\r\n", says);
        });
        co_await next(x);
    };
    session client(http() | lying | proxy_to(upstream.url()));
    set_report_function([](std::string_view) {});
    client.send(post("x"));
    auto up = upstream.accept();
    REQUIRE(up);
    client.run();
    set_report_function(nullptr);
    CHECK(client.received().starts_with("HTTP/1.1 500 "));
    auto came = up->take();
    CHECK(came.find("Content-Length: " + std::to_string(says) + "\r\n") != came.npos);
    CHECK(content_of(came).size() <= says); // what the head promised, or less and then the end
    CHECK((up->saw_end() || up->saw_reset()));
}

TEST_CASE("uploads: a client that waits for 100 is not slow") {
    proxied p({}, {.body_timeout = 1s});
    auto up =
        p.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n");
    REQUIRE(up);
    up->take();
    p.client.advance(15s); // the upstream takes its time
    CHECK(p.got().empty());
    SECTION("until it is told to go on") {
        p.answer(up, "HTTP/1.1 100 Continue\r\n\r\n");
        CHECK(p.got() == "HTTP/1.1 100 Continue\r\n\r\n");
        for (auto piece : {"one", "two"}) { // those seconds count for no rate either
            p.client.advance(900ms);
            p.client.send(piece);
            CHECK(up->take() == piece);
        }
        p.answer(up, ok("thanks"));
        CHECK(content_of(p.got()) == "thanks");
        CHECK(p.last_reason() == end_reason::completed);
    }
    SECTION("and the server that says nothing is") {
        p.client.advance(46s);
        CHECK(p.got().starts_with("HTTP/1.1 504 "));
        CHECK(p.last_reason() == end_reason::first_byte_timeout);
    }
}

TEST_CASE("uploads: a body that throws while the response is on its way") {
    auto rest = GENERATE("!", "!xy"); // to the end of the body
    static int reports;
    reports = 0;
    set_report_function([](std::string_view) { ++reports; });
    struct picky final : body {
        explicit picky(std::unique_ptr<body> b) : inner(std::move(b)) {}
        io_result try_read(std::span<std::byte> to) override {
            auto got = inner->try_read(to);
            if (got.count && to[0] == std::byte{'!'})
                throw std::runtime_error("not this");
            return got;
        }
        stream* waits_on() noexcept override { return inner->waits_on(); }
        std::unique_ptr<body> inner;
    };
    auto checking = [](exchange& x, exchange::next next) -> awaitable<> {
        x.request.body.wrap(
            [](std::unique_ptr<body> inner) { return std::make_unique<picky>(std::move(inner)); });
        return next(x);
    };
    scripted_server upstream;
    auto reasons = std::make_shared<std::vector<end_reason>>();
    session client(http() | proxied::noting{reasons} | checking | proxy_to(upstream.url()));
    client.send(post_of(5, "ab"));
    auto up = upstream.accept();
    REQUIRE(up);
    up->send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nan");
    client.run();
    client.send(rest);
    up->send("swer");
    client.run();
    client.advance(1100ms);
    set_report_function(nullptr);
    CHECK(content_of(client.received()) == "answer");
    CHECK(*reasons == std::vector<end_reason>{end_reason::stage_threw});
    CHECK(reports == 1);
}

TEST_CASE("uploads: one that waits for bytes of its own ends with the response") {
    struct elsewhere final : body { // as a stage makes it that takes the content from another place
        explicit elsewhere(stream& s) : from(s) {}
        io_result try_read(std::span<std::byte> to) override { return from.try_read(to); }
        stream* waits_on() noexcept override { return &from; }
        stream& from;
    };
    auto [source, silent] = memory_stream::make();
    auto wrapping = [&](exchange& x, exchange::next next) -> awaitable<> {
        if (!x.request.body.empty())
            x.request.body.wrap(
                [&](std::unique_ptr<body>) { return std::make_unique<elsewhere>(*source); });
        return next(x);
    };
    scripted_server upstream;
    auto reasons = std::make_shared<std::vector<end_reason>>();
    session client(http() | proxied::noting{reasons} | wrapping | proxy_to(upstream.url()));
    client.send(post("x"));
    auto up = upstream.accept();
    REQUIRE(up);
    up->send("HTTP/1.1 401 No\r\nContent-Length: 4\r\n\r\nst");
    client.run();
    up->send("op");
    client.run();
    CHECK(content_of(client.take_received()) == "stop");
    CHECK(*reasons == std::vector<end_reason>{end_reason::completed}); // no time went by
    client.send(get);
    auto next = upstream.accept();
    REQUIRE(next);
    next->send(ok("next"));
    client.run();
    CHECK(content_of(client.received()) == "next");
}

TEST_CASE("uploads: the one of an earlier try ends with that try") {
    auto again = [](exchange& x, exchange::next next) -> awaitable<> {
        co_await x.request.body.read_all(10 << 20);
        co_await next(x);
        if (x.response.status() != 503)
            co_return;
        co_await x.response.body.read_all(100);
        co_await next(x);
    };
    scripted_server upstream;
    session client(http() | again | proxy_to(upstream.url()));
    std::string const large(4 << 20, 'x'); // more than an upstream takes that does not read
    client.send(post(large));
    auto first = upstream.accept();
    REQUIRE(first);
    first->send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbu");
    client.run();
    first->send("sy");
    client.run();
    auto second = upstream.accept();
    REQUIRE(second);
    second->send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndo");
    client.run();
    second->send("ne");
    client.run();
    CHECK(content_of(client.take_received()) == "done");
    client.send(get); // at once, not when the time for the first upload is over
    auto next = upstream.accept();
    REQUIRE(next);
    CHECK(next->take().starts_with("GET / "));
}

TEST_CASE(
    "uploads: a body that a stage wanted to look at, and that is too large, goes on as it comes") {
    bool const chunked = GENERATE(false, true);
    std::vector<end_reason> caught;
    auto const look = [&](exchange& x, exchange::next next) -> awaitable<> {
        try {
            co_await x.request.body.read_all(4);
        } catch (exchange_error const& error) {
            caught.push_back(error.reason());
        }
        co_await next(x);
        try {
            co_await x.response.body.read_all(4);
        } catch (exchange_error const& error) {
            caught.push_back(error.reason());
        }
    };
    scripted_server upstream;
    session client(http() | look | proxy_to(upstream.url()));
    auto const framed = [&](std::string const& bytes) {
        return chunked ? std::to_string(bytes.size()) + "\r\n" + bytes + "\r\n" : bytes;
    };
    auto const framing =
        chunked ? "Transfer-Encoding: chunked\r\n\r\n"s : "Content-Length: 9\r\n\r\n"s;
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\n" + framing + framed("abc"));
    auto up = upstream.accept();
    CHECK((up == nullptr) == chunked); // too large for sure where its length is told
    client.send(framed("def"));
    if (!up)
        up = upstream.accept();
    REQUIRE(up);
    client.send(framed("ghi") + (chunked ? "0\r\n\r\n" : ""));
    auto const got = up->take();
    CAPTURE(got);
    if (chunked) {
        CHECK(has_line(got, "Transfer-Encoding: chunked"));
        CHECK(content_of(got) == "6\r\nabcdef\r\n3\r\nghi\r\n0\r\n\r\n");
    } else {
        CHECK(has_line(got, "Content-Length: 9"));
        CHECK(content_of(got) == "abcdefghi");
    }
    up->send("HTTP/1.1 200 OK\r\n" + framing + framed("123"));
    client.run();
    CHECK(client.received().empty() == chunked);
    up->send(framed("456"));
    client.run();
    up->send(framed("789") + (chunked ? "0\r\n\r\n" : ""));
    client.run();
    auto const answer = client.take_received();
    CAPTURE(answer);
    CHECK(content_of(answer) == (chunked ? "6\r\n123456\r\n3\r\n789\r\n0\r\n\r\n" : "123456789"));
    CHECK(caught ==
          std::vector<end_reason>{end_reason::body_too_large, end_reason::response_too_large});
}
