# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What every script here needs before it can begin: words to the operator, packages, hugepages, binaries. Sourced, never run; it
# expects `set -euo pipefail` of its caller and changes nothing until a function is called.

root=$(realpath "${BASH_SOURCE[0]%/*}/../..")
self=${self:-${0##*/}}
readonly root

say() { printf '%s\n' "$*"; }
warn() { printf '%s: warning: %s\n' "$self" "$*" >&2; }
# The first line says what is wrong, the others what to do about it.
complain() { printf '%s: %s\n' "$self" "$1" >&2; shift; for line; do printf '  %s\n' "$line" >&2; done; }
die() { complain "$@"; exit 1; }
wrong() { complain "$1" "try: ./scripts/$self --help"; exit 2; }

# An option at the end of the line has lost its value.
need_value() { (($# >= 2)) || wrong "$1 wants a value"; }

need_root() { # WHAT-FOR
    ((EUID == 0)) || die "$1 needs root" "run it again as root, keeping your toolchain in sight:" "sudo -E env PATH=\"\$PATH\" $0"
}

# --- packages ---------------------------------------------------------------------------------------------------------------------

# arping is iputils' and not the other program of that name: the options differ (-I and -w), and the scripts use these.
readonly packages_build=(libdpdk-dev dpdk dpdk-dev pkg-config clang libclang-dev gcc g++ make)
readonly packages_run=(iproute2 iputils-ping iputils-arping ethtool nftables tcpdump procps util-linux curl nginx-light)
readonly commands_needed=(pkg-config clang gcc g++ make ip ping arping ethtool nft tcpdump pgrep flock curl nginx)

# Installs what is missing of the build's and the tests' packages, and of those that are given, and touches nothing (no index update either) when nothing is: the
# second run must work without a network.
need_packages() { # PACKAGE..
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        need_commands "$@"
        return
    fi
    local -a missing=()
    mapfile -t missing < <(missing_packages "${packages_build[@]}" "${packages_run[@]}" "$@")
    ((${#missing[@]})) || return 0

    ((EUID == 0)) || die "missing packages: ${missing[*]}" "install them: sudo apt-get install --no-install-recommends ${missing[*]}"
    say "installing ${missing[*]}"
    # Another apt may be at work (unattended upgrades on a fresh machine): wait for its lock rather than fail. --no-remove, because
    # giving up a package of the owner's for one of ours is not for a script to decide.
    local -a apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
    local log
    log=$(mktemp /tmp/weirgate-packages.XXXXXX)
    if ! { "${apt[@]}" update && DEBIAN_FRONTEND=noninteractive without_services "${apt[@]}" install -y --no-install-recommends --no-remove "${missing[@]}"; } >"$log" 2>&1
    then
        tail -n 20 "$log" >&2
        die "apt-get could not install ${missing[*]}" "its output is in $log; settle what it says, then run this again"
    fi
    rm -f "$log"
}

# nginx and others are wanted for their programs: nothing here needs the service that their packages start, on the machine's own port 80.
# policy-rc.d is how a package asks whether it may. An owner's own one decides for itself.
without_services() (
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    "$@"
)

missing_packages() {
    local package
    for package; do
        case $package in
            # Any version serves; on a machine that has clang-17 there is no reason to add the distribution's.
            clang) any_installed clang 'clang-[0-9]*' ;;
            libclang-dev) any_installed libclang-dev 'libclang-[0-9]*-dev' ;;
            nginx-light) any_installed nginx-light nginx nginx-core nginx-full nginx-extras ;;
            *) any_installed "$package" ;;
        esac || echo "$package"
    done
}
# A package that was removed but not purged is known to dpkg and still not there: only the status tells.
any_installed() {
    local states
    # Fails as soon as one of the names is unknown, whatever it knows of the others.
    states=$(dpkg-query -W -f='${db:Status-Status}\n' "$@" 2>/dev/null) || true
    grep -qx installed <<<"$states"
}

# Elsewhere nobody can say how the packages are called, but whether their contents are there can be asked.
need_commands() { # FURTHER-COMMAND..
    local -a missing=()
    local name
    for name in "${commands_needed[@]}" "$@"; do
        command -v "$name" >/dev/null || missing+=("$name")
    done
    pkg-config --exists libdpdk 2>/dev/null || missing+=("DPDK 22.11 or newer with its pkg-config file (libdpdk.pc)")
    ((${#missing[@]})) || return 0
    complain "packages are installed for you on Debian and Ubuntu only; here these are missing:" "${missing[@]}"
    die "install them with this system's package manager, then run this again" "libclang is needed too (the bindings' generator loads it)"
}

# --- hugepages --------------------------------------------------------------------------------------------------------------------

readonly hugepages_2m=/sys/kernel/mm/hugepages/hugepages-2048kB

# Pages that need_hugepages added to the machine's, so that its caller can give them back (return_hugepages).
# shellcheck disable=SC2034 # read by the scripts that source this
hugepages_added=0

# Sees to N free hugepages of 2 MiB. Fails, with the reason on stderr, when the data plane must be started with --no-huge.
need_hugepages() { # N
    local want=$1 free total file
    free=$(hugepages_free)
    if ((free >= want)); then return 0; fi
    if [[ ! -d $hugepages_2m ]]; then
        warn "this kernel has no hugepages of 2 MiB; using --no-huge (works, but its figures mean nothing)"
        return 1
    fi
    total=$(<"$hugepages_2m/nr_hugepages")
    # /proc/sys/vm means the default size, which need not be 2 MiB: second choice, for containers whose /sys is read-only.
    for file in "$hugepages_2m/nr_hugepages" /proc/sys/vm/nr_hugepages; do
        [[ -w $file ]] || continue
        # The kernel gives what it can find in one piece and reports no shortage: read back what came of it.
        { echo $((total + want - free)) >"$file"; } 2>/dev/null || continue
        if (($(hugepages_free) >= want)); then
            hugepages_added=$((want - free))
            return 0
        fi
        { echo "$total" >"$file"; } 2>/dev/null || true
    done
    warn "no $want free hugepages of 2 MiB (free: $free), and they could not be had; using --no-huge (works, but its figures mean nothing)"
    warn "for hugepages: free some memory, or reserve them at boot (hugepages=$want on the kernel's command line)"
    return 1
}

# Free and promised to nobody.
hugepages_free() {
    [[ -d $hugepages_2m ]] || { echo 0; return; }
    echo $(($(<"$hugepages_2m/free_hugepages") - $(<"$hugepages_2m/resv_hugepages")))
}

# Subtracts rather than restores a remembered total: two labs may have added pages one after the other, and end in any order.
return_hugepages() { # N
    ((${1:-0} > 0)) || return 0
    local total file
    total=$(<"$hugepages_2m/nr_hugepages")
    for file in "$hugepages_2m/nr_hugepages" /proc/sys/vm/nr_hugepages; do
        if [[ -w $file ]] && { echo $((total > $1 ? total - $1 : 0)) >"$file"; } 2>/dev/null; then return 0; fi
    done
    warn "could not give back $1 hugepages: echo $((total > $1 ? total - $1 : 0)) > $hugepages_2m/nr_hugepages"
}

# --- binaries ---------------------------------------------------------------------------------------------------------------------

# Runs a command whose output is of interest only when it fails.
quietly() { # WHAT COMMAND..
    local what=$1 log
    shift
    log=$(mktemp /tmp/weirgate-log.XXXXXX)
    say "$what"
    if ! "$@" >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        die "$what failed" "all of its output: $log"
    fi
    rm -f "$log"
}

need_cargo() {
    command -v cargo >/dev/null || die "no cargo in PATH" \
        "install a Rust toolchain (the least version is rust-version in Cargo.toml); under sudo keep your PATH: sudo -E env PATH=\"\$PATH\" $0"
}

# Builds the data plane and the commands.
build_release() {
    need_cargo
    quietly "building the data plane and the commands (some minutes the first time)" \
        cargo build --release --locked --manifest-path "$root/Cargo.toml" \
        -p weirgate-dataplane --features weirgate-dataplane/dpdk -p weirgate-control
}
