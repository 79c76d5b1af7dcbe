# find_package(relais): the targets relais::relais, relais::headers and relais::compiled, as in the tree of relais.
# set(RELAIS_SEPARATE_COMPILATION ON) before find_package() makes relais::relais the compiled library.

cmake_minimum_required(VERSION 3.21...3.31)

foreach(component IN LISTS relais_FIND_COMPONENTS)
    if(relais_FIND_REQUIRED_${component})
        set(relais_FOUND FALSE)
        set(relais_NOT_FOUND_MESSAGE "relais has no components: find_package(relais) without \"${component}\" finds all of it.")
        return()
    endif()
endforeach()

include("${CMAKE_CURRENT_LIST_DIR}/dependencies.cmake")
if(RELAIS_MISSING)
    set(relais_FOUND FALSE)
    set(relais_NOT_FOUND_MESSAGE "${RELAIS_MISSING}")
    return()
endif()

if(NOT TARGET relais::headers)
    include("${CMAKE_CURRENT_LIST_DIR}/relais-targets.cmake")
    target_link_libraries(relais::headers INTERFACE
        ${RELAIS_BOOST_TARGETS} OpenSSL::SSL OpenSSL::Crypto Threads::Threads)
endif()
include("${CMAKE_CURRENT_LIST_DIR}/compiled.cmake")
