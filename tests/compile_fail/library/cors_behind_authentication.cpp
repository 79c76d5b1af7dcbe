// expect: cors() has to stand before authentication: preflight requests carry no credentials, write cors(...) | basic_auth(...)
#include <relais/http/http.hpp>
#include <relais/middleware/basic_auth.hpp>
#include <relais/middleware/cors.hpp>
#include <relais/middleware/respond.hpp>

using namespace relais;

#if defined(MISTAKE)
auto const chain = http() | basic_auth({}) | cors({.origins = {"https://abc.com"}}) | respond(200);
#else
auto const chain = http() | cors({.origins = {"https://abc.com"}}) | basic_auth({}) | respond(200);
#endif
