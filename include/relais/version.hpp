#pragma once

/// Version of the library as one number: major * 10000 + minor * 100 + patch.
#define RELAIS_VERSION 100

/// The same as text.
#define RELAIS_VERSION_STRING "0.1.0"
