#!/bin/sh
# sh cmake/packages.sh PACKAGE...
#
# Installs those of the Debian packages named that are missing, as root or through sudo; asks for nothing if none is.
# "boost" stands for the headers of Boost 1.81 or newer. It never removes a package. On other systems it says what to
# install, unless the commands are there.

set -eu

fail() {
    echo "$*" >&2
    exit 1
}

if ! command -v apt-get > /dev/null || ! command -v dpkg-query > /dev/null; then
    for package in "$@"; do
        case $package in
        g++) command=c++ ;;
        cmake | curl | git | openssl | pkg-config) command=$package ;;
        python3-*) command=python3 ;;
        *) continue ;; # CMake names the libraries that it lacks
        esac
        command -v "$command" > /dev/null || fail "$command is missing. relais needs a C++20 compiler, CMake, Boost 1.81 and" \
            "OpenSSL 3, its gateway CLI11, its tests Catch2, curl, git, pkg-config, nginx and Python's websockets; on Fedora:" \
            "dnf install gcc-c++ cmake ninja-build ccache boost-devel openssl-devel catch-devel cli11-devel openssl curl" \
            "git pkgconf nginx python3-websockets; on macOS: brew install cmake ninja ccache boost openssl@3 catch2 cli11" \
            "pkgconf nginx, and pip install websockets."
    done
    exit 0
fi

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

# Sets boost_old or boost_new to the package with the headers of an installed Boost.
find_boost() {
    boost_old= boost_new=
    for package in $(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'libboost1.*-dev' 2> /dev/null |
        sed -n 's/^installed \(libboost1\.[0-9]*-dev\)$/\1/p'); do
        minor=${package#libboost1.}
        if [ "${minor%-dev}" -lt 81 ]; then boost_old=$package; else boost_new=$package; fi
    done
}

missing=
for package in "$@"; do
    if [ "$package" = boost ]; then
        [ -z "${Boost_ROOT:-}" ] || continue
        find_boost
        [ -z "$boost_new" ] || continue
        package=libboost-dev
        if [ "$(. /etc/os-release && echo "${ID:-}-${VERSION_ID:-}")" = debian-12 ]; then package=libboost1.81-dev; fi
        [ -z "$boost_old" ] || fail "relais needs $package, which Debian cannot install beside $boost_old: remove that one" \
            "(apt-get remove $boost_old), or name another Boost in the environment: Boost_ROOT=DIRECTORY."
    fi
    installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null || fail "packages are missing, and this is neither root nor is there sudo; as root: apt-get install$missing"
    sudo=sudo
fi
echo "installing:$missing"
$sudo apt-get -qq -o DPkg::Lock::Timeout=300 update
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends --no-remove \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install $missing > /dev/null ||
    fail "could not install$missing without removing another package (apt-get says above which); nothing was removed."
