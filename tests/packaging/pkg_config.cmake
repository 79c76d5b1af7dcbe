# Compiles the consumer's source with what pkg-config says, and without CMake.

cmake_minimum_required(VERSION 3.21)

find_program(PKG_CONFIG NAMES pkg-config pkgconf)
if(NOT PKG_CONFIG)
    message(FATAL_ERROR "the test needs pkg-config: install pkg-config on Debian, pkgconf on Fedora and with brew on macOS")
endif()
file(REMOVE_RECURSE "${BINARY}")
file(MAKE_DIRECTORY "${BINARY}")
set(ENV{PKG_CONFIG_PATH} "${RELAIS}/share/pkgconfig:$ENV{PKG_CONFIG_PATH}")

execute_process(COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND "${PKG_CONFIG}" --modversion relais)
if(NOT version STREQUAL VERSION)
    message(FATAL_ERROR "relais.pc has version ${version}, relais ${VERSION}")
endif()

execute_process(COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE line OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND "${PKG_CONFIG}" --cflags --libs relais)
separate_arguments(arguments UNIX_COMMAND "${line}")
foreach(argument IN ITEMS -pthread -lssl -lcrypto)
    if(NOT argument IN_LIST arguments)
        message(FATAL_ERROR "pkg-config gives no ${argument}: ${line}")
    endif()
endforeach()
if(line MATCHES "-std|-W|-O|-g ")
    message(FATAL_ERROR "pkg-config gives what is the user's matter: ${line}")
endif()

separate_arguments(flags UNIX_COMMAND "${FLAGS}")
execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${LAUNCHER} "${COMPILER}" -std=c++20 ${flags} -Wall -Wextra -Werror
    "${CMAKE_CURRENT_LIST_DIR}/consumer/main.cpp" -o "${BINARY}/consumer" ${arguments})
execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND "${BINARY}/consumer" OUTPUT_VARIABLE output)
if(NOT output STREQUAL "relais ${VERSION}\n")
    message(FATAL_ERROR "the consumer printed: ${output}")
endif()
