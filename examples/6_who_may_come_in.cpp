// Who may do what: passwords for people, tokens for programs, and which sites browsers may call from.
//
//     curl -u ann:secret localhost:8080/                                # 200 "hello, ann"
//     curl -i -u ann:wrong localhost:8080/                              # 401 "WWW-Authenticate: Basic"
//     curl -H 'Authorization: Bearer f00d' localhost:8080/api/          # 200 "hello, robot"
//     curl -i localhost:8080/api/                                       # 401 "WWW-Authenticate: Bearer"
//
// A browser asks first whether a page of https://abc.com may, without a token; whether a page may open a WebSocket, and send
// your cookies along, it does not ask:
//
//     curl -i -X OPTIONS -H 'Origin: https://abc.com' -H 'Access-Control-Request-Method: PUT' localhost:8080/api/
//         # 204 "Access-Control-Allow-Origin: https://abc.com"
//     curl -X OPTIONS -H 'Origin: https://evil.example' -H 'Access-Control-Request-Method: PUT' localhost:8080/api/
//         # 403
//     curl -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Origin: https://evil.example' localhost:8080/live
//         # 403

#include <relais/relais.hpp>

#include <optional>

using namespace relais;

static std::optional<std::string> owner_of(std::string_view token) {
    if (token == "f00d") // a real one is looked up by its digest
        return "robot";
    return std::nullopt;
}

static awaitable<> hello(exchange& x) {
    x.respond(200, "hello, " + x.state.get<authenticated>().name + "\n");
    co_return;
}

int main() {
    auto people = basic_auth({.users = {{"ann", "secret"}, {"bob", "hunter2"}}, .realm = "abc"});
    auto programs = bearer_auth({.verify = owner_of});
    auto from_abc = cors({.origins = {"https://abc.com"}, .credentials = true});

    server srv; // in earnest behind tls(): passwords and tokens are readable here
    srv.listen("127.0.0.1:8080",
               http() | routes(at("/api/") | from_abc | programs | hello,
                               at("/live") | websocket_origin({"https://abc.com"}) | people | hello,
                               at("/") | people | hello));
    return srv.run();
}
