// relais::compiled: the bodies of relais.

#include <relais/src.hpp>
