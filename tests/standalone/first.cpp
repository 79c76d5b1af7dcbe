// With second.cpp: a body that lacks its `inline` is defined twice here, and the program does not link.
#include <relais/relais.hpp>

#include <string_view>

std::string_view version_in_the_second_unit();

int main() {
    return version_in_the_second_unit() == RELAIS_VERSION_STRING ? 0 : 1;
}
