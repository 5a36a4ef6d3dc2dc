# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# The lab's network: three namespaces, one bridge, three links. Sourced by ./scripts/lab, which sets $name (the
# lab's) and $dir (its run directory).
#
#     client namespace            gateway namespace                                  backend namespace
#     eth0 10.77.0.2    <------>  port-client --+                                    eth0 10.77.0.11 .12 .13
#          fd77::2                              |                                         fd77::11  ::12 ::13
#                                              br0 -- port-backend  <-------------->
#                                               |
#     the data plane's 10.77.0.10               +-- gw0-br <--> gw0 <- af_packet, af_xdp  (a veth pair, N queues)
#     and fd77::10 live in no kernel            +-- gw0 <------------- tap                (made by the data plane itself)
#
# Frames on these links are whole: real checksums, nothing above the MTU, VLAN tags inside. A kernel left to itself hands
# super-segments and half-made checksums to a veth, because it expects another kernel behind it.

readonly lab_links=(client backend)

# The kernel's own end of the tap must not bear the data plane's MAC (see adopt_tap).
readonly mac_client=02:00:00:77:00:02 mac_backend=02:00:00:77:00:11 mac_gateway=02:00:00:77:00:10 mac_tap_kernel=02:00:00:77:00:fe

ns_of() { # client|backend|gateway
    if [[ $name == default ]]; then echo "weir-$1"; else echo "weir-$name-$1"; fi
}
ns_exists() { [[ -e /run/netns/$1 ]]; }
# A crash or a power cut between the two halves of `ip netns add` leaves a file that is no namespace: it blocks the name and gives
# "Invalid argument" to all who enter.
ns_works() { ip netns exec "$1" true 2>/dev/null; }

build_network() { # DEVICE QUEUES
    local device=$1 queues=$2 gateway
    gateway=$(ns_of gateway)
    make_gateway_namespace "$gateway"
    make_host client "$mac_client" 10.77.0.2 fd77::2
    make_host backend "$mac_backend" 10.77.0.11 fd77::11 10.77.0.12 fd77::12 10.77.0.13 fd77::13
    if [[ $device != tap ]]; then make_gateway_port "$gateway" "$queues"; fi
}

# Here the kernel is a switch and nothing more: it must not answer, announce or forward by itself.
make_gateway_namespace() { # NAMESPACE
    local ns=$1
    ip netns add "$ns"
    # As the default, before any interface exists: what is created later never gets a link-local address, so never sends MLD reports
    # or router solicitations out of gw0, where the tests would count them. A tap appears in the data plane's good time.
    ip netns exec "$ns" sysctl -qw net.ipv6.conf.default.disable_ipv6=1
    # A new namespace takes its IPv4 settings from the machine, and a machine with containers forwards.
    ip netns exec "$ns" sysctl -qw net.ipv4.ip_forward=0
    ip -n "$ns" link set lo up
    # No spanning tree and no forward delay: a port forwards at once. Multicast snooping stays on as it is by default; with no querier
    # about it floods, which is what neighbour discovery needs of it.
    ip -n "$ns" link add br0 type bridge stp_state 0 forward_delay 0
    ip -n "$ns" link set br0 up
}

make_host() { # WHO MAC (IPV4 IPV6)..
    local who=$1 mac=$2 ns gateway
    ns=$(ns_of "$who") gateway=$(ns_of gateway)
    shift 2
    ip netns add "$ns"
    # Nothing waits for duplicate address detection, and nothing chatters: the first frame on the wire is the test's.
    ip netns exec "$ns" sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 \
        net.ipv6.conf.default.router_solicitations=0
    # The same opponent everywhere, whatever the machine prefers.
    ip netns exec "$ns" sysctl -qw net.ipv4.tcp_congestion_control=cubic 2>/dev/null || true
    # Linux gives a connection another transmit hash after a timeout, and with it another queue of the veth. A NIC's RSS goes by the headers
    # and knows no such thing: with several workers the segments would come to one that does not know the connection, and be reset.
    ip netns exec "$ns" sysctl -qw net.core.txrehash=0 2>/dev/null || true
    ip -n "$ns" link set lo up
    ip -n "$gateway" link add name "port-$who" type veth peer name eth0 address "$mac" netns "$ns"
    whole_frames "$gateway" "port-$who"
    whole_frames "$ns" eth0
    while (($#)); do
        ip -n "$ns" address add "$1/24" dev eth0
        ip -n "$ns" address add "$2/64" dev eth0 nodad
        shift 2
    done
    ip -n "$gateway" link set "port-$who" master br0 up
    ip -n "$ns" link set eth0 up
}

# A queue for each worker on both ends: what gw0-br sends on its queue k arrives on queue k of gw0, and the kernel spreads the flows
# over gw0-br's queues by their hash.
make_gateway_port() { # NAMESPACE QUEUES
    local ns=$1 queues=$2
    ip -n "$ns" link add name gw0 address "$mac_gateway" numtxqueues "$queues" numrxqueues "$queues" \
        type veth peer name gw0-br numtxqueues "$queues" numrxqueues "$queues"
    whole_frames "$ns" gw0
    whole_frames "$ns" gw0-br
    ip -n "$ns" link set gw0-br master br0 up
    ip -n "$ns" link set gw0 up
}

# The tap is born with the data plane and with its MAC. A bridge takes frames to the MAC of one of its own ports as addressed to
# itself, so the data plane would never see one: the kernel's end gets another MAC, which leaves that of the data plane's end alone.
# Only once the data plane is ready: its driver sets the MAC again while it starts.
adopt_tap() { # NAMESPACE
    local ns=$1
    ip -n "$ns" link show dev gw0 >/dev/null 2>&1 || die "the data plane is up but made no interface gw0" \
        "its port should be the device \"tap:gw0\"; see the configuration: $dir"
    ip -n "$ns" link set gw0 address "$mac_tap_kernel"
    whole_frames "$ns" gw0
    ip -n "$ns" link set gw0 master br0 up
}

# vlan: a tag that travels beside the frame is lost on AF_XDP. ethtool's failure on one feature must not hide: the caller relies on it.
whole_frames() { # NAMESPACE INTERFACE
    ip netns exec "$1" ethtool -K "$2" tx off sg off tso off gso off gro off rxvlan off txvlan off >/dev/null 2>"$dir/ethtool.err" || {
        cat "$dir/ethtool.err" >&2
        die "cannot switch the offloads of $2 off" "without that, frames have half-made checksums; is ethtool new enough for this kernel?"
    }
    rm -f "$dir/ethtool.err"
}

# Everything that runs in a lab's namespace belongs to the lab; a namespace lives on, nameless, for as long as one process is in it.
remove_network() {
    local who ns
    for who in gateway "${lab_links[@]}"; do
        ns=$(ns_of "$who")
        ns_exists "$ns" || continue
        end_processes_in "$ns"
        # Its links go with it, whichever namespace the other end is in.
        ip netns delete "$ns" 2>/dev/null || rm -f "/run/netns/$ns"
    done
}

end_processes_in() { # NAMESPACE
    ns_works "$1" || return 0
    local pid signal tries
    for signal in TERM KILL; do
        for ((tries = 0; tries < 20; tries++)); do
            local -a pids=()
            # Not this script, nor the shell it was called from, should that stand in a lab's namespace.
            for pid in $(ip netns pids "$1"); do
                if ((pid != $$ && pid != PPID)) && alive "$pid"; then pids+=("$pid"); fi
            done
            ((${#pids[@]})) || return 0
            if ((tries == 0)); then kill -"$signal" "${pids[@]}" 2>/dev/null || true; fi
            sleep 0.05
        done
    done
}

# A zombie whose parent does not care keeps its number, and kill -0 takes it for a living process.
alive() { # PID
    local state
    state=$(ps -o state= -p "$1" 2>/dev/null) || return 1
    [[ ${state:0:1} != Z ]]
}
