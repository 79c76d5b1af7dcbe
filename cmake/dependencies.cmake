# Finds Boost (headers only), OpenSSL and Threads, for this tree and for the installed package alike. The first that is
# missing or too old is named by RELAIS_MISSING, one sentence that says what to install, and whoever includes this file
# decides what follows: find_dependency() would say it in words of its own. What a parent project found or builds
# itself is taken as it is; what is found here is not seen by the parent, and reaches it through our targets all the
# same.

# FindBoost finds headers that were unpacked and not installed, too.
if(POLICY CMP0167)
    cmake_policy(SET CMP0167 OLD)
endif()

set(RELAIS_MISSING "")

if(TARGET Boost::asio AND TARGET Boost::beast AND TARGET Boost::regex)
    # Boost is built beside us, from its sources: its version is checked by relais/config.hpp.
    set(RELAIS_BOOST_TARGETS Boost::asio Boost::beast Boost::regex)
elseif(TARGET Boost::headers)
    set(RELAIS_BOOST_TARGETS Boost::headers)
elseif(TARGET Boost::asio AND TARGET Boost::beast)
    set(RELAIS_MISSING "relais needs Boost.Regex too: add regex to BOOST_INCLUDE_LIBRARIES, beside asio and beast.")
    return()
else()
    set(RELAIS_BOOST_TARGETS Boost::headers)
    find_package(Boost 1.81 QUIET)
    if(NOT Boost_FOUND OR NOT TARGET Boost::headers)
        set(RELAIS_BOOST_OLD "${Boost_VERSION_STRING}")
        if(NOT RELAIS_BOOST_OLD AND Boost_CONSIDERED_VERSIONS)
            list(GET Boost_CONSIDERED_VERSIONS 0 RELAIS_BOOST_OLD)
        endif()
        if(RELAIS_BOOST_OLD)
            set(RELAIS_BOOST_OLD " (${RELAIS_BOOST_OLD} was found)")
        else()
            set(RELAIS_BOOST_OLD "")
        endif()
        string(CONCAT RELAIS_MISSING
            "relais needs Boost 1.81 or newer${RELAIS_BOOST_OLD}: install libboost1.81-dev on Debian 12 "
            "(libboost-dev on later ones), boost-devel on Fedora, boost with brew on macOS; "
            "one that lies elsewhere is named by -DBoost_ROOT=DIRECTORY.")
        return()
    endif()
endif()

if(NOT TARGET OpenSSL::SSL)
    find_package(OpenSSL 3.0 QUIET)
    if(NOT OpenSSL_FOUND OR NOT TARGET OpenSSL::SSL)
        set(RELAIS_OPENSSL_OLD "")
        if(OPENSSL_VERSION)
            set(RELAIS_OPENSSL_OLD " (${OPENSSL_VERSION} was found)")
        endif()
        string(CONCAT RELAIS_MISSING
            "relais needs OpenSSL 3.0 or newer${RELAIS_OPENSSL_OLD}: install libssl-dev on Debian, "
            "openssl-devel on Fedora, openssl@3 with brew on macOS; "
            "one that lies elsewhere is named by -DOPENSSL_ROOT_DIR=DIRECTORY.")
        return()
    endif()
endif()

if(NOT TARGET Threads::Threads)
    find_package(Threads QUIET)
    if(NOT Threads_FOUND)
        string(CONCAT RELAIS_MISSING
            "relais needs a C++ compiler that finds the system's threads: install g++ on Debian, "
            "gcc-c++ on Fedora, the command line tools (xcode-select --install) on macOS.")
    endif()
endif()
