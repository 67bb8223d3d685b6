#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The bootstrap between two network namespaces joined by a veth pair: as between
# two hosts.  Exits 77 where namespaces are refused.
#
#   test_boot_netns.sh BUILD-FOLDER

set -u

rank=$(readlink -f "$1/boot_rank")
work=$(mktemp -d)
a=dcma$$
b=dcmb$$
four=10.77.0.1
six=fd77::1
failed=0
port=21000

cd "$work" || exit 1

# Processes of ours that are left in a namespace.
clear_ns()
{
    ip netns pids $a 2> err | xargs -r kill 2> err
    ip netns pids $b 2> err | xargs -r kill 2> err
}

trap 'clear_ns; ip netns del $a 2> err; ip netns del $b 2> err; cd /; rm -rf "$work"' EXIT

unset DEVCOMM_RANK DEVCOMM_NRANKS DEVCOMM_ADDR DEVCOMM_TOKEN RANK WORLD_SIZE
export DEVCOMM_TIMEOUT_MS=30000

build()
{
    ip netns add $a && ip netns add $b &&
        ip link add va netns $a type veth peer name vb netns $b &&
        ip -n $a addr add $four/24 dev va && ip -n $b addr add 10.77.0.2/24 dev vb &&
        ip -n $a link set va up && ip -n $b link set vb up &&
        ip -n $a link set lo up && ip -n $b link set lo up
}

if ! build 2> err; then
    echo "network namespaces are refused:"
    cat err
    exit 77
fi

# in NAMESPACE RANK NRANKS ADDRESS [hold]: start a rank there.
in_ns()
{
    local ns=$1 r=$2 n=$3 address=$4
    shift 4
    DEVCOMM_RANK=$r DEVCOMM_NRANKS=$n DEVCOMM_ADDR=$address \
        timeout 60 ip netns exec "$ns" "$rank" "$@" > "out.$r" 2> "err.$r"
}

fail()
{
    failed=$((failed + 1))
    echo "FAIL: $*"
    for f in out.* err.*; do
        sed "s/^/    $f: /" "$f"
    done
}

# meet WHAT ADDRESS-OF-0 ADDRESS-OF-OTHERS: ranks 0 and 1 in a, 2 in b.
meet()
{
    local jobs=() bad=0 j
    rm -f out.* err.*
    in_ns $b 2 3 "$3" & jobs+=($!)
    in_ns $a 1 3 "$3" & jobs+=($!)
    in_ns $a 0 3 "$2" & jobs+=($!)
    for j in "${jobs[@]}"; do
        wait "$j" || bad=1
    done
    if [ $bad != 0 ] || [ "$(cat out.* | grep -c met)" != 3 ]; then
        fail "$1"
    fi
    port=$((port + 1))
}

# says WHAT RANK TEXT
says()
{
    grep -qF -- "$3" "err.$2" || fail "$1: rank $2 does not say \"$3\""
}

at()
{
    echo "tcp:$1:$port"
}

export DEVCOMM_TOKEN=secret
meet "IPv4" "$(at $four)" "$(at $four)"
# Rank 0 knows itself by an address that is not its own: it listens on all.
meet "translated address" "$(at 10.77.0.99)" "$(at $four)"

if ip -n $a addr add $six/64 dev va nodad 2> err &&
   ip -n $b addr add fd77::2/64 dev vb nodad 2> err; then
    meet "IPv6" "$(at "[$six]")" "$(at "[$six]")"
    meet "IPv6, translated" "$(at "[fd77::99]")" "$(at "[$six]")"
    meet "IPv4 by a listener for all of IPv6" "$(at "[fd77::99]")" "$(at $four)"
else
    echo "no IPv6 here"
fi

# The host's name stands for loopback on itself only, as on Debian.
echo "127.0.1.1 leader" > hosts.a
echo "$four leader" > hosts.b
cat > by_name <<END
#!/bin/sh
mount --bind "$work/hosts.\$1" /etc/hosts && exec "$rank"
END
chmod +x by_name
plain=$rank
for ns in a b; do
    printf '#!/bin/sh\nexec "%s" %s\n' "$work/by_name" $ns > rank.$ns
    chmod +x rank.$ns
done
rm -f out.* err.*
rank=$work/rank.b
in_ns $b 1 2 "$(at leader)" & other=$!
rank=$work/rank.a
in_ns $a 0 2 "$(at leader)" || fail "by name: rank 0"
wait $other || fail "by name: rank 1"
rank=$plain
port=$((port + 1))

# Another token, and none.
rm -f out.* err.*
DEVCOMM_TOKEN=other in_ns $b 1 2 "$(at $four)" & other=$!
DEVCOMM_TIMEOUT_MS=2000 in_ns $a 0 2 "$(at $four)" && fail "wrong token: rank 0"
wait $other && fail "wrong token: rank 1"
says "wrong token" 1 "has another token than rank 1"
says "wrong token" 0 "refused: 1, the last: a process on 10.77.0.2:"
port=$((port + 1))

rm -f out.* err.*
unset DEVCOMM_TOKEN
for r in 0 1; do
    in_ns $a $r 2 "$(at $four)" && fail "no token: rank $r"
    says "no token" $r "DCM_GROUP_ALLOW_NO_TOKEN"
done
export DEVCOMM_TOKEN=secret

# Ports that the system gives to who connects: rank 1 must not meet itself, nor
# keep rank 0 from its port.
ip netns exec $b sh -c 'echo "40000 40001" > /proc/sys/net/ipv4/ip_local_port_range'
rm -f out.* err.*
in_ns $b 1 2 tcp:127.0.0.1:40000 & other=$!
sleep 0.3 # rank 1 tries meanwhile, again and again
in_ns $b 0 2 tcp:127.0.0.1:40000 || fail "ephemeral port: rank 0"
wait $other || fail "ephemeral port: rank 1"

# A host that vanishes: no packet says so.
rm -f out.* err.*
port=$((port + 1))
in_ns $a 0 2 "$(at $four)" hold & first=$!
in_ns $b 1 2 "$(at $four)" hold & other=$!
while ! { [ -s out.0 ] && [ -s out.1 ]; } && kill -0 $first 2> err; do
    sleep 0.01
done
ip -n $b link set vb down
wait $first && fail "vanished host: rank 0"
says "vanished host" 0 "rank 1 (pid "
says "vanished host" 0 "died or left before the exchange"
clear_ns
wait $other 2> err

[ $failed = 0 ] && echo "all meetings passed"
exit $((failed != 0))
