// What requests and answers carry: it passes by in pieces, and nobody waits for the whole, unless a stage wants to.
//
//     curl -d 'a=1&b=2' http://127.0.0.1:8080/form                  # 200 "you sent a=1&b=2"
//     head -c 100000 /dev/zero | curl --data-binary @- http://127.0.0.1:8080/form          # 413
//     curl http://127.0.0.1:8080/page                               # 200 "<p>hello</p><!-- checked -->"
//     curl http://127.0.0.1:8080/flaky                              # 200 "the second time"

#include <relais/relais.hpp>

#include <atomic>

using namespace relais;

static awaitable<> form(exchange& x) {
    auto text = co_await x.request.body.read_all(64 * 1024); // more is answered by 413
    x.respond(200, "you sent " + std::string(text) + "\n");
}

static awaitable<> checked(exchange& x, exchange::next next) {
    co_await next(x);
    if (!x.response["Content-Type"].starts_with("text/html"))
        co_return; // passes as it is, however long it is
    auto page = co_await x.response.body.read_all(1024 * 1024);
    x.response.body.set(std::string(page) + "<!-- checked -->\n");
}

static awaitable<> once_more(exchange& x, exchange::next next) {
    x.request.body.keep(64 * 1024); // so that it can be sent again
    co_await next(x);
    if (x.response.status() == 503 && x.request.method() == verb::get)
        co_await next(x);
}

static awaitable<> flaky(exchange& x) {
    static std::atomic<int> tries = 0;
    if (tries++ == 0)
        x.respond(503, "not now\n");
    else
        x.respond(200, "the second time\n");
    co_return;
}

int main() {
    server srv;
    srv.listen("127.0.0.1:8080",
               http() | routes(at("/form") | form,
                               at("/page") | checked |
                                   respond(200, "<p>hello</p>", {{"Content-Type", "text/html"}}),
                               at("/flaky") | once_more | flaky));
    return srv.run();
}
