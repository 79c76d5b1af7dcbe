# What relais.hpp and src.hpp list is what there is. What users test with is included by name.

cmake_minimum_required(VERSION 3.21)

function(check list)
    file(STRINGS "${INCLUDE}/relais/${list}" lines REGEX "^#include <relais/")
    foreach(file IN LISTS ARGN)
        if(NOT "#include <${file}>" IN_LIST lines)
            message(SEND_ERROR "relais/${list} lacks #include <${file}>")
        endif()
    endforeach()
    if(NOT ARGN)
        message(SEND_ERROR "found nothing that relais/${list} could list")
    endif()
endfunction()

file(GLOB headers RELATIVE "${INCLUDE}" "${INCLUDE}/relais/*.hpp" "${INCLUDE}/relais/*/*.hpp")
list(FILTER headers EXCLUDE REGEX "^relais/(relais\\.hpp|src\\.hpp|testing/)")
check(relais.hpp ${headers})

file(GLOB bodies RELATIVE "${INCLUDE}" "${INCLUDE}/relais/*/impl/*.ipp")
check(src.hpp ${bodies})
