#include <relais/relais.hpp>

#include <iostream>

int main() {
    std::cout << "relais " << RELAIS_VERSION_STRING << '\n';
}
