// Catch's main for every test executable. Catch2 v3 brings its own in a library.
#define CATCH_CONFIG_MAIN
#include "catch.hpp"
