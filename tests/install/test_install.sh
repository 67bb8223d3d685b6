#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the build folder $1 into an empty prefix; builds and runs a C and a C++
# program each by pkg-config and by find_package.
set -eu

build=$1
command -v c++ >/dev/null 2>&1 || exit 77
if grep -q 'DEVCOMM_SANITIZE:STRING=..*' "$build/CMakeCache.txt"; then
    echo "a sanitized library wants sanitized programs: skipped"
    exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cmake --install "$build" --prefix "$dir/p" >/dev/null
for f in bin/devcomm include/devcomm/devcomm.h include/devcomm/backend.h; do
    [ -e "$dir/p/$f" ] || {
        echo "$f was not installed"
        exit 1
    }
done
if command -v scdoc >/dev/null 2>&1; then
    for page in man1/devcomm.1 man3/dcm_all_reduce.3 man7/devcomm.7; do
        [ -s "$dir/p/share/man/$page" ] || {
            echo "$page was not installed"
            exit 1
        }
    done
fi
"$dir/p/bin/devcomm" --version

lib=$(dirname "$(find "$dir/p" -name libdevcomm.so)")
LD_LIBRARY_PATH=$lib
PKG_CONFIG_PATH=$lib/pkgconfig
export LD_LIBRARY_PATH PKG_CONFIG_PATH
cp -r tests/install/program "$dir/program"
cp "$dir/program/main.c" "$dir/program/main.cc"

# shellcheck disable=SC2046  # flags are words
cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$dir/program/main.c" \
    $(pkg-config --cflags --libs devcomm) -o "$dir/c"
# shellcheck disable=SC2046
c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror "$dir/program/main.cc" \
    $(pkg-config --cflags --libs devcomm) -o "$dir/cxx"
cmake -S "$dir/program" -B "$dir/b" -DCMAKE_PREFIX_PATH="$dir/p" >/dev/null
cmake --build "$dir/b" >/dev/null
for program in "$dir/c" "$dir/cxx" "$dir/b/in_c" "$dir/b/in_cxx"; do
    [ "$("$program")" = "devcomm 100" ] || {
        echo "$program failed"
        exit 1
    }
done
echo "four programs were built and run from an installed copy"
