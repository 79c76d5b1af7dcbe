#pragma once

/// \file
/// How the library is compiled.
///
/// Header-only is the default. With `RELAIS_SEPARATE_COMPILATION` defined for a whole program, the bodies are
/// compiled once, in the one unit that includes `relais/src.hpp`; everything else sees declarations only.

#if defined(RELAIS_SEPARATE_COMPILATION)
#define RELAIS_DECL
#else
#define RELAIS_HEADER_ONLY 1
#define RELAIS_DECL inline
#endif

#include <boost/version.hpp>

#if BOOST_VERSION < 108100
// clang-format off
#error "relais needs Boost 1.81 or newer: on Debian 12 install libboost1.81-dev, on Fedora boost-devel, on macOS brew install boost"
// clang-format on
#endif

#include <openssl/opensslv.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
// clang-format off
#error "relais needs OpenSSL 3.0 or newer: on Debian install libssl-dev, on Fedora openssl-devel, on macOS brew install openssl@3"
// clang-format on
#endif

/// A programming error: stops a debug build where it happens.
#if defined(RELAIS_ASSERT)
#elif defined(NDEBUG)
#define RELAIS_ASSERT(condition) ((void)0)
#else
#include <cassert>
#define RELAIS_ASSERT(condition) assert(condition)
#endif
