//! What segments out of order cost, from a client that means harm: ten thousand single bytes, each after a hole of its own, in several orders;
//! beside single bytes in order.

use super::{
    exchange::Clock,
    peer::{BURST, Peer, Server},
};
use weirgate_bench::{Figure, median};
use weirgate_dataplane::time::Duration;

const CONNECTIONS: u32 = 32;
/// Of each connection. Every other byte of a window: 20,000 bytes, which any window holds.
const SEGMENTS: u32 = 10_000;

/// Which segment comes as the n-th.
const ORDERS: [(&str, fn(u32) -> u32); 4] = [
    ("ascending", |n| n),
    ("descending", |n| SEGMENTS - 1 - n),
    ("from both ends", |n| if n % 2 == 0 { n / 2 } else { SEGMENTS - 1 - n / 2 }),
    // 7,919 has no divisor in common with 10,000: every segment once.
    ("scattered", |n| n * 7_919 % SEGMENTS),
];

pub(super) fn measure<S: Server>(mut server: impl FnMut() -> S) -> anyhow::Result<Vec<Figure>> {
    let in_order = cost(&mut server(), |n| n)?;
    let mut worst = ("", 0.0);
    for (name, order) in ORDERS {
        // The first byte after the hole at the front, which stays.
        let ns = cost(&mut server(), |n| 1 + 2 * order(n))?;
        eprintln!("out of order, {name}: {ns:.1} ns a segment");
        if ns > worst.1 {
            worst = (name, ns);
        }
    }
    Ok(vec![
        Figure::at_most("tcp.hostile_ooo_vs_inorder", worst.1 / in_order, "ratio", 10.0),
        Figure::shown("tcp.hostile_ooo_ns", worst.1, "ns"),
        Figure::shown("tcp.inorder_ns", in_order, "ns"),
    ])
}

/// Nanoseconds of a segment of one byte, `offset(n)` bytes after what the client has sent; the median of the connections.
fn cost(server: &mut impl Server, offset: impl Fn(u32) -> u32) -> anyhow::Result<f64> {
    let mut clock = Clock::start();
    let mut peer = Peer::new(0..CONNECTIONS, 1);
    peer.connect(&mut clock, Duration::ZERO, server)?;
    peer.exchange(clock.now(), server)?;
    let mut costs = Vec::new();
    for client in 0..CONNECTIONS as usize {
        let mut spent_ns = 0;
        for first in (0..SEGMENTS).step_by(BURST) {
            let now = clock.now();
            let packets: Vec<Vec<u8>> =
                (first..SEGMENTS.min(first + BURST as u32)).map(|n| peer.byte(client, now, offset(n))).collect();
            let arrived: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            let from = clock.now();
            server.turn(from, &arrived, &mut |_| {});
            spent_ns += clock.now().since(from).as_ns();
        }
        costs.push(spent_ns as f64 / f64::from(SEGMENTS));
    }
    Ok(median(costs).unwrap_or(f64::NAN))
}
