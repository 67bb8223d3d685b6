#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Configures once and builds the preset $1 in build/$1, or only the targets behind
# it; says little when all is well.
set -eu

preset=$1
shift
cd "$(dirname "$0")/.."
log=build/$preset.log
mkdir -p build
if [ ! -f "build/$preset/CMakeCache.txt" ]; then
    generator=
    command -v ninja >/dev/null 2>&1 && generator="-G Ninja"
    # shellcheck disable=SC2086  # two words
    cmake --preset "$preset" $generator >"$log" 2>&1 || {
        cat "$log" >&2
        exit 1
    }
fi
[ $# -eq 0 ] || set -- --target "$@"
cmake --build "build/$preset" -j "$(nproc)" "$@" >"$log" 2>&1 || {
    cat "$log" >&2
    exit 1
}
ln -sf "build/$preset/compile_commands.json" compile_commands.json
