#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every function of libc that the library in build folder $1 uses stands in
# calls.txt, so that a new one is tortured too, or said not to be able to fail.
set -eu

list=$(dirname "$0")/calls.txt
used=$(nm -D --undefined-only "$1/src/libdevcomm.so" | sed -n 's/^ *U //p' |
    sed -e 's/@.*//' -e 's/^__isoc[0-9]*_//')
case "$used" in
*__asan_* | *__tsan_* | *gcov*)
    echo "an instrumented library"
    exit 77
    ;;
esac
status=0
for name in $used; do
    if ! grep -qE "^(fails|plain) $name\$" "$list"; then
        echo "$name: the library uses it, tests/torture/calls.txt lacks it"
        status=1
    fi
done
exit $status
