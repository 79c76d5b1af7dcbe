#include "catch.hpp"
#include "make_certificate.hpp"

#include <relais/core/error.hpp>
#include <relais/tls/context.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

using namespace relais;

std::string why_not(tls_options const& options) {
    try {
        tls_context const context(options, true);
    } catch (startup_error const& e) {
        return e.what();
    }
    return "(it loads)";
}

std::string why_not(tls_client_options const& options) {
    try {
        tls_client_context const context(options);
    } catch (startup_error const& e) {
        return e.what();
    }
    return "(it loads)";
}

// A folder of files that goes with the test.
class folder {
public:
    folder() {
        std::string name = (std::filesystem::temp_directory_path() / "relais-tls-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()));
        path_ = name;
    }
    folder(folder const&) = delete;
    ~folder() { std::filesystem::remove_all(path_); }

    std::string file(std::string const& name, std::string const& content) const {
        std::string const path = path_ / name;
        std::ofstream(path, std::ios::binary) << content;
        return path;
    }
    std::string operator/(std::string const& name) const { return path_ / name; }

private:
    std::filesystem::path path_;
};

bool says(std::string const& sentence, std::vector<std::string> const& parts) {
    for (auto const& p : parts)
        if (sentence.find(p) == std::string::npos)
            return false;
    return sentence.find('\n') == std::string::npos;
}

} // namespace

TEST_CASE("certificates load from files and from memory", "[tls]") {
    made::family const f;
    folder const at;
    std::string const chain = f.leaf.pem() + f.intermediate.pem();
    std::string const fine = "(it loads)";

    CHECK(why_not({.certificate = at.file("c.pem", chain),
                   .key = at.file("k.pem", f.leaf.key_pem())}) == fine);
    CHECK(why_not({.certificate_pem = chain, .key_pem = f.leaf.key_pem()}) == fine);
    CHECK(why_not({.certificate = at.file("both.pem", f.leaf.key_pem() + chain)}) == fine);
    CHECK(why_not({.certificate_pem = chain + f.root.pem(), .key_pem = f.leaf.key_pem()}) == fine);
    CHECK(why_not({.certificate_pem = f.leaf.pem(), .key_pem = f.leaf.key_pem()}) == fine);
    CHECK(why_not({.certificates = {{.certificate_pem = chain, .key_pem = f.leaf.key_pem()}}}) ==
          fine);
    CHECK(why_not(tls_options::self_signed("localhost")) == fine);
    CHECK(why_not(tls_options::self_signed("*.b.example")) == fine);

    auto const rsa = made::sign({.common_name = "rsa", .names = "DNS:b.example", .rsa = true});
    CHECK(why_not({.certificate_pem = rsa.pem(), .key_pem = rsa.key_pem()}) == fine);
}

TEST_CASE("what is wrong with a certificate is said in one sentence", "[tls]") {
    made::family const f;
    auto const other = made::sign({.common_name = "other"});
    auto const weak = made::sign({.common_name = "weak", .rsa = true, .rsa_bits = 512});
    folder const at;
    std::string const certificate = at.file("c.pem", f.leaf.pem() + f.intermediate.pem());
    std::string const key = at.file("k.pem", f.leaf.key_pem());
    std::string const dir = at / "";
    std::string damaged = f.leaf.pem();
    damaged.replace(32, 8, "AAAAAAAA"); // within the outermost lengths

    struct row {
        char const* what;
        tls_options options;
        std::vector<std::string> says;
    };
    std::vector<row> const rows{
        {"nothing", {}, {"no certificate is given", ".certificate", "self_signed"}},
        {"a key alone", {.key = key}, {"a key is given without its certificate"}},
        {"a certificate alone",
         {.certificate = certificate},
         {certificate, "without its key", ".key"}},
        {"a certificate alone, in memory",
         {.certificate_pem = f.leaf.pem()},
         {".certificate_pem", "without its key", ".key_pem"}},
        {"a missing file",
         {.certificate = at / "no.pem", .key = key},
         {"certificate file", at / "no.pem", "does not exist"}},
        {"a missing key file",
         {.certificate = certificate, .key = at / "no.key"},
         {"key file", at / "no.key", "does not exist"}},
        {"a directory", {.certificate = dir, .key = key}, {dir, "is a directory"}},
        {"an empty file",
         {.certificate = at.file("empty", ""), .key = key},
         {at / "empty", "it is empty"}},
        {"text that is not PEM",
         {.certificate = at.file("text", "hello\n"), .key = key},
         {at / "text", "not PEM"}},
        {"DER",
         {.certificate = at.file("der", "\x30\x82"), .key = key},
         {at / "der", "DER", "openssl x509"}},
        {"a key in place of the certificate",
         {.certificate = key, .key = key},
         {key, "no certificate", "\"PRIVATE KEY\""}},
        {"a certificate in place of the key",
         {.certificate = certificate, .key = certificate},
         {certificate, "no private key", "\"CERTIFICATE\""}},
        {"a damaged certificate",
         {.certificate = at.file("bad", damaged), .key = key},
         {at / "bad", "number 1", "damaged"}},
        {"a damaged second certificate",
         {.certificate =
              at.file("bad2", f.leaf.pem() +
                                  "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
          .key = key},
         {at / "bad2", "number 2", "damaged"}},
        {"a damaged key",
         {.certificate = certificate,
          .key =
              at.file("badkey", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")},
         {at / "badkey", "damaged"}},
        {"an encrypted key",
         {.certificate = certificate, .key = at.file("secret", f.leaf.key_pem("hidden"))},
         {at / "secret", "encrypted", "openssl pkey"}},
        {"the key of another certificate",
         {.certificate = certificate, .key = at.file("o.pem", other.key_pem())},
         {at / "o.pem", certificate, "does not belong", "CN=leaf"}},
        {"the leaf last",
         {.certificate = at.file("turned", f.intermediate.pem() + f.leaf.pem()), .key = key},
         {at / "turned", "wrong order", "number 2", "CN=leaf"}},
        {"the middle left out",
         {.certificate = at.file("gap", f.leaf.pem() + f.root.pem()), .key = key},
         {at / "gap", "not in order", "CN=root", "did not sign", "CN=leaf"}},
        {"root before intermediate",
         {.certificate = at.file("mixed", f.leaf.pem() + f.root.pem() + f.intermediate.pem()),
          .key = key},
         {at / "mixed", "not in order"}},
        {"a stranger at the end",
         {.certificate = at.file("more", f.leaf.pem() + f.intermediate.pem() + other.pem()),
          .key = key},
         {at / "more", "number 3", "CN=other"}},
        {"a key that is too short",
         {.certificate_pem = weak.pem(), .key_pem = weak.key_pem()},
         {".certificate_pem", "refuses", "too small"}},
        {"one of several",
         {.certificate = certificate,
          .key = key,
          .certificates = {{.certificate = at / "second.pem", .key = key}}},
         {at / "second.pem"}},
        {"a protocol without a name",
         {.certificate = certificate, .key = key, .protocols = {{""}}},
         {"ALPN"}},
        {"too many tickets",
         {.certificate = certificate, .key = key, .tickets = 100},
         {".tickets"}},
    };
    for (auto const& r : rows) {
        INFO(r.what);
        std::string const sentence = why_not(r.options);
        INFO(sentence);
        CHECK(says(sentence, r.says));
    }
    if (geteuid() != 0) { // root may read everything
        std::string const closed = at.file("closed", f.leaf.pem());
        std::filesystem::permissions(closed, std::filesystem::perms::none);
        CHECK(says(why_not({.certificate = closed, .key = key}), {closed, "may not be read"}));
    }
}

TEST_CASE("whom a client trusts is read from a file or from memory", "[tls]") {
    made::family const f;
    folder const at;
    CHECK(why_not({.ca_file = at.file("ca.pem", f.root.pem())}) == "(it loads)");
    CHECK(why_not({.ca_pem = f.root.pem()}) == "(it loads)");
    CHECK(why_not(tls_client_options{}) == "(it loads)");
    CHECK(says(why_not({.ca_file = at / "no.pem"}), {at / "no.pem", "does not exist"}));
    CHECK(says(why_not({.ca_file = at.file("text", "x")}), {at / "text", "not PEM"}));
}

TEST_CASE("who may sign the certificates of clients is said where they are asked for", "[tls]") {
    made::family const f;
    folder const at;
    tls_options const fine{.certificate_pem = f.leaf.pem(),
                           .key_pem = f.leaf.key_pem(),
                           .clients = client_certificates::required,
                           .client_ca_pem = f.root.pem()};
    CHECK(why_not(fine) == "(it loads)");
    auto by_file = fine;
    by_file.client_ca_pem.clear();
    by_file.client_ca = at.file("ca.pem", f.root.pem() + f.intermediate.pem());
    CHECK(why_not(by_file) == "(it loads)");

    auto nobody = fine;
    nobody.client_ca_pem.clear();
    nobody.clients = GENERATE(client_certificates::optional, client_certificates::required);
    CHECK(says(why_not(nobody), {"clients are asked for certificates", "set .client_ca"}));
    auto rubbish = fine;
    rubbish.client_ca_pem = "rubbish";
    CHECK(says(why_not(rubbish), {"no certificate", ".client_ca_pem"}));
    by_file.client_ca = at / "none.pem";
    CHECK(says(why_not(by_file), {"client CA", at / "none.pem", "does not exist"}));

    // Of one host alone, whose own file goes before the one for all.
    auto mixed = fine;
    mixed.clients = client_certificates::ignored;
    mixed.client_ca_pem.clear();
    mixed.certificates = {{.certificate_pem = f.leaf.pem(),
                           .key_pem = f.leaf.key_pem(),
                           .clients = client_certificates::optional}};
    CHECK(says(why_not(mixed), {"set .client_ca"}));
    mixed.client_ca_pem = f.root.pem();
    CHECK(why_not(mixed) == "(it loads)");
    CHECK(tls_context(mixed, true).guarded());
    mixed.certificates[0].client_ca = at / "none.pem";
    CHECK(says(why_not(mixed), {"none.pem"}));
    mixed.certificates[0].clients = client_certificates::ignored;
    CHECK_FALSE(tls_context(mixed, true).guarded());
}

TEST_CASE("a name for a self-signed certificate is a name", "[tls]") {
    CHECK_THROWS_AS(tls_options::self_signed("a,CA:TRUE"), std::invalid_argument);
    CHECK_THROWS_AS(tls_options::self_signed(""), std::invalid_argument);
}
