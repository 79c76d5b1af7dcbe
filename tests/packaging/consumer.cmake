# Configures, builds, runs and installs the consumer, which takes relais in one of the WAYS.

cmake_minimum_required(VERSION 3.21)

file(REMOVE_RECURSE "${BINARY}")
set(ENV{GIT_CONFIG_GLOBAL} /dev/null)
foreach(variable IN ITEMS GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE)
    unset(ENV{${variable}})
endforeach()

if(WAY STREQUAL "fetch_content")
    # A repository that holds the tree as it is now, committed or not.
    find_program(GIT git)
    if(NOT GIT)
        message(FATAL_ERROR "the test needs git: install git")
    endif()
    file(MAKE_DIRECTORY "${BINARY}")
    set(repository "${BINARY}/repository")
    set(git "${GIT}" "--git-dir=${repository}" "--work-tree=${SOURCE}" -c user.name=relais -c user.email=relais)
    execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${git} init -q WORKING_DIRECTORY "${SOURCE}")
    execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${git} add -A WORKING_DIRECTORY "${SOURCE}")
    execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${git} commit -q -m "The tree" WORKING_DIRECTORY "${SOURCE}")
    execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${git} branch -M main WORKING_DIRECTORY "${SOURCE}")
    set(RELAIS "file://${repository}")
endif()

set(configure ${CMAKE_COMMAND} -S "${CMAKE_CURRENT_LIST_DIR}/consumer" -B "${BINARY}/build" -G "${GENERATOR}"
    "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}" "-DCMAKE_CXX_FLAGS=${FLAGS}"
    "-DWAY=${WAY}" "-DRELAIS=${RELAIS}" "-DEVERYTHING=${EVERYTHING}"
    -DRELAIS_SEPARATE_COMPILATION=${SEPARATE})
if(WAY STREQUAL "find_package")
    list(APPEND configure "-DCMAKE_PREFIX_PATH=${RELAIS}" -DRELAIS_VERSION=${VERSION})
endif()
execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${configure})
execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${CMAKE_COMMAND} --build "${BINARY}/build")
execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND "${BINARY}/build/programs/consumer" OUTPUT_VARIABLE output)
if(NOT output STREQUAL "relais ${VERSION}\n")
    message(FATAL_ERROR "the consumer printed: ${output}")
endif()

# What a parent installs is its own, unless it asks for ours as well.
function(check_installed prefix)
    execute_process(COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET
        COMMAND ${CMAKE_COMMAND} --install "${BINARY}/build" --prefix "${prefix}")
    file(GLOB_RECURSE installed RELATIVE "${prefix}" "${prefix}/*")
    list(FILTER installed EXCLUDE REGEX "^exported/")
    list(SORT installed)
    if(RELAIS_INSTALL)
        foreach(file IN ITEMS include/relais/relais.hpp share/cmake/relais/relais-config.cmake share/pkgconfig/relais.pc)
            if(NOT file IN_LIST installed)
                message(FATAL_ERROR "the parent asked for relais, and its installation lacks ${file}")
            endif()
        endforeach()
    elseif(NOT installed STREQUAL "bin/consumer")
        message(FATAL_ERROR "the consumer installs '${installed}'")
    endif()
endfunction()
check_installed("${BINARY}/installed")
if(WAY STREQUAL "add_subdirectory")
    set(RELAIS_INSTALL ON)
    execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${configure} -DRELAIS_INSTALL=ON)
    check_installed("${BINARY}/installed_with_relais")
endif()
