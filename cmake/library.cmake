# The targets that users link:
#
#   relais::relais    what RELAIS_SEPARATE_COMPILATION says: one of the two below
#   relais::headers   header-only: every unit compiles the bodies that it uses
#   relais::compiled  a static library with the bodies of relais, Asio and Beast: units compile several times faster.
#                     A whole program uses one of the two; a program that has a unit of its own with Asio's or
#                     Beast's bodies (boost/asio/impl/src.hpp) links relais::headers, defines
#                     RELAIS_SEPARATE_COMPILATION for all its units and includes relais/src.hpp in that unit as well.
#
# The installed package has the same three. A library that is exported itself links relais::headers: relais::compiled
# is compiled by every project for itself, with its own flags, and is in nobody's export.

add_library(relais_headers INTERFACE)
add_library(relais::headers ALIAS relais_headers)
target_compile_features(relais_headers INTERFACE cxx_std_20)
foreach(target IN LISTS RELAIS_BOOST_TARGETS ITEMS OpenSSL::SSL OpenSSL::Crypto Threads::Threads)
    target_link_libraries(relais_headers INTERFACE "$<BUILD_INTERFACE:${target}>")
endforeach()
# Warnings that a parent asks for are for its own code.
if(PROJECT_IS_TOP_LEVEL)
    target_include_directories(relais_headers INTERFACE "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>")
else()
    target_include_directories(relais_headers SYSTEM INTERFACE "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>")
endif()

include("${CMAKE_CURRENT_LIST_DIR}/compiled.cmake")
