#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# devcomm check --p2p on the stand-in: what the line says.
set -u

devcomm=$1/devcomm
status=0

# $1: what the line must have; then the environment.
expect() {
    want=$1
    shift
    line=$(env "$@" "$devcomm" check --p2p | grep '  *peer access')
    case "$line" in
    *"$want"*) ;;
    *)
        echo "$*: \"$line\" has no \"$want\""
        status=1
        ;;
    esac
}

expect "ok    peer access          3 devices, all pairs" STANDIN_DEVICES=3
expect "; NVLink between all pairs" STANDIN_DEVICES=4
expect "; links unknown" STANDIN_NO_NVML=1
expect "skip  peer access          through host memory: rank" STANDIN_NO_PEER=1
expect "skip  peer access          through host memory: rank" STANDIN_NO_NVLINK=1
expect "skip  peer access          through host memory: " DEVCOMM_GPU_VETO=peer
expect "skip  peer access          1 device: there are no pairs" STANDIN_DEVICES=1
expect "FAIL  peer access          rank 0" DEVCOMM_GPU_IMAGE=/no/such/file
[ -e /dev/nvidiactl ] ||
    expect "skip  peer access          no NVIDIA driver" LD_LIBRARY_PATH=
exit $status
