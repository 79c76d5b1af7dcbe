// A stage of one's own: it asks another service who the client is, waits for the answer without holding anybody up, and
// leaves it for the stages behind it. What is awaited is Beast's client; it could be any library for Asio.
//
//     curl http://127.0.0.1:8080/                         # 401 "sign in first"
//     curl -b session=1f3a http://127.0.0.1:8080/         # 200 "hello, ann of blue"
//     curl -b session=forged http://127.0.0.1:8080/       # 401

#include <relais/relais.hpp>

#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

using namespace relais;
namespace beast = boost::beast;
using boost::asio::use_awaitable;

struct account {
    std::string user;
    std::string tenant;
};

static awaitable<bool> ask(std::string_view cookies, account& into) {
    auto executor = co_await boost::asio::this_coro::executor;
    boost::asio::ip::tcp::endpoint where(boost::asio::ip::address_v4::loopback(), 8081);
    beast::http::request<beast::http::empty_body> question(verb::get, "/", 11);
    question.set(field::host, "accounts");
    question.set(field::cookie, cookies);
    beast::http::response<beast::http::string_body> answer;
    beast::flat_buffer buffer;

    beast::tcp_stream service(executor);
    service.expires_after(std::chrono::seconds(2));
    co_await service.async_connect(where, use_awaitable);
    co_await beast::http::async_write(service, question, use_awaitable);
    co_await beast::http::async_read(service, buffer, answer, use_awaitable);
    into.user = answer["User"];
    into.tenant = answer["Tenant"];
    co_return answer.result() == status::ok;
}

static awaitable<> signed_in(exchange& x, exchange::next next) {
    auto& who = x.state.emplace<account>();
    bool known = co_await ask(x.request[field::cookie], who); // what it throws is answered by 500
    if (known)
        co_await next(x);
    else
        x.respond(401, "sign in first\n");
}

static awaitable<> hello(exchange& x) {
    auto const& who = x.state.get<account>();
    x.respond(200, "hello, " + who.user + " of " + who.tenant + "\n");
    co_return;
}

static awaitable<> accounts(exchange& x) {
    bool known = x.request.cookie("session") == "1f3a";
    x.respond(known ? 200 : 404);
    if (known) {
        x.response.set("User", "ann");
        x.response.set("Tenant", "blue");
    }
    co_return;
}

int main() {
    server srv;
    srv.listen("127.0.0.1:8080", http() | signed_in | hello);
    srv.listen("127.0.0.1:8081", http() | accounts);
    return srv.run();
}
