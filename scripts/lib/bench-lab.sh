# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# bench lab: HTTP requests per second of proxy core. Sourced by ./scripts/bench, which sets $root, $work, $rounds, $seconds, $json.
#
#     core 1: wrk, 64 connections        core 0: A: HAProxy, one thread, in namespace weir-bench-haproxy, 10.77.0.20
#     core 1: three nginx                        B: Weirgate, one worker, on gw0 of the lab, 10.77.0.10
#
# wrk and nginx share a core and may be the limit; therefore the figure is what a request costs the proxy: requests by seconds that the
# proxy's process ran. What the kernel does on the proxy's core for packets, outside of any process, shows as core 0's busy time.

readonly lab_on=(--name bench) lab_dir=/run/weirgate/lab-bench ns_haproxy=weir-bench-haproxy ns_bench_gateway=weir-bench-gateway
haproxy_pid='' lab_stands=''

bench_lab() {
    local round side proxy bin=${WEIRGATE_BIN_DIR:-$root/target/release}
    lab_stands=yes
    "$root/scripts/lab" up "${lab_on[@]}" --device "$device" --backends
    pin_backends
    start_haproxy
    write_wrk_report
    for side in haproxy weirgate; do run_wrk "$side" 1 >/dev/null; done # connections and caches are warm
    printf '%-6s %-9s %12s %8s %9s %9s %11s %11s %16s\n' round proxy requests/s errors 'p50 us' 'p99 us' 'proxy CPU s' 'core 0 s' 'requests/CPU s'
    for ((round = 1; round <= rounds; round++)); do
        for side in haproxy weirgate; do
            run_wrk "$side" "${seconds:-10}" >"$work/run"
            # shellcheck disable=SC2046 # one word each
            printf '%-6s %-9s %12s %8s %9s %9s %11s %11s %16s\n' "$round" "$side" $(<"$work/run")
            cut -d' ' -f7 "$work/run" >>"$work/$side"
            cut -d' ' -f1 "$work/run" >>"$work/$side.rate"
            cut -d' ' -f2 "$work/run" >>"$work/errors"
        done
    done
    end_lab
    for side in haproxy weirgate; do
        printf 'median of %s: %s requests/s\n' "$side" "$(sort -n "$work/$side.rate" | sed -n "$(((rounds + 1) / 2))p")"
    done
    "$bin/weirgate-bench" figures --name lab.requests_per_core_vs_haproxy --unit 'requests/CPU s' \
        --ours "$work/weirgate" --theirs "$work/haproxy" ${json:+--json "$json"}
    ! grep -qvx 0 "$work/errors" || die "requests failed, see the column of errors" "a rate with errors in it is no rate"
}

pin_backends() {
    local n pid
    for n in 1 2 3; do
        for pid in $(<"$lab_dir/backend-$n/nginx.pid") $(pgrep -P "$(<"$lab_dir/backend-$n/nginx.pid")"); do
            taskset -pc 1 "$pid" >/dev/null
        done
    done
}

# On the same bridge. Its link keeps the kernel's offloads, in its favour.
start_haproxy() {
    ip netns add "$ns_haproxy"
    ip -n "$ns_haproxy" link set lo up
    ip -n "$ns_bench_gateway" link add name port-haproxy type veth peer name eth0 netns "$ns_haproxy"
    ip -n "$ns_bench_gateway" link set port-haproxy master br0 up
    ip -n "$ns_haproxy" address add 10.77.0.20/24 dev eth0
    ip -n "$ns_haproxy" link set eth0 up
    # -db: in the foreground, one process.
    ip netns exec "$ns_haproxy" taskset -c 0 haproxy -db -f "$root/bench/peers/haproxy.cfg" </dev/null >"$work/haproxy.log" 2>&1 &
    haproxy_pid=$!
    local deadline=$((SECONDS + 10))
    until "$root/scripts/lab" exec "${lab_on[@]}" client curl -sf -o /dev/null --max-time 1 http://10.77.0.20/; do
        kill -0 "$haproxy_pid" 2>/dev/null && ((SECONDS < deadline)) || {
            cat "$work/haproxy.log" >&2
            die "HAProxy does not answer" "its log is above"
        }
        sleep 0.05
    done
}

# A line that a script can read, in place of wrk's report for people: requests, microseconds, errors, p50 and p99 in microseconds.
write_wrk_report() {
    cat >"$work/report.lua" <<'LUA'
done = function(summary, latency)
    local e = summary.errors
    io.write(string.format("report %d %d %d %d %d\n", summary.requests, summary.duration,
        e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
LUA
}

# Prints: requests/s, errors, p50 and p99 in microseconds, CPU seconds of the proxy, busy seconds of core 0, requests per CPU second.
run_wrk() { # haproxy|weirgate SECONDS
    local address pid cpu core
    case $1 in
        haproxy) address=10.77.0.20 pid=$haproxy_pid ;;
        weirgate) address=10.77.0.10 pid=$(<"$lab_dir/dataplane.pid") ;;
    esac
    cpu=$(ticks_of "$pid") core=$(busy_ticks_of_core_0)
    "$root/scripts/lab" exec "${lab_on[@]}" client \
        taskset -c 1 wrk -t1 -c64 -d"$2" -s "$work/report.lua" "http://$address/" >"$work/wrk.log" 2>&1 || {
        cat "$work/wrk.log" >&2
        die "wrk failed against $1" "what it says is above"
    }
    cpu=$(($(ticks_of "$pid") - cpu)) core=$(($(busy_ticks_of_core_0) - core))
    awk -v cpu="$cpu" -v core="$core" -v hz="$(getconf CLK_TCK)" '$1 == "report" {
        printf "%.0f %d %d %d %.2f %.2f %.0f\n", $2 / ($3 / 1e6), $4, $5, $6, cpu / hz, core / hz, cpu ? ($2 - $4) / (cpu / hz) : 0
        found = 1
    } END { exit !found }' "$work/wrk.log" || die "wrk gave no report" "its output: $(<"$work/wrk.log")"
}

# User and system time of all threads. The name in the second field may hold spaces: what follows its bracket is counted from the third.
ticks_of() { # PID
    sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'
}
# All but idle and waiting for disks, interrupts' time included.
busy_ticks_of_core_0() { awk '$1 == "cpu0" { print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }

end_lab() {
    if [[ $haproxy_pid ]]; then
        kill -TERM "$haproxy_pid" 2>/dev/null || true
        wait "$haproxy_pid" 2>/dev/null || true
        haproxy_pid=''
    fi
    ip netns delete "$ns_haproxy" 2>/dev/null || true
    "$root/scripts/lab" down "${lab_on[@]}"
    lab_stands=''
}
