#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing from the distribution (Debian 12, Ubuntu 24.04).
#   deps.sh build   a compiler, CMake, ninja
#   deps.sh peers   what bench/peers and bench/queue measure devcomm against
#   deps.sh cov     what `make cov` counts with
#   deps.sh test    also cmocka, clang, and the tools of the checks
# As root or through sudo; otherwise prints the one command to run.
set -eu

build="gcc libc6-dev make cmake ninja-build pkg-config git"
test="$build libcmocka-dev clang cppcheck codespell shellcheck pmccabe scdoc
mandoc gnuplot-nox binutils g++ procps iproute2 python3-minimal
gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user spin libzmq5
python3-dev python3-cffi python3-numpy python3-pytest python3-setuptools
python3-wheel python3-pip python3-venv mypy"
peers="$build g++ python3 openmpi-bin libopenmpi-dev mpich libmpich-dev
libgloo-dev libzmq3-dev libboost-dev"
# Another name in another release.
by_release="clang-format-14:clang-format libclang-rt-14-dev:libclang-rt-18-dev"

have() {
    dpkg -s "$1" 2>/dev/null | grep -q '^Status: install ok installed'
}

known() {
    apt-cache show "$1" >/dev/null 2>&1
}

case "${1:-}" in
build) wanted=$build ;;
peers) wanted=$peers ;;
cov) wanted="$build libcmocka-dev gcovr" ;;
test) wanted=$test ;;
*)
    echo "usage: deps.sh build|cov|test|peers" >&2
    exit 2
    ;;
esac

if ! command -v dpkg >/dev/null 2>&1; then
    echo "deps.sh: not a Debian or Ubuntu system; it takes: $wanted" >&2
    exit 0
fi

missing=
for p in $wanted; do
    have "$p" || missing="$missing $p"
done
if [ "$1" = test ]; then
    for pair in $by_release; do
        have "${pair%%:*}" || have "${pair##*:}" || missing="$missing $pair"
    done
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    list=
    for p in $missing; do
        list="$list ${p%%:*}"
    done
    echo "These packages are missing.  Run this, then try again:" >&2
    echo "    sudo apt-get install --no-install-recommends$list" >&2
    exit 1
fi

$as_root apt-get update -q >/dev/null
list=
for p in $missing; do
    first=${p%%:*}
    second=${p##*:}
    if known "$first"; then
        list="$list $first"
    else
        list="$list $second"
    fi
done
echo "installing:$list"
# shellcheck disable=SC2086  # a list of names
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -q -y \
    --no-install-recommends $list >/dev/null
