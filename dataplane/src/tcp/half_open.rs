//! Connections whose handshake is not over (SYN-RECEIVED after a passive open): small records under a bound, answered again on time.
//!
//! Every record waits equally long for its first repetition, for its second, and so on. So there is a queue for each number of repetitions,
//! oldest first, and no timer for any record.

use super::{seq::Seq, stamp::Stamp, table::FlowKey};
use crate::{
    net::InterfaceIndex,
    time::{Duration, Instant},
};
use std::collections::VecDeque;

/// What a peer's SYN says that it can do, as far as we shall use it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Offer {
    /// Payload of the largest segment that the peer takes.
    pub(super) mss: u16,
    /// Its window scale; `None`: no scaling, neither way.
    pub(super) wscale: Option<u8>,
    pub(super) sack: bool,
    pub(super) ecn: bool,
    pub(super) timestamps: bool,
}

impl Default for Offer {
    /// A peer that says nothing of IPv4.
    fn default() -> Self {
        Self { mss: 536, wscale: None, sack: false, ecn: false, timestamps: false }
    }
}

/// One half-open connection.
#[derive(Clone, Copy)]
pub(super) struct HalfOpen {
    pub(super) key: FlowKey,
    pub(super) irs: Seq,
    pub(super) iss: Seq,
    /// The peer's last timestamp.
    pub(super) ts_recent: u32,
    pub(super) ts_offset: u32,
    pub(super) sent_at: Stamp,
    /// When its SYN last came, or an acknowledgment of ours that says no more.
    pub(super) heard_at: Stamp,
    /// No challenge before that.
    pub(super) challenge_at: Stamp,
    pub(super) offer: Offer,
    pub(super) listener: u16,
    pub(super) interface: InterfaceIndex,
    /// How often the SYN-ACK was repeated.
    pub(super) repeats: u8,
    /// Tells a record from the next one in its place.
    generation: u32,
    used: bool,
}

impl HalfOpen {
    #[allow(clippy::too_many_arguments)] // each is a different thing, and the record is made in one place
    pub(super) fn new(
        key: FlowKey,
        irs: Seq,
        iss: Seq,
        ts_recent: u32,
        ts_offset: u32,
        offer: Offer,
        listener: u16,
        interface: InterfaceIndex,
        now: Stamp,
    ) -> Self {
        let (repeats, generation, used) = (0, 0, true);
        let challenge_at = now;
        Self {
            key,
            irs,
            iss,
            ts_recent,
            ts_offset,
            sent_at: now,
            heard_at: now,
            challenge_at,
            offer,
            listener,
            interface,
            repeats,
            generation,
            used,
        }
    }
}

impl HalfOpen {
    /// Whether this is the record of a flow, and not one that was forgotten.
    #[inline]
    pub(super) fn is_of(&self, key: &FlowKey) -> bool {
        self.used && self.key == *key
    }
}

/// rfc6298 2.1 and 5.5: one second, then twice as long each time: 1, 2, 4, 8, 16 s; 31 s in all before the record is given up.
const REPEATS_MAX: usize = 4;
/// The longest of these waits.
const REPEAT_WAIT_MAX_US: u32 = 1_000_000 << REPEATS_MAX;

/// Every half-open connection of a worker.
pub(super) struct HalfOpens {
    records: Vec<HalfOpen>,
    free: Vec<u32>,
    /// By repetitions so far: who is due, and when.
    due: [VecDeque<(Instant, u32, u32)>; REPEATS_MAX + 1],
    /// Nobody is due before.
    next_at: Instant,
    max: usize,
}

/// Entries of all queues together.
const fn dues_max(max: usize) -> usize {
    2 * max + 16
}

/// Bytes that so many records take at most, with their places in the queues.
pub(super) const fn bytes(max: usize) -> usize {
    max * size_of::<HalfOpen>() + (REPEATS_MAX + 1) * dues_max(max) * size_of::<(Instant, u32, u32)>()
}

/// What a record that is due wants.
pub(super) enum Due {
    /// Its SYN-ACK again.
    Repeat(u32),
    /// To be forgotten.
    GiveUp(u32),
}

impl HalfOpens {
    pub(super) fn new(max: usize) -> Self {
        Self {
            records: Vec::with_capacity(max),
            free: Vec::with_capacity(max),
            due: Default::default(),
            next_at: Instant::NEVER,
            max,
        }
    }
    pub(super) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }
    /// Whether no more can be remembered. Those that were removed leave something behind until their time is over.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max || self.dues() >= dues_max(self.max)
    }
    /// Entries in the queues.
    pub(super) fn dues(&self) -> usize {
        self.due.iter().map(VecDeque::len).sum()
    }
    pub(super) fn record(&self, index: u32) -> &HalfOpen {
        &self.records[index as usize]
    }
    pub(super) fn record_mut(&mut self, index: u32) -> &mut HalfOpen {
        &mut self.records[index as usize]
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = &HalfOpen> {
        self.records.iter().filter(|record| record.used)
    }

    /// Remembers one more; there must be room.
    pub(super) fn insert(&mut self, now: Instant, mut record: HalfOpen) -> u32 {
        assert!(!self.is_full(), "whoever inserts has looked");
        let index = self.free.pop().unwrap_or(self.records.len() as u32);
        if let Some(old) = self.records.get_mut(index as usize) {
            record.generation = old.generation;
            *old = record;
        } else {
            self.records.push(record);
        }
        self.queue(now, index);
        index
    }

    fn queue(&mut self, now: Instant, index: u32) {
        let record = &self.records[index as usize];
        let wait = Duration::from_secs(1 << record.repeats);
        self.due[usize::from(record.repeats)].push_back((now + wait, index, record.generation));
        self.next_at = self.next_at.min(now + wait);
    }

    /// Forgets one. Its place in a queue is found stale later.
    pub(super) fn remove(&mut self, index: u32) -> HalfOpen {
        let record = &mut self.records[index as usize];
        record.used = false;
        record.generation = record.generation.wrapping_add(1);
        self.free.push(index);
        *record
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.due.iter().filter_map(|queue| queue.front()).map(|(at, ..)| *at).min().unwrap_or(Instant::NEVER)
    }

    /// The next record that is due. One to be repeated is queued for its next time.
    #[inline]
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Due> {
        if now < self.next_at {
            return None;
        }
        let due = self.pop_from_queues(now);
        self.next_at = if due.is_some() { now } else { self.next_deadline() };
        due
    }

    fn pop_from_queues(&mut self, now: Instant) -> Option<Due> {
        for repeats in 0..self.due.len() {
            while let Some(&(at, index, generation)) = self.due[repeats].front() {
                if at > now {
                    break;
                }
                self.due[repeats].pop_front();
                let record = &mut self.records[index as usize];
                if !record.used || record.generation != generation {
                    continue;
                }
                if repeats == REPEATS_MAX {
                    // A peer that was heard since the last repetition waits for an answer, and would be refused if it were forgotten now.
                    if Stamp::of(now).since(record.heard_at) < REPEAT_WAIT_MAX_US {
                        self.queue(now, index);
                        return Some(Due::Repeat(index));
                    }
                    return Some(Due::GiveUp(index));
                }
                record.repeats += 1;
                self.queue(now, index);
                return Some(Due::Repeat(index));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(port: u16) -> HalfOpen {
        let key = FlowKey::new("10.0.0.1".parse().unwrap(), 80, "10.0.0.2".parse().unwrap(), port);
        HalfOpen::new(key, Seq(1), Seq(2), 0, 0, Offer::default(), 0, InterfaceIndex(0), Stamp(0))
    }
    fn at(s: u64) -> Instant {
        Instant::from_ns(s * 1_000_000_000)
    }

    #[test]
    fn repeated_with_growing_distance_then_given_up() {
        let mut half_opens = HalfOpens::new(2);
        half_opens.insert(at(0), record(1));
        let mut seen = Vec::new();
        for _ in 0..10 {
            let now = half_opens.next_deadline();
            if now == Instant::NEVER {
                break;
            }
            match half_opens.pop_due(now) {
                Some(Due::Repeat(_)) => seen.push(now.as_ns() / 1_000_000_000),
                Some(Due::GiveUp(index)) => {
                    seen.push(now.as_ns() / 1_000_000_000);
                    half_opens.remove(index);
                }
                None => {}
            }
        }
        assert_eq!(seen, [1, 3, 7, 15, 31]);
        assert_eq!(half_opens.len(), 0);
    }

    #[test]
    fn whoever_asks_again_is_not_forgotten() {
        let mut half_opens = HalfOpens::new(1);
        let index = half_opens.insert(at(0), record(1));
        while half_opens.next_deadline() < at(31) {
            half_opens.pop_due(half_opens.next_deadline());
        }
        half_opens.record_mut(index).heard_at = Stamp::of(at(30));
        assert!(matches!(half_opens.pop_due(at(31)), Some(Due::Repeat(i)) if i == index));
        assert!(matches!(half_opens.pop_due(at(47)), Some(Due::GiveUp(i)) if i == index));
    }

    #[test]
    fn a_place_that_was_given_away_is_not_due_for_the_old_record() {
        let mut half_opens = HalfOpens::new(1);
        let index = half_opens.insert(at(0), record(1));
        assert!(half_opens.is_full());
        half_opens.remove(index);
        assert_eq!(half_opens.insert(at(5), record(2)), index);
        assert!(half_opens.pop_due(at(5)).is_none());
        assert!(matches!(half_opens.pop_due(at(6)), Some(Due::Repeat(i)) if i == index));
    }
}
