# For our own tests and examples only: nothing here reaches a parent project.

option(RELAIS_WARNINGS_AS_ERRORS "Warnings in our own tests and examples are errors" ${PROJECT_IS_TOP_LEVEL})
option(RELAIS_PRECOMPILED_HEADERS "Tests precompile Asio's, Beast's and Catch's headers" ON)

find_program(RELAIS_CCACHE ccache)
mark_as_advanced(RELAIS_CCACHE)
if(RELAIS_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    # ccache follows a precompiled header only if it may ignore the times in it.
    set(CMAKE_CXX_COMPILER_LAUNCHER
        "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime;${RELAIS_CCACHE}")
endif()

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")

add_library(relais_warnings INTERFACE)
target_compile_options(relais_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Woverloaded-virtual -Wextra-semi)
if(RELAIS_WARNINGS_AS_ERRORS)
    target_compile_options(relais_warnings INTERFACE -Werror)
endif()
if(PROJECT_IS_TOP_LEVEL)
    target_link_libraries(relais_compiled PRIVATE relais_warnings)
    if(CMAKE_CXX_COMPILER_LAUNCHER)
        set_target_properties(relais_compiled PROPERTIES CXX_COMPILER_LAUNCHER "${CMAKE_CXX_COMPILER_LAUNCHER}")
    endif()
endif()
