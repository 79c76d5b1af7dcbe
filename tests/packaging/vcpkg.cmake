# Follows the port's portfile.cmake with functions that do what vcpkg's do, as far as the port asks for it.

cmake_minimum_required(VERSION 3.21)

set(CURRENT_PACKAGES_DIR "${BINARY}/packages")
file(REMOVE_RECURSE "${BINARY}")

function(vcpkg_cmake_configure)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
    execute_process(COMMAND_ERROR_IS_FATAL ANY ERROR_VARIABLE warnings
        COMMAND ${CMAKE_COMMAND} -S "${arg_SOURCE_PATH}" -B "${BINARY}/build" -G "${GENERATOR}"
        "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR}" ${arg_OPTIONS})
    if(warnings)
        message(FATAL_ERROR "the port's options are not those of relais:\n${warnings}")
    endif()
endfunction()

function(vcpkg_cmake_install)
    execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${CMAKE_COMMAND} --build "${BINARY}/build" --target install)
endfunction()

function(vcpkg_cmake_config_fixup)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "CONFIG_PATH" "")
    file(RENAME "${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH}" "${CURRENT_PACKAGES_DIR}/share/relais")
endfunction()

function(vcpkg_fixup_pkgconfig)
    if(NOT EXISTS "${CURRENT_PACKAGES_DIR}/share/pkgconfig/relais.pc")
        message(FATAL_ERROR "the port has no relais.pc")
    endif()
endfunction()

function(vcpkg_install_copyright)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
    file(READ "${arg_FILE_LIST}" text)
    file(WRITE "${CURRENT_PACKAGES_DIR}/share/relais/copyright" "${text}")
endfunction()

include("${SOURCE}/cmake/vcpkg/portfile.cmake")

# vcpkg complains about anything else.
file(GLOB folders RELATIVE "${CURRENT_PACKAGES_DIR}" "${CURRENT_PACKAGES_DIR}/*" "${CURRENT_PACKAGES_DIR}/share/*")
list(SORT folders)
if(NOT folders STREQUAL "include;share;share/pkgconfig;share/relais")
    message(FATAL_ERROR "the port installs ${folders}")
endif()
foreach(file IN ITEMS relais-config.cmake relais-targets.cmake copyright)
    if(NOT EXISTS "${CURRENT_PACKAGES_DIR}/share/relais/${file}")
        message(FATAL_ERROR "the port lacks share/relais/${file}")
    endif()
endforeach()
