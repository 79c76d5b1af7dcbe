// A server as a part of another program, which decides when it starts and ends: the system chooses the port, an orchestrator
// learns whether it is ready, and nobody is cut off at the end.
//
//     9_in_your_program > url &
//     curl "$(cat url)/"                    # 200 "hello"
//     curl "$(cat url)/ready"               # 200 "ready"
//     curl -X POST "$(cat url)/end"         # 202
//     curl "$(cat url)/ready"               # 503 "draining": so the balancer sends no more
//     curl "$(cat url)/"                    # 200 "hello": who comes nevertheless is served, for three seconds

#include <relais/relais.hpp>

#include <iostream>
#include <semaphore>
#include <thread>

using namespace relais;

int main() {
    std::binary_semaphore asked_to_end(0);
    auto end = [&](exchange& x) -> awaitable<> {
        x.respond(202, "as you wish\n");
        asked_to_end.release();
        co_return;
    };

    server srv({.workers = 2, .handle_signals = false, .drain_notice = std::chrono::seconds(3)});
    srv.listen("127.0.0.1:0", http() | routes(at(exact("/ready")) | readiness(srv),
                                              at(exact("/end")).method(verb::post) | end,
                                              at("/") | respond(200, "hello\n")));
    try {
        srv.start(); // returns at once: its workers are threads of their own
    } catch (startup_error const& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
    std::cout << "http://" << srv.endpoints().front().to_string() << std::endl;

    asked_to_end.acquire(); // whatever else the program does
    srv.drain();            // not ready any more; requests in progress end, idle connections too
    return srv.run();       // until everybody has gone
}
