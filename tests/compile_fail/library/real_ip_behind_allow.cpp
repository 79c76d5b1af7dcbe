// expect: real_ip() has to stand before what decides by the client's address, which it finds out: write real_ip(...) | allow(...)
#include <relais/http/http.hpp>
#include <relais/middleware/allow.hpp>
#include <relais/middleware/real_ip.hpp>
#include <relais/middleware/respond.hpp>

using namespace relais;

#if defined(MISTAKE)
auto const chain =
    http() | allow({"10.0.0.0/8"}) | real_ip({.trusted = {"10.0.0.0/8"}}) | respond(200);
#else
auto const chain = allow({"10.0.0.0/8"}) | http() | real_ip({.trusted = {"10.0.0.0/8"}}) |
                   allow({"192.0.2.0/24"}) | respond(200);
#endif
