//! The namespace's device, addresses and sysctls: the same for every script, but for what it sets.

use super::{Family, Script, namespace::ip};
use anyhow::{Context, bail};
use smoltcp::phy::{Medium, TunTapInterface};
use std::fs;

/// What makes Linux predictable: nothing is remembered or limited between connections, nothing depends on the machine's memory.
const SYSCTLS: [(&str, &str); 21] = [
    ("ipv4/tcp_no_metrics_save", "1"),
    ("ipv4/tcp_ecn", "0"),
    ("ipv4/tcp_fastopen", "0"),
    ("ipv4/tcp_syncookies", "0"),
    ("ipv4/tcp_invalid_ratelimit", "0"),
    ("ipv4/tcp_moderate_rcvbuf", "0"),
    ("ipv4/tcp_autocorking", "0"),
    ("ipv4/tcp_syn_linear_timeouts", "0"),
    ("ipv4/tcp_comp_sack_nr", "0"),
    ("ipv4/tcp_rmem", "4096 131072 6291456"),
    ("ipv4/tcp_wmem", "4096 2000000 4194304"),
    ("ipv4/tcp_tw_reuse", "0"),
    ("ipv4/tcp_challenge_ack_limit", "2147483647"),
    ("ipv4/tcp_limit_output_bytes", "4194304"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/all/accept_local", "0"),
    ("ipv4/conf/all/log_martians", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/all/router_solicitations", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/all/forwarding", "0"),
];

/// Makes the namespace what `script` wants; its device comes back.
pub(super) fn apply(script: &Script, family: Family) -> anyhow::Result<TunTapInterface> {
    for (name, value) in SYSCTLS {
        sysctl(name, value)?;
    }
    let (mut mtu, mut route) = (1500, String::new());
    for (name, value) in &script.settings {
        let switch = || match &**value {
            "on" => Ok("1"),
            "off" => Ok("0"),
            _ => bail!("set {name}: on or off"),
        };
        match &**name {
            "mss" => mtu = value.parse::<u32>().context("set mss")? + if family == Family::Ipv4 { 40 } else { 60 },
            "window" => route.push_str(&format!(" window {value}")),
            "timestamps" => sysctl("ipv4/tcp_timestamps", switch()?)?,
            "sack" => sysctl("ipv4/tcp_sack", switch()?)?,
            "dsack" => sysctl("ipv4/tcp_dsack", switch()?)?,
            "wscale" => sysctl("ipv4/tcp_window_scaling", switch()?)?,
            "ecn" if value == "passive" => sysctl("ipv4/tcp_ecn", "2")?,
            "ecn" => sysctl("ipv4/tcp_ecn", switch()?)?,
            "syn_retries" => sysctl("ipv4/tcp_syn_retries", value)?,
            "synack_retries" => sysctl("ipv4/tcp_synack_retries", value)?,
            "retries" => sysctl("ipv4/tcp_retries2", value)?,
            "fin_timeout" => sysctl("ipv4/tcp_fin_timeout", value)?,
            "receive_buffer" => sysctl("ipv4/tcp_rmem", &format!("4096 {value} {value}"))?,
            // Without room for half-open connections there are cookies.
            "half_open" if value == "0" => sysctl("ipv4/tcp_syncookies", "2")?,
            "challenge_interval" => {
                let us: u32 = value.parse().context("set challenge_interval")?;
                sysctl("ipv4/tcp_invalid_ratelimit", &(us / 1_000).to_string())?;
            }
            "challenge_acks" => sysctl("ipv4/tcp_challenge_ack_limit", value)?,
            "kernel" => {
                let (name, value) = value.split_once('=').context("set kernel NAME=VALUE")?;
                sysctl(&name.replace('.', "/"), value)?;
            }
            // The sockets set the first; only another target knows the second.
            "congestion" | "seed" => {}
            _ => bail!("set {name}: no such option"),
        }
    }
    ip(&format!("tuntap add dev tun0 mode tun\nlink set dev tun0 mtu {mtu} addrgenmode none"))?;
    // A device that is up before someone holds it has no carrier, and the kernel takes its time to see that it has one.
    let tun = TunTapInterface::new("tun0", Medium::Ip).context("tun0")?;
    ip(&format!(
        "link set dev lo up
         link set dev tun0 up
         addr add 10.7.0.1/32 dev tun0
         addr add fd07::1/128 dev tun0 nodad
         route add 10.7.0.0/24 dev tun0 src 10.7.0.1{route}
         route add fd07::/64 dev tun0 src fd07::1{route}"
    ))?;
    Ok(tun)
}

fn sysctl(name: &str, value: &str) -> anyhow::Result<()> {
    fs::write(format!("/proc/sys/net/{name}"), value).with_context(|| format!("net/{name} = {value}"))
}
