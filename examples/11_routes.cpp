// Which chain serves which request: nginx's order of locations, by host and by method where it matters. `explain` says why.
//
//     curl http://127.0.0.1:8080/                                 # 200 "the front page"
//     curl http://127.0.0.1:8080/somewhere                        # 200 "the site"
//     curl http://127.0.0.1:8080/page.php                         # 403 "no scripts here"
//     curl http://127.0.0.1:8080/static/page.php                  # 200 "a file": prefix() asks no patterns
//     curl -i http://127.0.0.1:8080/docs                          # 301 "Location: /docs/"
//     curl -i http://127.0.0.1:8080/docs/a?b                      # 301 "Location: https://docs.example.org/a?b"
//     curl -i -d '' http://127.0.0.1:8080/status                  # 405 "Allow: GET, HEAD"
//     curl -H 'Host: a.shop.example' http://127.0.0.1:8080/       # 200 "a shop"
//     curl http://127.0.0.1:8080/new/                             # 200 "added"
//     curl http://127.0.0.1:8080/explain?/static/page.php         # 200 "wins"

#include <relais/relais.hpp>

using namespace relais;

int main() {
    routes site(at(exact("/")) | respond(200, "the front page\n"),
                at("/") | respond(200, "the site\n"),
                at(pattern(R"(\.php$)", icase)) | respond(403, "no scripts here\n"),
                at(prefix("/static/")) | respond(200, "a file\n"),
                at("/docs/") |
                    redirect({.to = "https://docs.example.org/", .status = 301, .keep_path = true}),
                at(exact("/status")).method(verb::get) | respond(200, "fine\n"),
                at("/").host("shop.example", "*.shop.example") | respond(200, "a shop\n"));

    site.add(at("/new/") | respond(200, "added\n")); // while the server runs, too

    auto explain = [site](exchange& x) -> awaitable<> {
        x.respond(200, site.explain(x.request.query(), x.request.host()));
        co_return;
    };

    server srv;
    srv.listen("127.0.0.1:8080", http() | routes(at(exact("/explain")) | explain, at("/") | site));
    return srv.run();
}
