# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# The lab's data plane, alone or under the control daemon: its configuration, its start until it is ready, its end. Sourced by ./scripts/lab, which sets
# $name, $dir (the run directory) and $bin (the folder of the binaries).
#
# The run directory ($dir) holds all that a lab leaves on disk: lab.yaml, snapshot.json, counters, dataplane.log, dataplane.pid, what DPDK
# writes (dpdk/), and with a daemon control.log, control.pid, admin.sock and its revisions (state/). Taking it away takes all of it away.

# Until the first frame can pass: memory for the pools, probing, links. Seconds; a loaded machine takes 3.
readonly ready_within=30
# After SIGTERM, before SIGKILL.
readonly end_within=10

# The cores that this process may use, one a line: in a container they need not begin at 0.
allowed_cores() {
    local part
    for part in $(sed -n 's/^Cpus_allowed_list://p' /proc/self/status | tr ',' ' '); do
        seq "${part%-*}" "${part#*-}"
    done
}

# N workers on as many cores as there are, going round: several on one core is slow, and right for seeing what several workers do.
cores_of() { # N
    local -a cores
    mapfile -t cores < <(allowed_cores)
    local i list=''
    for ((i = 0; i < $1; i++)); do list+="${list:+, }${cores[i % ${#cores[@]}]}"; done
    echo "$list"
}

has_dataplane_block() { grep -qE '^dataplane:' "$1"; }

# Of a file with a dataplane block of its own, the lab must know the device that it is to make ready, and how many queues. A reading
# of these two lines, not of YAML: the data plane checks the rest, and says what does not fit.
device_in() { grep -oE '(af_xdp|af_packet|tap):gw0' "$1" | head -n 1 | cut -d: -f1; }
workers_in() { sed -nE 's/^ +cores: *\[([^]]*)\].*/\1/p' "$1" | head -n 1 | awk -F, '{ print NF }'; }

write_lab_yaml() { # DEVICE WORKERS FILE
    cat >"$3" <<YAML
apiVersion: weirgate/v1
kind: GatewayConfig
metadata: {name: lab}
dataplane:
  cores: [$(cores_of "$2")]
  polling: adaptive
  ports:
  - {name: p0, device: "$1:gw0", addresses: [10.77.0.10/24, fd77::10/64]}
YAML
}

has_listeners() { grep -qE '^listeners:' "$1"; }

# Services of the data plane itself, and a gateway before the three backends. The demo and the bench send requests to all of it.
write_services_yaml() { # FILE
    cat >"$1" <<'YAML'
apiVersion: weirgate/v1
kind: GatewayConfig
listeners:
- {name: echo, port: 7, protocol: TCP, service: echo}
- {name: discard, port: 9, protocol: TCP, service: discard}
- {name: quote, port: 17, protocol: TCP, service: quote}
- {name: chargen, port: 19, protocol: TCP, service: chargen}
YAML
}

# Requests and bytes over the backends.
write_web_yaml() { # FILE
    cat >"$1" <<'YAML'
apiVersion: weirgate/v1
kind: GatewayConfig
listeners:
- {name: web, port: 80, protocol: HTTP}
- {name: only-shop, port: 8081, protocol: HTTP}
- {name: bytes, port: 8080, protocol: TCP}
routes:
- kind: HTTPRoute
  name: any-host
  parentRefs: [{name: web}]
  rules:
  - name: one
    matches: [{path: {type: PathPrefix, value: /one}}]
    filters:
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}
    backendRefs: [{name: one}]
  - name: teapot
    matches: [{path: {type: Exact, value: /teapot}}]
    filters:
    - {type: DirectResponse, directResponse: {statusCode: 418, body: "short and stout\n"}}
  - name: all
    matches: [{path: {type: PathPrefix, value: /}}]
    backendRefs: [{name: all}]
- kind: HTTPRoute
  name: shop
  parentRefs: [{name: web}, {name: only-shop}]
  hostnames: [shop.example]
  rules:
  - name: cart
    matches: [{path: {type: PathPrefix, value: /cart}}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-env, value: lab}]}}
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /headers}}}
    backendRefs: [{name: two}]
  - name: basket
    matches: [{path: {type: PathPrefix, value: /basket}}]
    filters:
    - {type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /cart}, statusCode: 308}}
  - name: canary
    matches: [{path: {type: PathPrefix, value: /canary}}]
    backendRefs: [{name: one, weight: 90}, {name: two, weight: 10}]
- kind: TCPRoute
  name: bytes
  parentRefs: [{name: bytes}]
  rules:
  - backendRefs: [{name: all}]
backends:
- {name: all, discovery: {static: ["10.77.0.11:8080", "10.77.0.12:8080", "10.77.0.13:8080"]}}
- {name: one, discovery: {static: ["10.77.0.11:8080"]}}
- {name: two, discovery: {static: ["[fd77::12]:8080"]}}
YAML
}

# Where the daemon of this lab is asked.
write_admin_yaml() { # FILE
    cat >"$1" <<YAML
apiVersion: weirgate/v1
kind: GatewayConfig
admin: {socket: "unix://$dir/admin.sock"}
YAML
}

# With or without a file of the user's; the lab's own dataplane block and its services are added where that has none. Sets files.
choose_files() { # DEVICE WORKERS CONFIG
    local device=$1 workers=$2 config=$3
    files=()
    if [[ ! $config ]] || ! has_dataplane_block "$config"; then
        write_lab_yaml "$device" "$workers" "$dir/lab.yaml"
        files+=("$dir/lab.yaml")
    fi
    if [[ ! $config ]] || ! has_listeners "$config"; then
        write_services_yaml "$dir/services.yaml"
        files+=("$dir/services.yaml")
        # Both legs of a request belong to one worker, and no device of a lab tells which queue an answer will arrive on.
        if ((workers == 1)); then
            write_web_yaml "$dir/web.yaml"
            files+=("$dir/web.yaml")
        else
            say "with $workers workers on $device the lab serves no HTTP, only its small TCP services"
        fi
    fi
    if [[ $config ]]; then files+=("$config"); fi
}

compile_snapshot() {
    "$bin/weirgate" compile "${files[@]}" -o "$dir/snapshot.json" >"$dir/compile.log" 2>&1 || {
        cat "$dir/compile.log" >&2
        die "weirgate compile refuses ${files[*]}" "mend what it says above, then ./scripts/lab up again"
    }
}

start_dataplane() { # OPTION..
    local ns pid
    ns=$(ns_of gateway)
    # A session of its own: Ctrl-C at the terminal is for the script, which then ends the data plane in order. RUNTIME_DIRECTORY is
    # where DPDK puts its files; by default they stay behind in /var/run/dpdk. Descriptor 9 is the lab's lock, which must not outlive
    # the script in a child.
    RUNTIME_DIRECTORY=$dir setsid ip netns exec "$ns" \
        "$bin/weirgate-dataplane" --snapshot "$dir/snapshot.json" --run-dir "$dir" "$@" \
        </dev/null >"$dir/dataplane.log" 2>&1 9>&- &
    pid=$!
    echo "$pid" >"$dir/dataplane.pid"
    disown "$pid"
}

# The daemon, which starts the data plane and looks after it.
start_control() { # OPTION..
    local ns pid option
    local -a told=()
    ns=$(ns_of gateway)
    write_admin_yaml "$dir/admin.yaml"
    for option; do told+=(--dataplane-arg "$option"); done
    RUNTIME_DIRECTORY=$dir setsid ip netns exec "$ns" \
        "$bin/weirgate-control" --config "${files[@]}" "$dir/admin.yaml" --state-dir "$dir/state" --run-dir "$dir" \
        --dataplane "$bin/weirgate-dataplane" --dataplane-log "$dir/dataplane.log" "${told[@]}" \
        </dev/null >"$dir/control.log" 2>&1 9>&- &
    pid=$!
    echo "$pid" >"$dir/control.pid"
    disown "$pid"
}

# It says that it is ready when a data plane serves what the files say.
await_control() {
    local pid deadline=$((SECONDS + ready_within))
    pid=$(<"$dir/control.pid")
    until curl -fsS --max-time 5 --unix-socket "$dir/admin.sock" http://weirgate/readyz >/dev/null 2>&1; do
        alive "$pid" || { show_log control; die "the control daemon ended before it was ready" "the last lines of its log are above"; }
        ((SECONDS < deadline)) || {
            show_log control && show_log
            die "the control daemon was not ready after $ready_within s" "the last lines of the logs are above"
        }
        sleep 0.05
    done
}

# The daemon, and not what it has started.
stop_control_alone() {
    local pid
    if [[ -s $dir/control.pid ]]; then
        pid=$(<"$dir/control.pid")
        if grep -qxzF -- "$dir" "/proc/$pid/cmdline" 2>/dev/null; then kill -KILL "$pid" 2>/dev/null || true; fi
        while alive "$pid" && grep -qxzF -- "$dir" "/proc/$pid/cmdline" 2>/dev/null; do sleep 0.02; done
        rm -f "$dir/control.pid"
    fi
}

# The daemon ends its data plane, too; and if it does not, stop_dataplane does.
stop_control() {
    local pid deadline
    [[ -s $dir/control.pid ]] || return 0
    pid=$(<"$dir/control.pid")
    if grep -qxzF -- "$dir" "/proc/$pid/cmdline" 2>/dev/null; then
        kill -TERM "$pid" 2>/dev/null || true
        deadline=$((SECONDS + end_within))
        while alive "$pid"; do
            if ((SECONDS >= deadline)); then
                warn "the control daemon does not end $end_within s after SIGTERM; killing it"
                kill -KILL "$pid" 2>/dev/null || true
                break
            fi
            sleep 0.05
        done
    fi
    rm -f "$dir/control.pid"
}

# The counters' file appears by a rename once all ports are up: nothing half-made can be taken for ready.
await_dataplane() {
    local pid deadline=$((SECONDS + ready_within))
    pid=$(<"$dir/dataplane.pid")
    until [[ -e $dir/counters ]]; do
        # By number alone: between fork and exec it does not yet bear the name that dataplane_pid looks for.
        alive "$pid" || { show_log; die "the data plane ended before it was ready" "the last lines of its log are above"; }
        ((SECONDS < deadline)) || { show_log; die "the data plane was not ready after $ready_within s" "the last lines of its log are above"; }
        sleep 0.05
    done
    alive "$pid" || { show_log; die "the data plane ended as soon as it was ready" "the last lines of its log are above"; }
}

show_log() { # [control]
    local log=${1:-dataplane}.log
    complain "the last lines of $log:"
    tail -n 25 "$dir/$log" 2>/dev/null | sed 's/^/  | /' >&2
}

# The process of the pid file, if it is still the one: after a crash the number may be another's. The run directory among its
# arguments is the proof (a zombie has none).
dataplane_pid() {
    local pid
    [[ -s $dir/dataplane.pid ]] || return 1
    # The daemon writes when it was started behind it.
    read -r pid _ <"$dir/dataplane.pid" || true
    [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
    grep -qxzF -- "$dir" "/proc/$pid/cmdline" 2>/dev/null || return 1
    echo "$pid"
}

stop_dataplane() {
    local pid deadline
    if pid=$(dataplane_pid); then
        kill -TERM "$pid" 2>/dev/null || true
        deadline=$((SECONDS + end_within))
        while dataplane_pid >/dev/null; do
            if ((SECONDS >= deadline)); then
                warn "the data plane does not end $end_within s after SIGTERM; killing it"
                kill -KILL "$pid" 2>/dev/null || true
                break
            fi
            sleep 0.05
        done
    fi
    rm -f "$dir/dataplane.pid"
}
