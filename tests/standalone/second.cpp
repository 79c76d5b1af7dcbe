#include <relais/relais.hpp>

#include <string_view>

std::string_view version_in_the_second_unit() {
    return RELAIS_VERSION_STRING;
}
