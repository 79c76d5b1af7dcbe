// What a user writes, as small as it can be while OpenSSL, Asio, threads and bodies of relais are used;
// EVERYTHING adds every public header.

#if defined(EVERYTHING)
#include <relais/relais.hpp>
#else
#include <relais/net/endpoint.hpp>
#include <relais/tls/context.hpp>
#include <relais/version.hpp>
#endif

#include <iostream>
#include <thread>

int main() {
    std::thread([] {
        relais::tls_context const context(relais::tls_options::self_signed("localhost"), true);
        auto const addresses = relais::resolve(relais::endpoint::parse("127.0.0.1:443"));
        if (context.native() && !addresses.empty() && addresses.front().ip().is_loopback()) {
            std::cout << "relais " << RELAIS_VERSION_STRING << '\n';
        }
    }).join();
}
