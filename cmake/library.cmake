# The targets that users link:
#
#   relais::relais    what RELAIS_SEPARATE_COMPILATION says: one of the two below
#   relais::headers   header-only: every unit compiles the bodies that it uses
#   relais::compiled  a static library with the bodies of relais, Asio and Beast: units compile several times faster.
#                     A whole program uses one of the two; a program that has a unit of its own with Asio's or
#                     Beast's bodies (boost/asio/impl/src.hpp) links relais::headers, defines
#                     RELAIS_SEPARATE_COMPILATION for all its units and includes relais/src.hpp in that unit as well.

add_library(relais_headers INTERFACE)
add_library(relais::headers ALIAS relais_headers)
target_compile_features(relais_headers INTERFACE cxx_std_20)
target_link_libraries(relais_headers INTERFACE ${RELAIS_BOOST_TARGETS} OpenSSL::SSL OpenSSL::Crypto Threads::Threads)
# Warnings that a parent asks for are for its own code.
if(PROJECT_IS_TOP_LEVEL)
    target_include_directories(relais_headers INTERFACE "${PROJECT_SOURCE_DIR}/include")
else()
    target_include_directories(relais_headers SYSTEM INTERFACE "${PROJECT_SOURCE_DIR}/include")
endif()

add_library(relais_compiled STATIC EXCLUDE_FROM_ALL
    "${PROJECT_SOURCE_DIR}/cmake/compiled_boost.cpp" "${PROJECT_SOURCE_DIR}/cmake/compiled_relais.cpp")
add_library(relais::compiled ALIAS relais_compiled)
target_link_libraries(relais_compiled PUBLIC relais_headers)
target_compile_definitions(relais_compiled PUBLIC
    RELAIS_SEPARATE_COMPILATION BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION)
set_target_properties(relais_compiled PROPERTIES
    OUTPUT_NAME relais CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)

if(RELAIS_SEPARATE_COMPILATION)
    add_library(relais::relais ALIAS relais_compiled)
else()
    add_library(relais::relais ALIAS relais_headers)
endif()
