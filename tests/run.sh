#!/bin/sh
# sh tests/run.sh [--quick] [--preset NAME] [CTEST ARGUMENT...]
#
# Installs what is missing (Debian), builds and tests. --quick is the inner loop: what changed is built, and the unit
# tests run, without real peers and without what must not compile. Further arguments go to ctest: -R http/fields
# --install installs, and no more. --preset takes one of CMakePresets.json (dev).

set -eu
cd "$(dirname "$0")/.."

quick=false install_only=false preset=dev
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=true ;;
    --install) install_only=true ;;
    --preset) preset=$2 && shift ;;
    -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" && exit ;;
    *) break ;;
    esac
    shift
done

step() {
    now=$(date +%s)
    if [ -n "${started:-}" ]; then echo "== $name: $((now - started)) s"; fi
    name=$1 started=$now
}

step install
sh cmake/packages.sh g++ cmake ninja-build ccache boost libssl-dev catch2 libcli11-dev openssl curl git pkg-config \
    python3-websockets $($quick || echo chromium chromium-driver)

# Servers are unpacked, not installed: their packages would start them, nginx on port 80.
PATH=$PWD/build/tools/usr/sbin:$PATH:/usr/sbin:/sbin
export PATH

# unpack PACKAGE...: below build/tools
unpack() {
    mkdir -p build/tools
    (
        cd build/tools
        apt-get -qq download "$@" 2> /dev/null || {
            if [ "$(id -u)" -eq 0 ]; then apt-get -qq update; else sudo apt-get -qq update; fi
            apt-get -qq download "$@"
        }
        for package in "$@"; do dpkg-deb -x "$package"_*.deb .; done
    )
}

if ! $quick && command -v apt-get > /dev/null; then
    if ! command -v nginx > /dev/null; then unpack nginx; fi
    if nginx -V 2>&1 | grep -q -e '--with-stream=dynamic' && [ ! -e /usr/lib/nginx/modules/ngx_stream_module.so ] &&
        [ ! -e build/tools/usr/lib/nginx/modules/ngx_stream_module.so ]; then
        unpack libnginx-mod-stream
    fi
    if ! command -v haproxy > /dev/null; then
        unpack haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1
    fi
fi
if $install_only; then exit; fi

build=build/$preset
if [ ! -e "$build/CMakeCache.txt" ] && [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja > /dev/null; then
    export CMAKE_GENERATOR=Ninja
fi

step configure
mkdir -p build
cmake --preset "$preset" > build/configure.log || { cat build/configure.log && exit 1; }

step build
if $quick; then
    cmake --build "$build" --target unit_tests
    step test
    set -- -L unit "$@"
else
    cmake --build "$build"
    step test
fi
exec ctest --test-dir "$build" --output-on-failure --no-tests=error -j "$(getconf _NPROCESSORS_ONLN)" "$@"
