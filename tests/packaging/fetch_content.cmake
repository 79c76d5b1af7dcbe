# Configures, builds and runs the consumer.

cmake_minimum_required(VERSION 3.21)

file(REMOVE_RECURSE "${BINARY}")
execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${CMAKE_COMMAND}
    -S "${CMAKE_CURRENT_LIST_DIR}/consumer" -B "${BINARY}" -G "${GENERATOR}"
    "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}" "-DCMAKE_CXX_FLAGS=${FLAGS}"
    -DCMAKE_BUILD_TYPE=Debug "-DRELAIS_SOURCE=${SOURCE}" -DRELAIS_SEPARATE_COMPILATION=${SEPARATE})
execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${CMAKE_COMMAND} --build "${BINARY}")
execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND "${BINARY}/consumer" OUTPUT_VARIABLE output)
if(NOT output MATCHES "^relais [0-9]+\\.[0-9]+\\.[0-9]+\n$")
    message(FATAL_ERROR "the consumer printed: ${output}")
endif()
