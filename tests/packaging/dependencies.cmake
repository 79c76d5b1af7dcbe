# Configures the consumer where CASE is missing or too old, and looks for the sentence: in the tree of relais and in the
# installed package.

cmake_minimum_required(VERSION 3.21)

function(fake_boost version)
    set(folder "${BINARY}/prefix/lib/cmake/Boost-${version}")
    file(WRITE "${folder}/BoostConfig.cmake"
        "add_library(Boost::headers INTERFACE IMPORTED)\nset(Boost_VERSION_STRING ${version})\n")
    file(WRITE "${folder}/BoostConfigVersion.cmake" "
        set(PACKAGE_VERSION ${version})
        if(PACKAGE_VERSION VERSION_GREATER_EQUAL PACKAGE_FIND_VERSION)
            set(PACKAGE_VERSION_COMPATIBLE TRUE)
        endif()\n")
endfunction()

# Headers alone, as they come out of Boost's archive.
function(unpacked_boost number)
    file(WRITE "${BINARY}/prefix/include/boost/config.hpp" "")
    file(WRITE "${BINARY}/prefix/include/boost/version.hpp" "#define BOOST_VERSION ${number}\n")
endfunction()

function(fake_openssl number text)
    file(WRITE "${BINARY}/prefix/include/openssl/ssl.h" "")
    file(WRITE "${BINARY}/prefix/include/openssl/opensslv.h"
        "# define OPENSSL_VERSION_NUMBER ${number}\n# define OPENSSL_VERSION_TEXT \"OpenSSL ${text}\"\n")
    file(WRITE "${BINARY}/prefix/lib/libssl.a" "")
    file(WRITE "${BINARY}/prefix/lib/libcrypto.a" "")
endfunction()

file(REMOVE_RECURSE "${BINARY}")
file(MAKE_DIRECTORY "${BINARY}/prefix/lib")
set(boost "relais needs Boost 1.81 or newer.*libboost1.81-dev on Debian 12.*boost-devel on Fedora.*boost with brew on macOS")
set(openssl "relais needs OpenSSL 3.0 or newer.*libssl-dev on Debian.*openssl-devel on Fedora.*openssl@3 with brew on macOS")
if(CASE STREQUAL "no_boost")
    set(sentence "${boost}")
elseif(CASE STREQUAL "old_boost")
    fake_boost(1.74.0)
    set(sentence "${boost}")
    string(REPLACE "newer" "newer \\(1.74.0 was found\\)" sentence "${sentence}")
elseif(CASE STREQUAL "no_openssl")
    unpacked_boost(108100)
    set(sentence "${openssl}")
elseif(CASE STREQUAL "old_openssl")
    fake_boost(1.81.0)
    fake_openssl(0x1010117fL "1.1.1w  11 Sep 2023")
    set(sentence "${openssl}")
    string(REPLACE "newer" "newer \\(1.1.1w was found\\)" sentence "${sentence}")
elseif(CASE STREQUAL "no_regex")
    set(beside "asio\\;beast")
    set(sentence "relais needs Boost.Regex too: add regex to BOOST_INCLUDE_LIBRARIES")
else()
    message(FATAL_ERROR "no case '${CASE}'")
endif()

set(configure ${CMAKE_COMMAND} -S "${CMAKE_CURRENT_LIST_DIR}/consumer" -B "${BINARY}/build" -G "${GENERATOR}"
    "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DWAY=${WAY}" "-DRELAIS=${RELAIS}" "-DBOOST_BESIDE=${beside}"
    "-DCMAKE_FIND_ROOT_PATH=${BINARY}/prefix\\;${RELAIS}" -DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY
    -DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY -DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=ONLY)
execute_process(COMMAND ${configure} -DRELAIS_VERSION=${VERSION}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(result EQUAL 0)
    message(FATAL_ERROR "${CASE}: the consumer was configured all the same:\n${output}")
endif()
string(REGEX REPLACE "[ \n]+" " " line "${output}")
if(NOT line MATCHES "${sentence}")
    message(FATAL_ERROR "${CASE}: the message is not the one expected:\n${output}")
endif()
message(STATUS "${CMAKE_MATCH_0}")

# Who can do without is told the same, and goes on.
if(WAY STREQUAL "find_package")
    execute_process(COMMAND ${configure} -URELAIS_VERSION
        RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
    string(REGEX REPLACE "[ \n]+" " " line "${output}")
    if(NOT result EQUAL 0 OR NOT line MATCHES "${sentence}" OR NOT line MATCHES "the consumer does without relais")
        message(FATAL_ERROR "${CASE}: a project that does without relais does not get through:\n${output}")
    endif()
endif()
