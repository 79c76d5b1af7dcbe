#!/bin/sh
# sh examples/run.sh [OPTION OF THE GATEWAY...]
#
# Installs what is missing (Debian), builds and starts the example gateway. --help shows its options.

set -eu
cd "$(dirname "$0")/.."

began=$(date +%s)
step() {
    now=$(date +%s)
    if [ -n "${started:-}" ]; then echo "== $name: $((now - started)) s"; fi
    name=$1 started=$now
}

step install
sh cmake/packages.sh g++ cmake ninja-build ccache boost libssl-dev libcli11-dev

build=build/examples
mkdir -p "$build"
if [ ! -e "$build/CMakeCache.txt" ] && [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja > /dev/null; then
    export CMAKE_GENERATOR=Ninja
fi

step configure
cmake --preset release -B "$build" -DRELAIS_BUILD_TESTS=OFF > "$build/configure.log" || { cat "$build/configure.log" && exit 1; }

step build
cmake --build "$build" --target example_gateway

step start
echo "== in all: $((now - began)) s; it starts"
exec "$build/bin/gateway" "$@"
