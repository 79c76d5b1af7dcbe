// What lasts as long as a request: `next` returns when the head of the answer is there, long before the last byte is sent.
// on_complete() is called after that one, hold() keeps an object until then. The access log is written so.
//
//     curl localhost:8080/large -o /dev/null      # 200
//     curl localhost:8080/none                    # 404
//     curl localhost:8080/statistics              # 200 "2 requests, 1 failed, 33554"
//     curl -Z --parallel-immediate --limit-rate 32M -w 'answered %{http_code}\n' localhost:8080/large localhost:8080/large -o 1 -o 2
//         # "answered 200" "answered 503": one download at once

#include <relais/relais.hpp>

#include <atomic>
#include <memory>
#include <semaphore>

using namespace relais;

struct totals {
    std::atomic<std::uint64_t> requests = 0, failed = 0, bytes = 0;
};

// Copies of a stage share what it points to; all workers count into it.
struct statistics {
    std::shared_ptr<totals> all = std::make_shared<totals>();

    awaitable<> operator()(exchange& x, exchange::next next) const {
        x.on_complete([sum = all](exchange& ended) {
            ++sum->requests;
            sum->failed +=
                ended.response.status() >= 400 || ended.reason() != end_reason::completed;
            sum->bytes += ended.body_bytes_sent();
        });
        return next(x); // nothing to do afterwards: no coroutine
    }
};

struct show {
    statistics of;

    awaitable<> operator()(exchange& x) const {
        x.respond(200, std::to_string(of.all->requests) + " requests, " +
                           std::to_string(of.all->failed) + " failed, " +
                           std::to_string(of.all->bytes) + " bytes\n");
        co_return;
    }
};

struct give_back {
    void operator()(std::binary_semaphore* taken) const { taken->release(); }
};

static awaitable<> one_at_once(exchange& x, exchange::next next) {
    static std::binary_semaphore free(1);
    if (!free.try_acquire()) {
        x.respond(503, "somebody is downloading: come again\n");
        co_return;
    }
    x.hold(std::unique_ptr<std::binary_semaphore, give_back>(&free));
    co_await next(x);
}

int main() {
    statistics counted;
    std::string large(32 * 1024 * 1024, 'x');
    server srv;
    srv.listen("127.0.0.1:8080",
               http() | access_log() | counted |
                   routes(at(exact("/statistics")) | show{counted},
                          at(exact("/large")) | one_at_once | respond(200, large)));
    return srv.run();
}
