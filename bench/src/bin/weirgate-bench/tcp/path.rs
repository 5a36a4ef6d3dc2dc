//! Paths of the internet in userspace: a bottleneck with a queue, loss, delay. Two hosts stand at their ends, kernels behind TUN devices or a stack
//! that is polled in the same loop.
//!
//! ```text
//!   offer -> lost at random? -> queue full? -> [ bottleneck: bytes / rate ] -> [ delay ] -> due
//!            no more than the                   busy until `free_at`
//!            seed decides
//! ```
//!
//! Each flow has a lane of its own, one path there and one back, so that several flows are measured at the same time without meeting. Lanes with
//! equal seeds lose the same packets (the n-th with payload, whoever sends it).

use std::collections::VecDeque;
use weirgate_dataplane::time::{Duration, Instant};

#[derive(Clone, Copy)]
pub(super) struct PathOptions {
    /// One way, beside what the bottleneck takes.
    pub(super) delay: Duration,
    /// Of the bottleneck, in bits a second of IP packets.
    pub(super) rate: u64,
    /// Bytes that wait for the bottleneck at most.
    pub(super) queue: usize,
    /// Of each million packets with payload, this many are lost.
    pub(super) loss_ppm: u32,
    pub(super) seed: u64,
}

pub(super) struct Path {
    options: PathOptions,
    random: fastrand::Rng,
    /// When the bottleneck has sent everything that waits.
    free_at: Instant,
    /// What was sent or waits, with the time when it arrives, in order.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    pub(super) counts: Counts,
}

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Counts {
    pub(super) offered: u64,
    /// Lost at random.
    pub(super) lost: u64,
    /// Met a full queue.
    pub(super) overflowed: u64,
    /// Arrived late, because the loop did not run.
    pub(super) late: u64,
}

const LATE: Duration = Duration::from_ms(1);

impl Path {
    pub(super) fn new(options: PathOptions) -> Self {
        Self {
            random: fastrand::Rng::with_seed(options.seed),
            options,
            free_at: Instant::ZERO,
            under_way: VecDeque::new(),
            spare: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Takes an IP packet in.
    pub(super) fn offer(&mut self, now: Instant, packet: &[u8]) {
        self.counts.offered += 1;
        if self.options.loss_ppm > 0 && has_payload(packet) && self.random.u32(..1_000_000) < self.options.loss_ppm {
            self.counts.lost += 1;
            return;
        }
        let waits = self.free_at.since(now).as_ns() as u128 * u128::from(self.options.rate) / 8_000_000_000;
        if waits as usize + packet.len() > self.options.queue {
            self.counts.overflowed += 1;
            return;
        }
        let length = Duration::from_ns(packet.len() as u64 * 8_000_000_000 / self.options.rate);
        self.free_at = self.free_at.max(now) + length;
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(packet);
        self.under_way.push_back((self.free_at + self.options.delay, buffer));
    }

    /// Hands out what has arrived by `now`.
    pub(super) fn due(&mut self, now: Instant, mut deliver: impl FnMut(&[u8])) {
        while self.under_way.front().is_some_and(|(at, _)| *at <= now) {
            let Some((at, packet)) = self.under_way.pop_front() else { return };
            self.counts.late += u64::from(now.since(at) > LATE);
            deliver(&packet);
            self.spare.push(packet);
        }
    }
}

/// Whether an IPv4 TCP packet is more than headers.
fn has_payload(packet: &[u8]) -> bool {
    let ip = usize::from(packet[0] & 0xf) * 4;
    packet.get(ip + 12).is_some_and(|offset| packet.len() > ip + usize::from(offset >> 4) * 4)
}
