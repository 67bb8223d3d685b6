#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every interleaving of the queue's protocol, by spin; and each of the mistakes
# that the models know is found.
set -eu

if ! command -v spin >/dev/null 2>&1; then
    echo "spin is not installed: skipped"
    exit 77
fi
if [ -n "${DEVCOMM_TEST_THIN:-}" ]; then
    echo "nothing here depends on how the library was built: skipped"
    exit 77
fi
models=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# verify MODEL DEFINE...: whether all states were seen and none is wrong.
# Not optimised: compiling takes longer than looking.
verify() {
    model=$1
    shift
    cp "$models/$model" .
    spin "$@" -a "$model" >spin.out || { cat spin.out; exit 1; }
    "${CC:-cc}" -O0 -w -DSAFETY -o pan pan.c || exit 1
    ./pan -m100000 >pan.out
    ! grep -q 'max search depth too small' pan.out || { cat pan.out; exit 1; }
    grep -q 'errors: 0' pan.out
}

# right MODEL DEFINE
right() {
    if ! verify "$@"; then
        cat pan.out
        exit 1
    fi
    echo "$*: $(grep 'states, stored' pan.out | awk '{ print $1 }') states"
}

# wrong MODEL DEFINE MISTAKE...
wrong() {
    model=$1
    define=$2
    shift 2
    for mistake; do
        if verify "$model" "$define" "-D$mistake"; then
            echo "$model $define does not find $mistake"
            exit 1
        fi
    done
}

right queue_join.pml -DALL
right queue.pml -DLATE_WRITER
right queue.pml -DLATE_READERS
wrong queue_join.pml -DALL NO_FENCE NO_FRESH FRESH_FIRST
wrong queue.pml -DLATE_WRITER NO_FENCE NO_LOOK NO_CURSOR EARLY_SEQ KEEP_DEAD
wrong queue.pml -DLATE_READERS NO_FENCE NO_LOOK
echo "all mistakes were found"
