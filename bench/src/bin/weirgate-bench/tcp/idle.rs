//! What an idle connection takes of memory: a million of them, established, each having exchanged once, the response
//! acknowledged, then silent.

use super::{
    exchange::Clock,
    peer::{Peer, Server},
};
use anyhow::Context;
use std::fs;
use weirgate_dataplane::time::Duration;

const CONNECTIONS: u32 = 1_000_000;
/// After the last exchange; whatever a connection needs for a while is gone by then.
const SILENCE: Duration = Duration::from_secs(10);

/// Resident bytes of a connection: all that the server has grown by since before it was there, its tables included.
pub(super) fn bytes<S: Server>(server: impl FnOnce() -> S) -> anyhow::Result<f64> {
    let mut clock = Clock::start();
    let mut peer = Peer::new(0..CONNECTIONS, 1);
    let before = resident()?;
    let mut server = server();
    peer.connect(&mut clock, Duration::ZERO, &mut server)?;
    let mut exchanged = 0;
    while exchanged < peer.count() {
        exchanged += peer.exchange(clock.now(), &mut server)?;
        peer.acknowledge(clock.now(), &mut server);
    }
    // Timers in the order and at the pace that a worker sees.
    let mut now = clock.now();
    let silent = now + SILENCE;
    while now < silent {
        now = now + Duration::from_ms(1);
        server.turn(now, &[], &mut |_| {});
    }
    let after = resident()?;
    drop((server, peer));
    Ok((after - before) as f64 / f64::from(CONNECTIONS))
}

/// Bytes of this process that are in memory, hugepages not counted.
pub(crate) fn resident() -> anyhow::Result<i64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/self/status")?;
    let kilobytes: i64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
    Ok(kilobytes * 1_024)
}
