#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The command from outside: exit statuses, signals, what is left behind, files.
#
#   test_cli.sh BUILD-FOLDER
#
# Every call is bounded by timeout(1); waiting is for a condition, never for a
# time.

set -u

source=$(readlink -f "$(dirname "$0")/../..")
devcomm=$(readlink -f "$1/devcomm")
man=$source/docs/man
completion=$source/cli/completion/devcomm.bash
work=$(mktemp -d)
passed=0
failed=0

cd "$work" || exit 1
trap 'cd /; rm -rf "$work"' EXIT

# Another launcher's variables would make every call a rank of its job.
unset DEVCOMM_RANK DEVCOMM_NRANKS DEVCOMM_ADDR DEVCOMM_TOKEN RANK WORLD_SIZE

ok()
{
    passed=$((passed + 1))
}

fail()
{
    failed=$((failed + 1))
    echo "FAIL: $*"
    [ -s err ] && sed 's/^/    /' err
}

# run WANT COMMAND...: with output in out and err, and this exit status.
run()
{
    local want=$1 rc=0
    shift

    timeout -k 5 60 "$@" >out 2>err </dev/null || rc=$?
    if [ "$rc" -eq "$want" ]; then
        ok
    else
        fail "status $rc, not $want: $*"
    fi
}

# says FILE PATTERN: a line of it matches.
says()
{
    if grep -Eq -- "$2" "$1"; then
        ok
    else
        fail "$1 does not say: $2"
    fi
}

is()
{
    if [ "$1" = "$2" ]; then
        ok
    else
        fail "\"$1\", not \"$2\"${3:+: $3}"
    fi
}

# await WHAT COMMAND...: until it succeeds, for ten seconds at most.
await()
{
    local what=$1 end=$((SECONDS + 10))
    shift

    until "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then
            fail "$what"
            return 1
        fi
        sleep 0.01
    done
    ok
}

# A process that runs; one that nobody has reaped does not.
runs()
{
    local state

    state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) || return 1
    [ -n "$state" ] && [ "$state" != Z ] && [ "$state" != X ]
}

all_gone()
{
    local pid

    for pid in "$@"; do
        runs "$pid" && return 1
    done
    return 0
}

has_lines()
{
    [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]
}

has_ended()
{
    ! runs "$1"
}

# ---- the command line -------------------------------------------------------

test_usage()
{
    run 2 "$devcomm"
    says err '^usage: devcomm COMMAND'
    run 0 "$devcomm" -h
    run 0 "$devcomm" --version
    says out '^devcomm [0-9]+\.[0-9]+\.[0-9]+ \('
    for command in run info check bench inspect; do
        run 0 "$devcomm" "$command" -h
        says out "^usage: devcomm $command"
        run 0 "$devcomm" help "$command"
        run 2 "$devcomm" "$command" --no-such-option
        says err 'unknown option --no-such-option'
    done
    run 2 "$devcomm" bnech
    says err 'did you mean bench'
    run 2 "$devcomm" bench all_reduce --jsn x
    says err 'did you mean --json'
    run 2 "$devcomm" bench all_reduce -n
    says err 'wants a value'
    run 2 "$devcomm" bench all_reduce -n two
    run 2 "$devcomm" bench all_reduce --in-place=yes
    run 2 "$devcomm" bench all_reduce -d f33
    says err 'f64 f32'
    run 2 "$devcomm" bench all_reduce -o mean
    run 2 "$devcomm" bench all_reduce -b 2k -e 1k
    run 2 "$devcomm" bench reduce_scater
    says err 'did you mean reduce_scatter'
    run 2 "$devcomm" bench all_gather --in-place
    run 2 "$devcomm" bench
    run 2 "$devcomm" bench all_reduce --compare no-such-file
    run 2 "$devcomm" run -n 2
    run 2 "$devcomm" run -- true
    run 2 "$devcomm" run -n 0 -- true
    run 2 "$devcomm" run -n 65 -- true
    # With a full disk or a closed pipe, and without standard files.
    "$devcomm" --version >/dev/full 2>err
    is $? 1 "full disk"
    says err 'No space left'
    "$devcomm" info >&- 2>err
    is $? 0 "no standard output"
}

# ---- run --------------------------------------------------------------------

test_run_environment()
{
    # shellcheck disable=SC2016
    run 0 "$devcomm" run -n 3 -- sh -c \
        'echo $DEVCOMM_RANK $DEVCOMM_NRANKS $DEVCOMM_ADDR $DEVCOMM_TOKEN'
    is "$(cut -d' ' -f1 out | sort | tr '\n' ' ')" "0 1 2 " ranks
    is "$(cut -d' ' -f2 out | sort -u)" 3 "number of ranks"
    is "$(cut -d' ' -f3,4 out | sort -u | wc -l)" 1 "one address and token"
    says out ' unix:devcomm-run-[0-9a-f]{16} [0-9a-f]{32}$'
    cp out first
    # shellcheck disable=SC2016
    run 0 "$devcomm" run -n 1 -- sh -c \
        'echo $DEVCOMM_RANK $DEVCOMM_NRANKS $DEVCOMM_ADDR $DEVCOMM_TOKEN'
    is "$(cat first out | cut -d' ' -f3 | sort -u | wc -l)" 2 "two jobs"
    is "$(cat first out | cut -d' ' -f4 | sort -u | wc -l)" 2 "two tokens"

    # Standard input is rank 0's alone.
    echo hello | timeout 20 "$devcomm" run -n 3 -- cat >out 2>err
    is "$(cat out)" hello "standard input"
}

test_run_status()
{
    run 0 "$devcomm" run -n 4 -- true
    # shellcheck disable=SC2016
    run 7 "$devcomm" run -n 3 -- sh -c '[ $DEVCOMM_RANK != 1 ] || exit 7'
    says err '^devcomm run: rank 1 \(pid [0-9]+\) exited with status 7$'
    # shellcheck disable=SC2016
    run 139 "$devcomm" run -n 3 -- sh -c \
        '[ $DEVCOMM_RANK != 2 ] || { ulimit -c 0; kill -SEGV $$; }'
    says err 'rank 2 \(pid [0-9]+\) was killed by SIGSEGV'
    run 127 "$devcomm" run -n 2 -- no-such-program
    says err 'no-such-program: No such file'
    run 126 "$devcomm" run -n 2 -- /dev/null
    # Options of the program are the program's.
    run 0 "$devcomm" run -n 1 sh -c 'exit 0' -n 5
}

# The others end because rank 1 did: rank 1 is named, whoever is seen first.
test_run_first()
{
    local i

    for i in 1 2 3 4 5 6 7 8 9 10; do
        rm -f gate
        mkfifo gate
        # shellcheck disable=SC2016
        run 137 "$devcomm" run -n 2 -- sh -c '
            if [ $DEVCOMM_RANK = 1 ]; then
                exec 3>gate
                kill -KILL $$
            fi
            read -r line <gate
            exit 1'
        says err 'rank 1 \(pid [0-9]+\) was killed by SIGKILL'
        is "$(grep -c 'rank 0' err)" 0 "only the first is reported, run $i"
    done
}

test_run_grace()
{
    # shellcheck disable=SC2016
    run 3 "$devcomm" run -n 3 --grace 0.1 -- sh -c \
        '[ $DEVCOMM_RANK = 0 ] && exit 3; exec sleep 1000'
    says err 'ranks 1 and 2 did not end within 0.1 s: sending SIGTERM'
    # shellcheck disable=SC2016
    run 3 "$devcomm" run -n 2 --grace 0 -- sh -c '
        if [ $DEVCOMM_RANK = 1 ]; then
            trap "" TERM
            : >deaf
            while :; do sleep 1000; done
        fi
        until [ -e deaf ]; do sleep 0.01; done
        exit 3'
    says err 'rank 1 did not end 2 s after SIGTERM: sending SIGKILL'
    run 124 "$devcomm" run -n 2 --timeout 0.2 -- sleep 1000
    says err 'time of 0.2 s is over'
}

test_run_tag()
{
    # shellcheck disable=SC2016
    run 0 "$devcomm" run -n 2 --tag -- sh -c \
        'echo out $DEVCOMM_RANK; echo err >&2; printf "no end"'
    is "$(sort out | tr '\n' '|')" \
        "[0] no end|[0] out 0|[1] no end|[1] out 1|" "tags"
    is "$(sort err | tr '\n' '|')" "[0] err|[1] err|" "tags of errors"

    # A line longer than the buffer gets one tag.
    run 0 "$devcomm" run -n 1 --tag -- sh -c \
        'head -c 10000 /dev/zero | tr "\0" x'
    is "$(wc -c <out)" 10005 "a long line"

    timeout 20 "$devcomm" run -n 2 --tag -- echo x >/dev/full 2>err
    is $? 1 "full disk"
    says err 'cannot write the output of rank'
    # Nobody reads: the ranks get SIGPIPE and end.
    timeout 20 "$devcomm" run -n 2 --tag -- yes 2>err | head -n 1 >out
    is "${PIPESTATUS[0]}" 141 "closed pipe"
}

# start FILES COMMAND...: in the background, until ranks made that many lines in
# `ready`; $job is its process.  Job control, or SIGINT would be ignored.
start()
{
    local lines=$1
    shift

    rm -f ready
    set -m
    timeout -k 5 60 "$@" >out 2>err </dev/null &
    set +m
    job=$!
    await "the ranks do not come up" has_lines ready "$lines" || return 1
    launcher=$(cat "/proc/$job/task/$job/children" 2>/dev/null)
    launcher=${launcher%% *}
    [ -n "$launcher" ] || launcher=$(pgrep -P "$job" | head -n 1)
}

# ended WANT: the job's status.
ended()
{
    local rc=0

    wait "$job" || rc=$?
    if [ "$rc" -eq "$1" ]; then
        ok
    else
        fail "status $rc, not $1: $2"
    fi
}

test_run_signals()
{
    # shellcheck disable=SC2016
    local rank='trap "echo got $DEVCOMM_RANK >>got; exit 0" USR1
        echo $$ >>ready
        while :; do sleep 0.01; done'

    rm -f got
    start 2 "$devcomm" run -n 2 -- sh -c "$rank" || return
    kill -USR1 "$launcher"
    ended 0 "SIGUSR1"
    is "$(sort got | tr '\n' '|')" "got 0|got 1|" "passed on to all ranks"

    start 2 "$devcomm" run -n 2 -- sh -c "$rank" || return
    kill -TERM "$launcher"
    ended 143 "SIGTERM"
    says err 'was killed by SIGTERM'

    # Ranks that listen to nothing: the second SIGINT kills.
    start 2 "$devcomm" run -n 2 --grace 1000 -- sh -c 'trap "" INT TERM
        echo $$ >>ready
        while :; do sleep 0.01; done' || return
    kill -INT "$launcher"
    runs "$launcher" && kill -INT "$launcher"
    # Two that came as one: then the first is the one that counts.
    while runs "$job"; do
        kill -INT "$launcher" 2>/dev/null
        sleep 0.1
    done
    ended 137 "two SIGINT"
    says err 'SIGINT again: sending SIGKILL to ranks 0 and 1'
}

# Signals of the terminal reach a rank from there and not also from us.  Ctrl-\,
# ten times: two that come at once are one to the system.  A shell that stayed
# above the command would take the signal too (dash does), hence exec.
test_run_terminal()
{
    local i

    command -v script >/dev/null && command -v python3 >/dev/null || return 0
    cat >rank.py <<'END'
import os, select, signal, sys
read, write = os.pipe2(os.O_NONBLOCK)
signal.signal(signal.SIGQUIT, lambda *_: None)
signal.set_wakeup_fd(write)
total = 0
for i in range(10):
    print(os.getpid(), file=open("ready", "a"), flush=True)
    select.select([read], [], [], 30)
    select.select([], [], [], 0.02)  # a second one would be on its way by now
    total += len(os.read(read, 100))
print(total, "SIGQUIT", file=open("got", "a"))
sys.exit(5)
END
    rm -f got ready
    # shellcheck disable=SC2094
    { for i in 1 2 3 4 5 6 7 8 9 10; do
        await "the rank does not come up" has_lines ready "$i" >&2
        printf '\034'
      done
      await "no SIGQUIT came" has_lines got 1 >&2; } 2>>err |
        timeout 30 script -qec \
            "exec $devcomm run -n 1 --grace 100 -- python3 rank.py" /dev/null \
            >out 2>>err
    is "${PIPESTATUS[1]}" 5 "status through the terminal"
    is "$(cat got)" "10 SIGQUIT" "each once"

    # Ctrl-C ends ranks that do not mind it.
    rm -f ready
    # shellcheck disable=SC2094
    { await "the rank does not come up" has_lines ready 1 >&2
      printf '\003'; } 2>>err |
        timeout 30 script -qec "exec $devcomm run -n 1 -- sh -c \
            'echo >>ready; exec sleep 1000'" /dev/null >out 2>>err
    is "${PIPESTATUS[1]}" 130 "Ctrl-C"
}

# Whoever is killed, the ranks and what they started go.
test_run_killed()
{
    # shellcheck disable=SC2016
    local rank='sleep 1000 & echo $! $$ >>ready; wait'
    local keeper

    start 2 "$devcomm" run -n 2 -- sh -c "$rank" || return
    keeper=$(cat "/proc/$launcher/task/$launcher/children")
    kill -KILL "$launcher"
    # shellcheck disable=SC2046,SC2086
    await "processes are left: launcher killed" all_gone $(cat ready) $keeper
    ended 137 "the launcher was killed"

    start 2 "$devcomm" run -n 2 -- sh -c "$rank" || return
    keeper=$(cat "/proc/$launcher/task/$launcher/children")
    # shellcheck disable=SC2086
    kill -KILL $keeper
    # shellcheck disable=SC2046
    await "processes are left: keeper killed" all_gone $(cat ready)
    ended 137 "the keeper was killed"
    says err 'keeper of the ranks was killed by SIGKILL'

    # Both at once: then it is the system that kills the ranks.
    # shellcheck disable=SC2016
    start 2 "$devcomm" run -n 2 -- sh -c 'echo $$ >>ready; exec sleep 1000' ||
        return
    keeper=$(cat "/proc/$launcher/task/$launcher/children")
    # shellcheck disable=SC2086
    kill -STOP $launcher $keeper
    # shellcheck disable=SC2086
    kill -KILL $keeper $launcher
    # shellcheck disable=SC2046
    await "ranks are left: launcher and keeper killed" all_gone $(cat ready)
    ended 137 "launcher and keeper were killed"

    # shellcheck disable=SC2016
    run 0 "$devcomm" run -n 2 -- sh -c \
        'sleep 1000 >/dev/null 2>&1 & echo $! >>left'
    # shellcheck disable=SC2046
    await "what ranks left behind runs" all_gone $(cat left)
}

# ---- info, check ------------------------------------------------------------

is_json()
{
    if command -v python3 >/dev/null; then
        python3 -m json.tool "$1" >/dev/null 2>err
    else
        # Only that it begins and ends as it must.
        [ "$(head -c 1 "$1")" = "{" ] && [ "$(tail -n 1 "$1")" = "}" ]
    fi
}

test_info()
{
    run 0 "$devcomm" info
    says out '^backends'
    says out '^  cpu +usable'
    says out 'shared now'
    says out '^topology'
    says out '^  allowed     processors [0-9]'
    says out '^  hwloc       ([0-9.]+$|not used: .)'
    run 0 "$devcomm" info --json
    if is_json out; then ok; else fail "info --json is no JSON"; fi
    for key in version commit machine topology backends communicator environment; do
        says out "^  \"$key\": "
    done
    run 0 env DEVCOMM_TOKEN=hush DEVCOMM_TIMEOUT_MS=1234 "$devcomm" info --env
    says out '^  DEVCOMM_RANK'
    says out '^  DEVCOMM_TIMEOUT_MS=1234'
    is "$(grep -c hush out)" 0 "the token is hidden"
    "$devcomm" info >/dev/full 2>err
    is $? 1 "full disk"
}

test_check()
{
    run 0 "$devcomm" check --p2p
    says out '^ok +memfd'
    says out '^ok +robust mutex .* [0-9.]+ ms'
    says out '^ok +all_reduce, 2 ranks .* right to the bit'
    says out '^skip +peer access'
    is "$(grep -c '^FAIL' out)" 0 "nothing fails"
}

# ---- bench ------------------------------------------------------------------

# Rows of a table: their number, and how many have a #wrong that is not 0.
rows()
{
    grep -cv '^#' out
}

wrong()
{
    grep -v '^#' out | awk '$9 != 0' | wc -l
}

test_bench()
{
    local types=all ops=all rows=60 mode

    # Sanitizers ask for less.
    if [ -n "${DEVCOMM_TEST_THIN:-}" ]; then
        types=f32,i8 ops=sum,avg rows=4
    fi
    for mode in "" "--threads" "--arena" "--in-place --random" \
        "--arena --in-place --threads"; do
        # shellcheck disable=SC2086
        run 0 "$devcomm" bench all_reduce -n 2 -e 64k -f 8 --iters 3 $mode
        is "$(rows)" 5 "rows, $mode"
        is "$(wrong)" 0 "wrong, $mode"
        says out '^# Out of bounds values : 0 OK$'
    done
    run 0 "$devcomm" bench all_reduce -n 3 -b 1k -e 1k --iters 2 -d $types -o $ops
    is "$(rows)" $rows "every type and operator"
    is "$(wrong)" 0 "every type and operator"
    run 0 "$devcomm" bench barrier -n 3 --iters 3
    is "$(rows)" 1 barrier
    for mode in all_gather all_to_all broadcast gather reduce reduce_scatter scatter sendrecv; do
        run 0 "$devcomm" bench $mode -n 3 -b 64 -e 512k -f 16 -d f32,u8 --iters 3 --random
        is "$(rows)" 8 "rows, $mode"
        is "$(wrong)" 0 "wrong, $mode"
    done
    run 0 "$devcomm" bench exchange -n 3 -b 12 -f 2 -d u8 --iters 3
    is "$(rows)" 11 "rows, exchange"
    is "$(wrong)" 0 "wrong, exchange"
    run 0 "$devcomm" bench all_reduce -n 1 -e 64 --iters 2
    # A rank of another job.
    run 0 "$devcomm" run -n 2 -- "$devcomm" bench all_reduce -e 64 --iters 2
    is "$(rows)" 4 "under a launcher"
    run 2 "$devcomm" run -n 2 -- "$devcomm" bench all_reduce -n 3
    run 1 "$devcomm" bench all_reduce -e 64 --backend no-such-backend
    says err 'no-such-backend'
    "$devcomm" bench all_reduce -e 64 --iters 2 >/dev/full 2>err
    is $? 1 "full disk"
    says err 'No space left'
    # Nobody reads the table: the sweep ends, silently.
    timeout 30 "$devcomm" bench all_reduce -e 1m 2>err | head -n 1 >out
    is "${PIPESTATUS[0]}" 141 "closed pipe"
    is "$(cat err)" "" "closed pipe is silent"
}

test_bench_files()
{
    local bench="bench all_reduce -n 2 -e 1k -f 4 --iters 3"
    local key

    # shellcheck disable=SC2086
    run 0 "$devcomm" $bench --json now.json --csv now.csv
    if is_json now.json; then ok; else fail "bench --json is no JSON"; fi
    for key in machine cpu cores kernel version commit date command rows op \
        bytes count dtype redop ranks backend algorithm p50_us p99_us min_us \
        max_us algbw_gbps busbw_gbps wrong pingpong_ns in_place memory; do
        says now.json "\"$key\": "
    done
    is "$(grep -c "\"$(hostname)\"" now.json)" 0 "no name of the host"
    is "$(wc -l <now.csv)" 5 "CSV"
    is "$(awk -F, '{ print NF }' now.csv | sort -u | wc -l)" 1 "CSV columns"

    # shellcheck disable=SC2086
    run 0 "$devcomm" $bench --compare now.json --tolerance 1000000
    sed 's/"p50_us": .*/"p50_us": 0.000001,/' now.json >fast.json
    # shellcheck disable=SC2086
    run 1 "$devcomm" $bench --compare fast.json
    says out '^# SLOWER '
    sed 's/"p50_us": .*/"p50_us": 1e9,/' now.json >slow.json
    # shellcheck disable=SC2086
    run 0 "$devcomm" $bench --compare slow.json
    says out '^# faster '
    run 1 "$devcomm" bench all_reduce -e 8 --iters 2 --compare slow.json
    says out '^# MISSING .* 512 B'
    echo '{"rows": [' >broken.json
    # shellcheck disable=SC2086
    run 2 "$devcomm" $bench --compare broken.json
    # shellcheck disable=SC2086
    run 1 "$devcomm" $bench --json /dev/full
    says err '/dev/full'
    # shellcheck disable=SC2086
    run 1 "$devcomm" $bench --json no-such-folder/x.json

    # shellcheck disable=SC2086
    run 0 "$devcomm" $bench --plot now.svg -d f32,bf16
    if command -v gnuplot >/dev/null; then
        says now.svg '<svg'
        says now.svg 'bus bandwidth'
    else
        says err 'gnuplot is not installed'
    fi
    mkdir bin
    # shellcheck disable=SC2086
    run 0 env PATH="$work/bin" "$devcomm" $bench --plot none.svg
    says err 'gnuplot is not installed'
}

# ---- documents --------------------------------------------------------------

# Every "$ devcomm ..." line of the man pages runs and ends with status 0.
test_examples()
{
    local page line

    mkdir -p example bin
    ln -sf "$devcomm" bin/devcomm
    for page in "$man"/devcomm.1.scd "$man"/devcomm-*.1.scd; do
        while IFS= read -r line; do
            line=${line#"$ "}
            run 0 env PATH="$work/bin:$PATH" sh -c "cd example && $line"
        done < <(grep '^\$ devcomm' "$page")
    done
}

# `queue bench` against itself, and `queue stat` on a bench that runs.
test_queue()
{
    local pid

    run 0 "$devcomm" queue bench -n 2 -b 64 -e 1k --json queue.json
    says out '^ +64 +2 '
    says out '^ +1024 +2 '
    is "$(tr ',' '\n' <queue.json | grep -c p999_us)" 2 "rows of queue bench"
    says queue.json pingpong_us
    run 2 "$devcomm" queue
    run 2 "$devcomm" queue jump
    run 2 "$devcomm" queue bench -b 2k -e 1k
    run 2 "$devcomm" queue stat
    run 1 "$devcomm" queue stat no-such-queue-at-all
    says err 'no-such-queue-at-all has no queue'
    "$devcomm" queue bench -b 8 -e 1g -f 2 >/dev/null 2>&1 &
    pid=$!
    while ! "$devcomm" queue stat "$pid" 2>/dev/null | grep -q ' \(waiting\|busy\) '; do
        kill -0 "$pid" 2>/dev/null || { fail "queue bench ended"; return; }
    done
    run 0 "$devcomm" queue stat "$pid"
    says out "^queue bench: writer pid $pid \(alive\), [0-9]+ records, 4 MiB of ring"
    run 0 "$devcomm" queue stat bench
    says out "writer pid $pid "
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
}

# Every long option that the help lists is in the man page.
test_man_options()
{
    local command option

    for command in run info check bench inspect queue\ bench; do
        # shellcheck disable=SC2086  # two words
        "$devcomm" $command -h | grep -Eo -- '^ +(-., |    )--[a-z0-9-]+' |
            grep -o -- '--.*' >options
        while read -r option; do
            if grep -q -- "\*$option\*" "$man/devcomm-${command% *}.1.scd"; then
                ok
            else
                fail "devcomm-$command(1) lacks $option"
            fi
        done <options
    done
}

test_completion()
{
    mkdir -p bin
    ln -sf "$devcomm" bin/devcomm
    # shellcheck disable=SC2016
    run 0 env PATH="$work/bin:$PATH" bash -c '
        complete_words() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _devcomm; }
        . "$0"
        complete_words devcomm be; echo "1 ${COMPREPLY[*]}"
        complete_words devcomm bench all; echo "2 ${COMPREPLY[*]}"
        complete_words devcomm bench all_reduce --js; echo "3 ${COMPREPLY[*]}"
        complete_words devcomm bench all_reduce -d f32,bf
        echo "4 ${COMPREPLY[*]}"
        complete_words devcomm run --ti; echo "5 ${COMPREPLY[*]}"
        ' "$completion"
    is "$(tr '\n' '|' <out)" \
        "1 bench|2 all_reduce all_gather all_to_all|3 --json|4 f32,bf16|5 --timeout|" completion
}

test_usage
test_run_environment
test_run_status
test_run_first
test_run_grace
test_run_tag
test_run_signals
test_run_terminal
test_run_killed
test_info
test_check
test_bench
test_bench_files
test_queue
test_man_options
test_completion
test_examples

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
