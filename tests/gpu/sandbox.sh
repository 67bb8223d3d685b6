#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A program of this folder as in a narrow container: 1 MiB of /dev/shm, no ptrace,
# every rank in a PID namespace of its own.  Wants root; 77: cannot be had here.
#     sandbox.sh PROGRAM [ARGS]
set -u

if [ "${DEVCOMM_TEST_SANDBOX-}" != inside ]; then
    unshare --mount --ipc --pid --fork sh -c 'mount -t proc proc /proc &&
        mount -t tmpfs -o size=1m tmpfs /dev/shm &&
        setpriv --bounding-set=-sys_ptrace true' 2>/dev/null || {
        echo "no namespaces: skipped"
        exit 77
    }
    export DEVCOMM_TEST_SANDBOX=inside DEVCOMM_TEST_OWN_PIDS=1
    exec unshare --mount --ipc "$0" "$@"
fi
mount -t tmpfs -o size=1m tmpfs /dev/shm || exit 1
df -k /dev/shm | tail -n 1
exec setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace "$@"
