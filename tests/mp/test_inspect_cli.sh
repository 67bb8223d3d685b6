#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# devcomm inspect from outside: exit statuses, JSON, which job is meant.
#
#   test_inspect_cli.sh BUILD-FOLDER
#
# Waiting is for a condition, never for a time.

set -u

build=$(readlink -f "$1")
devcomm=$build/devcomm
rank=$build/inspect_rank
work=$(mktemp -d)
passed=0
failed=0
launcher=

cd "$work" || exit 1
trap '[ -n "$launcher" ] && kill "$launcher" 2>/dev/null; cd /; rm -rf "$work"' EXIT
unset DEVCOMM_RANK DEVCOMM_NRANKS DEVCOMM_ADDR DEVCOMM_TOKEN RANK WORLD_SIZE

fail()
{
    failed=$((failed + 1))
    echo "FAIL: $*"
    cat out err 2>/dev/null
}

# run WANT ARGUMENT...: inspect ends with this status.
run()
{
    local want=$1 rc=0
    shift

    timeout -k 5 60 "$devcomm" inspect "$@" >out 2>err </dev/null || rc=$?
    if [ "$rc" -eq "$want" ]; then
        passed=$((passed + 1))
    else
        fail "status $rc, not $want: inspect $*"
    fi
}

says()
{
    if grep -Eq -- "$2" "$1"; then
        passed=$((passed + 1))
    else
        fail "$1 does not say: $2"
    fi
}

# await PATTERN ARGUMENT...: until inspect says so, at most some minutes.
await()
{
    local pattern=$1
    shift

    for _ in $(seq 600); do
        timeout -k 5 60 "$devcomm" inspect "$@" >out 2>err </dev/null
        if grep -Eq -- "$pattern" out; then
            passed=$((passed + 1))
            return
        fi
        sleep 0.1
    done
    fail "inspect $* never says: $pattern"
}

start()
{
    "$devcomm" run -g 60 -n "$1" "$rank" "$2" >job 2>&1 &
    launcher=$!
}

stop()
{
    kill "$launcher"
    wait "$launcher"
    launcher=
}

# The job's name, as the tables tell it.
name_of()
{
    sed -n 's/.*\(unix:devcomm-run-[0-9a-f]*\).*/\1/p' "$1" | head -n 1
}

run 0 -h
says out '^usage: devcomm inspect'
run 2 --last 65 1
run 2 1 2
run 3 no-such-job
says err 'no job .* no-such-job'
run 3 999999999
says err 'no process 999999999'
run 3 $$
says err 'take part in nothing'

start 3 sleep
await '^=> rank 2 \(pid [0-9]+\) has not entered operation 8 .* sleeps' $launcher
await 'ranks 0 and 1 have waited for it for [0-9.]+ s of' $launcher
run 1 --last 3 $launcher
says out '^ +8 +[01] +all_reduce of 4096 f32, sum +16 KiB'
says out '^ +7 +0 '
job=$(name_of out)
pid=$(sed -n 's/^ *2 *\([0-9][0-9]*\) *sleeps.*/\1/p' out)
run 1 "$job"
run 1 "${job#unix:devcomm-}"
run 1 "$pid"
says out "job $job\$"
run 0
says out " 3 +3 +1 made +[0-9]+  $job\$"
run 1 --json "$pid"
if command -v python3 >/dev/null; then
    python3 - out >found <<'END'
import json, sys

comm = json.load(open(sys.argv[1]))["communicators"][0]
ranks = comm["ranks"]
print(comm["bad"], ranks[2]["inside"], ranks[2]["operation"],
      ranks[0]["waits"]["for"], ranks[0]["operations"][0]["bytes"],
      len(comm["verdict"]))
END
    says found '^True False 7 \[2\] 16384 1$'
fi

# A second job: half a name fits both.
first=$launcher
start 2 idle
await 'no rank is inside an operation: the last was operation 7' $launcher
run 3 unix:devcomm-run-
says err 'may be any of these'
says err "  $job\$"
run 0 $launcher
stop
launcher=$first

# Killed by hand: the launcher's job, by the dead rank's number.
kill -9 "$pid"
await "^=> rank 2 \(pid $pid\) is dead" "$pid"
run 1 "$pid"
stop
run 3 "$pid"

start 2 go
await '^=> calls go on: [0-9]+ in ' $launcher
run 0 --json $launcher
says out '"moving": true'
stop

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
