# Compiles SOURCE with its mistake and looks for the sentence that it expects; with RIGHT, compiles
# it as it is.

separate_arguments(flags UNIX_COMMAND "${FLAGS}")
foreach(directory IN LISTS INCLUDES)
    if(NOT directory STREQUAL "" AND NOT directory STREQUAL "/usr/include")
        list(APPEND flags "-I${directory}")
    endif()
endforeach()
if(NOT RIGHT)
    list(APPEND flags -DMISTAKE)
endif()

execute_process(
    COMMAND "${CMAKE_COMMAND}" -E env LC_ALL=C
        "${COMPILER}" -std=c++20 -fsyntax-only -w ${flags} "${SOURCE}"
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)

if(RIGHT)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "${SOURCE} should compile:\n${output}")
    endif()
    return()
endif()

file(READ "${SOURCE}" text)
if(NOT text MATCHES "// expect: ([^\n]*)")
    message(FATAL_ERROR "${SOURCE} needs a line \"// expect: sentence\"")
endif()
set(expected "${CMAKE_MATCH_1}")

if(result EQUAL 0)
    message(FATAL_ERROR "${SOURCE} compiles, and should not")
endif()
string(REPLACE ";" "," lines "${output}") # lists of CMake
string(REPLACE ";" "," expected "${expected}")
string(REGEX REPLACE "[][]" "" lines "${lines}")
string(REPLACE "\n" ";" lines "${lines}")
set(errors 0)
set(found FALSE)
foreach(line IN LISTS lines)
    if(line MATCHES "error: ")
        math(EXPR errors "${errors} + 1")
    endif()
    if(line MATCHES "static assertion failed")
        string(FIND "${line}" ": ${expected}" at)
        if(NOT at EQUAL -1)
            set(found TRUE)
        endif()
    endif()
endforeach()
if(NOT found)
    message(FATAL_ERROR "${SOURCE} does not say:\n    ${expected}\nbut:\n${output}")
endif()
if(NOT errors EQUAL 1)
    message(FATAL_ERROR "${SOURCE} says what it should, and more than that:\n${output}")
endif()
