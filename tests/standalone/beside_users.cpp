// Names that programs have for themselves: none of them is the library's.

#include <relais/relais.hpp>

using namespace relais;

namespace {

struct gate {};
struct session {};
struct user {
    std::string name;
};
struct settings {
    gate front;
    session first;
    user owner;
};
struct handler {
    settings all;
    awaitable<> operator()(exchange& x) const {
        x.respond(200, all.owner.name);
        co_return;
    }
};

} // namespace

int beside_users() {
    server srv;
    srv.listen("127.0.0.1:8080", http() | handler{});
    return srv.run();
}
