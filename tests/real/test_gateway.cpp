/// \file
/// The gateway that the real peers talk to, put together from its command line:
///
///     workers=2  share-ports=1  drain-notice=MS  drain-spread=MS  drain-timeout=MS
///     http=127.0.0.1:0  https=127.0.0.1:0  relay=127.0.0.1:0,HOST:PORT
///     tls-relay=127.0.0.1:0,HOST:PORT  certificate=FILE,KEY  guarded-certificate=FILE,KEY
///     clients=optional|required  client-ca=FILE  key-log=yes  tickets=N  handshake-timeout=MS
///     behind=127.0.0.1:0  behind-tls=127.0.0.1:0  behind-relay=127.0.0.1:0,HOST:PORT  behind-guarded=127.0.0.1:0
///     trusted=RANGE  others=1  proxy-timeout=MS  proxy-size=BYTES  send-proxy=v1  send-proxy=v2
///     deny=RANGE  allow=RANGE  real-ip=RANGE
///     route=/PREFIX,URL  rules=FILE  ready=/PATH  ca=FILE  forwarded=both  via=NAME  underscores=keep
///     min-rate=BYTES  min-rate-after=MS  head-timeout=MS  body-timeout=MS  keep-alive-timeout=MS  write-timeout=MS  requests=N
///     connect-timeout=MS  first-byte-timeout=MS  read-timeout=MS  tunnel-timeout=MS  linger=MS
///
/// A line of the rules' file is a host, a kind as nginx writes it ("", "=", "^~", "~", "~*"), a path or a pattern, what
/// answers ("respond", "proxy", "as-sent"), and a text or a URL, with tabs between them.
///
/// "behind" is behind a load balancer that speaks the PROXY protocol, whose extra values go into X-Custom; "guarded" by
/// `deny` on its connections, and by `real_ip` and `allow` on its requests. It prints a line for each listener, in the
/// order of these words, and "ready". A line on standard input is answered by the number of connections; the end of it
/// ends the gateway.

#include <relais/relais.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

class command_line {
public:
    command_line(int argc, char** argv) {
        for (std::string_view word : std::vector<std::string_view>(argv + 1, argv + argc)) {
            auto equals = word.find('=');
            if (equals == word.npos)
                throw std::invalid_argument("name=value, not " + std::string(word));
            words_[std::string(word.substr(0, equals))].emplace_back(word.substr(equals + 1));
        }
    }

    std::vector<std::string> const& all(std::string const& name) { return words_[name]; }

    std::string text(std::string const& name) {
        auto const& values = words_[name];
        return values.empty() ? std::string() : values.back();
    }

    template <class Number>
    void number(std::string const& name, Number& into) {
        if (auto value = text(name); !value.empty())
            into = static_cast<Number>(std::stoul(value));
    }

    void duration(std::string const& name, std::chrono::milliseconds& into) {
        if (auto value = text(name); !value.empty())
            into = std::chrono::milliseconds(std::stol(value));
    }

    std::vector<std::pair<std::string, std::string>> pairs(std::string const& name) {
        std::vector<std::pair<std::string, std::string>> made;
        for (auto const& value : words_[name]) {
            auto comma = value.find(',');
            if (comma == value.npos)
                throw std::invalid_argument(name + " has two parts, not " + value);
            made.emplace_back(value.substr(0, comma), value.substr(comma + 1));
        }
        return made;
    }

private:
    std::map<std::string, std::vector<std::string>> words_;
};

relais::http_options read_http(command_line& given) {
    relais::http_options made;
    given.duration("head-timeout", made.head_timeout);
    given.duration("body-timeout", made.body_timeout);
    given.duration("keep-alive-timeout", made.keep_alive_timeout);
    given.duration("write-timeout", made.write_timeout);
    given.number("requests", made.keep_alive_requests);
    given.number("min-rate", made.body_min_rate);
    given.duration("min-rate-after", made.body_min_rate_after);
    if (given.text("underscores") == "keep")
        made.underscore_names = relais::underscores::keep;
    return made;
}

relais::proxy_version read_version(command_line& given) {
    auto const version = given.text("send-proxy");
    return version == "v1"   ? relais::proxy_version::v1
           : version == "v2" ? relais::proxy_version::v2
                             : relais::proxy_version::none;
}

relais::proxy_protocol_stage read_proxy_protocol(command_line& given) {
    relais::proxy_protocol_options made;
    made.trusted = given.all("trusted");
    made.others = !given.text("others").empty();
    given.duration("proxy-timeout", made.timeout);
    given.number("proxy-size", made.max_size);
    return relais::proxy_protocol(made);
}

/// Shows the upstream which extra values a header had, and the name that it tells (PP2_TYPE_AUTHORITY).
relais::awaitable<> tell_values(relais::exchange& x, relais::exchange::next next) {
    std::string values;
    if (auto const* header = x.connection().state.find<relais::proxy_header>())
        for (auto const& value : header->values)
            values += std::to_string(value.type) + (value.type == 2 ? '=' + value.bytes : "") + ' ';
    if (!values.empty())
        x.request.set("X-Custom", values.substr(0, values.size() - 1));
    return next(x);
}

relais::proxy_options read_proxy(command_line& given) {
    relais::proxy_options made;
    made.proxy_protocol = read_version(given);
    given.duration("connect-timeout", made.connect_timeout);
    given.duration("first-byte-timeout", made.first_byte_timeout);
    given.duration("read-timeout", made.read_timeout);
    given.duration("tunnel-timeout", made.tunnel_timeout);
    given.duration("linger", made.linger);
    if (given.text("forwarded") == "both")
        made.forwarded = relais::forwarded_fields::both;
    made.via = given.text("via");
    made.tls.ca_file = given.text("ca");
    return made;
}

relais::tls_options read_tls(command_line& given) {
    relais::tls_options made;
    for (auto const& [certificate, key] : given.pairs("certificate"))
        made.certificates.push_back({.certificate = certificate, .key = key});
    if (!made.certificates.empty()) {
        made.certificate = made.certificates.front().certificate;
        made.key = made.certificates.front().key;
        made.certificates.erase(made.certificates.begin());
    }
    auto const how = [&](std::string const& name) {
        auto const word = given.text(name);
        return word == "required"   ? relais::client_certificates::required
               : word == "optional" ? relais::client_certificates::optional
                                    : relais::client_certificates::ignored;
    };
    made.clients = how("clients");
    made.client_ca = given.text("client-ca");
    for (auto const& [certificate, key] : given.pairs("guarded-certificate"))
        made.certificates.push_back({.certificate = certificate,
                                     .key = key,
                                     .clients = relais::client_certificates::required});
    made.key_log = !given.text("key-log").empty();
    given.number("tickets", made.tickets);
    given.duration("handshake-timeout", made.handshake_timeout);
    return made;
}

relais::awaitable<> tell_client(relais::exchange& x, relais::exchange::next next) {
    auto const* session = x.connection().tls();
    if (session && session->client) {
        auto const& c = *session->client;
        std::string names;
        for (auto const& name : c.names)
            names += (names.empty() ? "" : " ") + name;
        x.request.set("X-Client", c.subject + '|' + c.issuer + '|' + c.serial + '|' +
                                      c.fingerprint + '|' + names);
    }
    return next(x);
}

relais::matcher read_rule(std::string const& kind, std::string const& text) {
    using namespace relais;
    if (kind.empty())
        return text;
    if (kind == "=")
        return exact(text);
    if (kind == "^~")
        return prefix(text);
    if (kind == "~")
        return pattern(text);
    if (kind == "~*")
        return pattern(text, icase);
    throw std::invalid_argument("no kind of rule: " + kind);
}

void add_rules(std::string const& file, relais::routes& paths, relais::proxy_options const& proxy) {
    using namespace relais;
    std::ifstream lines(file);
    if (!lines)
        throw std::invalid_argument("no rules in " + file);
    for (std::string host, kind, text, what, answer; std::getline(lines, host, '\t');) {
        for (auto* part : {&kind, &text, &what})
            std::getline(lines, *part, '\t');
        std::getline(lines, answer);
        auto rule = read_rule(kind, text);
        auto options = proxy;
        if (what == "as-sent")
            options.path = path_form::as_sent;
        auto const branch = host.empty() ? at(rule) : at(rule).host(host);
        if (what == "respond")
            paths.add(branch | respond(200, answer));
        else
            paths.add(branch | proxy_to(answer, options));
    }
}

void tell(relais::server const& srv, std::vector<std::string> names) {
    while (srv.endpoints().empty())
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    auto where = srv.endpoints();
    for (std::size_t i = 0; i < names.size(); ++i)
        std::printf("%s %s\n", names[i].c_str(), where[i].to_string().c_str());
    std::printf("ready\n");
    std::fflush(stdout);
    char line[64];
    for (;;) {
        auto const count = ::read(STDIN_FILENO, line, sizeof line);
        if (count < 0 &&
            errno == EINTR) // a signal may come to this thread too, and is no end of the input
            continue;
        if (count <= 0)
            break;
        std::printf("%zu\n", srv.connections());
        std::fflush(stdout);
    }
    std::raise(SIGTERM);
}

} // namespace

int main(int argc, char** argv) try {
    using namespace relais;
    command_line given(argc, argv);
    server_options options;
    options.workers = 1;
    options.drain_spread = {};
    options.drain_timeout = std::chrono::seconds(1);
    given.number("workers", options.workers);
    given.number("share-ports", options.share_ports);
    given.duration("drain-notice", options.drain_notice);
    given.duration("drain-spread", options.drain_spread);
    given.duration("drain-timeout", options.drain_timeout);

    server srv(options);
    routes paths;
    for (auto const& path : given.all("ready"))
        paths.add(at(exact(path)) | readiness(srv));
    for (auto const& [path, url] : given.pairs("route"))
        paths.add(at(path) | proxy_to(url, read_proxy(given)));
    for (auto const& file : given.all("rules"))
        add_rules(file, paths, read_proxy(given));
    auto site =
        relais::http(read_http(given)) | forward_client_certificate(true) | tell_client | paths;

    std::vector<std::string> names;
    for (auto const& where : given.all("http")) {
        srv.listen(where, site);
        names.push_back("http");
    }
    for (auto const& where : given.all("https")) {
        srv.listen(where, tls(read_tls(given)) | site);
        names.push_back("https");
    }
    for (auto const& [where, upstream] : given.pairs("relay")) {
        srv.listen(where, relay(upstream, {.proxy_protocol = read_version(given)}));
        names.push_back("relay");
    }
    for (auto const& [where, upstream] : given.pairs("tls-relay")) {
        srv.listen(where, tls(read_tls(given)) | relay(upstream));
        names.push_back("tls-relay");
    }
    for (auto const& where : given.all("behind")) {
        srv.listen(where, read_proxy_protocol(given) | relais::http(read_http(given)) |
                              tell_values | paths);
        names.push_back("behind");
    }
    for (auto const& where : given.all("behind-tls")) {
        srv.listen(where, read_proxy_protocol(given) | tls(read_tls(given)) | site);
        names.push_back("behind-tls");
    }
    for (auto const& [where, upstream] : given.pairs("behind-relay")) {
        srv.listen(where, read_proxy_protocol(given) |
                              relay(upstream, {.proxy_protocol = read_version(given)}));
        names.push_back("behind-relay");
    }
    for (auto const& where : given.all("behind-guarded")) {
        srv.listen(where, read_proxy_protocol(given) | deny(given.all("deny")) |
                              relais::http(read_http(given)) |
                              real_ip({.trusted = given.all("real-ip")}) |
                              allow(given.all("allow")) | paths);
        names.push_back("behind-guarded");
    }
    std::thread(tell, std::cref(srv), names).detach();
    auto status = srv.run();
    if (status != 0)
        std::_Exit(status); // the thread still waits for the start
    return status;
} catch (std::exception const& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
}
