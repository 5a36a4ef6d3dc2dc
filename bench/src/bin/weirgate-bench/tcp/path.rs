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
        let waits = u128::from(self.free_at.since(now).as_ns()) * u128::from(self.options.rate) / 8_000_000_000;
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

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: PathOptions =
        PathOptions { delay: Duration::from_ms(10), rate: 8_000_000, queue: 2_500, loss_ppm: 0, seed: 1 };

    /// 1,000 bytes, of which all after 40 are payload: a millisecond at the rate above.
    fn data(mark: u8) -> Vec<u8> {
        let mut packet = vec![mark; 1_000];
        packet[0] = 0x45;
        packet[32] = 0x50;
        packet
    }

    fn arrived(path: &mut Path, at: Instant) -> Vec<u8> {
        let mut marks = Vec::new();
        path.due(at, |packet| marks.push(packet[999]));
        marks
    }

    #[test]
    fn packets_take_their_time_at_the_bottleneck_and_the_delay() {
        let mut path = Path::new(OPTIONS);
        let start = Instant::from_ns(5);
        path.offer(start, &data(1));
        path.offer(start, &data(2));
        assert_eq!(arrived(&mut path, start + Duration::from_us(10_999)), [0; 0]);
        assert_eq!(arrived(&mut path, start + Duration::from_ms(11)), [1]);
        assert_eq!(arrived(&mut path, start + Duration::from_ms(12)), [2]);
    }

    #[test]
    fn a_full_queue_drops_the_newest() {
        let mut path = Path::new(OPTIONS);
        for mark in 0..4 {
            path.offer(Instant::from_ns(5), &data(mark));
        }
        assert_eq!(path.counts.overflowed, 2);
        assert_eq!(arrived(&mut path, Instant::from_ns(1_000_000_000)), [0, 1]);
    }

    #[test]
    fn equal_seeds_lose_the_same_packets_and_only_such_with_payload() {
        let lossy = PathOptions { queue: usize::MAX, loss_ppm: 300_000, ..OPTIONS };
        let survivors = |acks: bool| {
            let mut path = Path::new(lossy);
            for mark in 0..100 {
                if acks {
                    path.offer(Instant::ZERO, &data(mark)[..40]);
                }
                path.offer(Instant::ZERO, &data(mark));
            }
            let mut marks: Vec<u8> = Vec::new();
            path.due(Instant::NEVER, |packet| marks.extend(packet.get(999)));
            marks
        };
        assert_eq!(survivors(false), survivors(true));
        assert!((50..90).contains(&survivors(false).len()));
    }
}
