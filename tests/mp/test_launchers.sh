#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Real launchers: Open MPI's and MPICH's, as far as they are installed.
#
#   test_launchers.sh BUILD-FOLDER

set -u

rank=$(readlink -f "$1/boot_rank")
work=$(mktemp -d)
failed=0
ran=0

cd "$work" || exit 1
trap 'cd /; rm -rf "$work"' EXIT

unset DEVCOMM_RANK DEVCOMM_NRANKS DEVCOMM_ADDR DEVCOMM_TOKEN RANK WORLD_SIZE
unset MASTER_ADDR MASTER_PORT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export HYDRA_LAUNCHER=fork

fail()
{
    failed=$((failed + 1))
    echo "FAIL: $*"
    sed 's/^/    /' out err
}

# met LAUNCHER N ADDRESS-BEGINNING COMMAND...: N ranks met there, each once.
met()
{
    local launcher=$1 n=$2 address=$3 r
    shift 3
    if ! timeout 60 "$@" > out 2> err; then
        fail "$*"
        return
    fi
    for ((r = 0; r < n; r++)); do
        if [ "$(grep -c "^$launcher $r $n $address.* met\$" out)" != 1 ]; then
            fail "$*: rank $r of $n"
            return
        fi
    done
    if [ "$(sed 's/.* \([^ ]*\) met$/\1/' out | sort -u | wc -l)" != 1 ]; then
        fail "$*: not one address"
    fi
}

# refused TEXT COMMAND...; ranks may write to the file `own` themselves.
refused()
{
    local text=$1
    shift
    : > own
    if timeout 60 "$@" > out 2> err || ! grep -q "$text" out err own; then
        fail "$*: not refused with \"$text\""
    fi
}

# Two jobs of one launcher at once do not meet each other.
two_jobs()
{
    local first second good=0
    timeout 60 "$@" > out.1 2> err.1 &
    first=$!
    timeout 60 "$@" > out.2 2> err.2 &
    second=$!
    wait "$first" || good=1
    wait "$second" || good=1
    if [ $good != 0 ] || [ "$(cat out.1 out.2 | grep -c met)" != 4 ] ||
       [ "$(awk '{ print $(NF - 1) }' out.1 out.2 | sort -u | wc -l)" != 2 ]
    then
        cat out.1 out.2 > out
        cat err.1 err.2 > err
        fail "two jobs of $1 at once"
    fi
}

port=$((21000 + $$ % 10000))

if command -v mpirun.openmpi > /dev/null; then
    ran=1
    mpi=(mpirun.openmpi --oversubscribe)
    met 'Open MPI' 1 unix:openmpi- "${mpi[@]}" -n 1 "$rank"
    met 'Open MPI' 3 unix:openmpi- "${mpi[@]}" -n 3 "$rank"
    met 'Open MPI' 2 unix:openmpi- "${mpi[@]}" -n 2 sh -c "'$rank'; exit \$?"
    met 'Open MPI' 2 unix:mine-$$ "${mpi[@]}" -x DEVCOMM_ADDR=unix:mine-$$ \
        -n 2 "$rank"
    met 'Open MPI' 2 "tcp:127.0.0.1:$port" \
        "${mpi[@]}" -x "DEVCOMM_ADDR=tcp:127.0.0.1:$port" -x DEVCOMM_TOKEN=s \
        -n 2 "$rank"
    two_jobs "${mpi[@]}" -n 2 "$rank"
else
    echo "mpirun.openmpi is not installed"
fi

if command -v mpiexec.mpich > /dev/null; then
    ran=1
    met PMI 1 unix:pmi- mpiexec.mpich -n 1 "$rank"
    met PMI 3 unix:pmi- mpiexec.mpich -n 3 "$rank"
    met PMI 2 unix:pmi- mpiexec.mpich -n 2 sh -c "'$rank'; exit \$?"
    met PMI 3 unix:pmi- mpiexec.mpich -n 1 "$rank" : -n 2 "$rank"
    two_jobs mpiexec.mpich -n 2 "$rank"
    # Two host names, so two proxies: which of them has rank 0 is not told.  A
    # proxy that ends because a rank failed may lose what that rank wrote.
    refused "set DEVCOMM_ADDR" \
        mpiexec.mpich -hosts localhost,127.0.0.1 -n 2 \
        sh -c "exec '$rank' >> '$PWD/own' 2>&1"
    met PMI 2 "tcp:127.0.0.1:$((port + 1))" mpiexec.mpich \
        -hosts localhost,127.0.0.1 \
        -genv DEVCOMM_ADDR "tcp:127.0.0.1:$((port + 1))" -n 2 "$rank"
else
    echo "mpiexec.mpich is not installed"
fi

[ $ran = 0 ] && exit 77
[ $failed = 0 ] && echo "all launchers passed"
exit $((failed != 0))
