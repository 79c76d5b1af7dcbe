# Installs relais as a packager does, without a compilation, and moves it elsewhere: the prefix is not known to it.

cmake_minimum_required(VERSION 3.21)

file(REMOVE_RECURSE "${BINARY}")
execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${CMAKE_COMMAND} -S "${SOURCE}" -B "${BINARY}/build" -G "${GENERATOR}"
    "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_INSTALL_PREFIX=${BINARY}/first"
    -DRELAIS_BUILD_TESTS=OFF -DRELAIS_BUILD_EXAMPLES=OFF)
execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${CMAKE_COMMAND} --install "${BINARY}/build")
file(RENAME "${BINARY}/first" "${BINARY}/prefix")

function(compare folder installed)
    file(GLOB_RECURSE here RELATIVE "${SOURCE}/${folder}" "${SOURCE}/${folder}/*")
    file(GLOB_RECURSE there RELATIVE "${BINARY}/prefix/${installed}" "${BINARY}/prefix/${installed}/*")
    if(NOT here STREQUAL there)
        message(FATAL_ERROR "${folder} holds '${here}', and what is installed of it '${there}'")
    endif()
endfunction()
compare(include include)

file(GLOB_RECURSE files "${BINARY}/prefix/share/*")
foreach(file IN LISTS files)
    file(READ "${file}" text)
    foreach(folder IN ITEMS "${BINARY}" "${SOURCE}")
        string(FIND "${text}" "${folder}" at)
        if(NOT at EQUAL -1)
            message(FATAL_ERROR "${file} names ${folder}")
        endif()
    endforeach()
endforeach()
