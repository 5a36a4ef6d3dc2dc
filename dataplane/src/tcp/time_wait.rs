//! TIME-WAIT (RFC 9293 section 3.6.1): a small record for each connection that we closed first, so that late segments of it harm no later
//! one. All wait equally long, so a queue in the order of their ends serves as their timer.

use super::{emit::Class, seq::Seq, stamp::Stamp, table::FlowKey};
use crate::{
    net::InterfaceIndex,
    time::{Duration, Instant},
};
use std::collections::VecDeque;

/// rfc9293 3.4.2, 3.6.1: twice the maximum segment lifetime. RFC 9293 puts that at two minutes; like every large stack we take 30 s.
pub(super) const TIME_WAIT: Duration = Duration::from_secs(60);

/// One connection in TIME-WAIT.
#[derive(Clone, Copy)]
pub(super) struct TimeWait {
    pub(super) key: FlowKey,
    pub(super) rcv_nxt: Seq,
    pub(super) snd_nxt: Seq,
    pub(super) window: u16,
    /// The last timestamp of the peer, where timestamps were on.
    pub(super) ts_recent: Option<u32>,
    pub(super) ts_offset: u32,
    pub(super) interface: InterfaceIndex,
    pub(super) class: Class,
    /// No acknowledgment before that.
    pub(super) challenge_at: Stamp,
    pub(super) until: Instant,
    pub(super) generation: u32,
    pub(super) used: bool,
}

impl TimeWait {
    /// Whether this is the record of a flow, and not one that was forgotten.
    #[inline]
    pub(super) fn is_of(&self, key: &FlowKey) -> bool {
        self.used && self.key == *key
    }
}

/// Every such connection of a worker.
pub(super) struct TimeWaits {
    records: Vec<TimeWait>,
    free: Vec<u32>,
    due: VecDeque<(Instant, u32, u32)>,
    max: usize,
}

impl TimeWaits {
    pub(super) fn new(max: usize) -> Self {
        Self { records: Vec::with_capacity(max), free: Vec::with_capacity(max), due: VecDeque::with_capacity(max), max }
    }
    pub(super) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }
    pub(super) fn record(&self, index: u32) -> &TimeWait {
        &self.records[index as usize]
    }
    pub(super) fn record_mut(&mut self, index: u32) -> &mut TimeWait {
        &mut self.records[index as usize]
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = &TimeWait> {
        self.records.iter().filter(|record| record.used)
    }

    /// The oldest one, if there is no room for another.
    pub(super) fn oldest_if_full(&mut self) -> Option<u32> {
        if self.len() < self.max {
            return None;
        }
        while let Some((_, index, generation)) = self.due.pop_front() {
            let record = &self.records[index as usize];
            if record.used && record.generation == generation {
                return Some(index);
            }
        }
        None
    }

    /// Remembers one more; there must be room.
    pub(super) fn insert(&mut self, mut record: TimeWait) -> u32 {
        assert!(self.len() < self.max, "whoever inserts has made room");
        record.used = true;
        let index = self.free.pop().unwrap_or(self.records.len() as u32);
        if let Some(old) = self.records.get_mut(index as usize) {
            record.generation = old.generation;
            *old = record;
        } else {
            self.records.push(record);
        }
        self.due.push_back((record.until, index, record.generation));
        index
    }

    /// The wait begins again: the peer has sent its FIN once more.
    pub(super) fn restart(&mut self, now: Instant, index: u32) {
        self.records[index as usize].until = now + TIME_WAIT; // its place in the queue is early now, and is looked at again then
    }

    pub(super) fn remove(&mut self, index: u32) {
        let record = &mut self.records[index as usize];
        record.used = false;
        record.generation = record.generation.wrapping_add(1);
        self.free.push(index);
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.due.front().map_or(Instant::NEVER, |(at, ..)| *at)
    }

    /// The next record whose time is over.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        while let Some(&(at, index, generation)) = self.due.front() {
            if at > now {
                return None;
            }
            self.due.pop_front();
            let record = &self.records[index as usize];
            if !record.used || record.generation != generation {
                continue;
            }
            if record.until > now {
                // Restarted since. The new end lies behind every other in the queue, or at most as late.
                self.due.push_back((record.until.max(now), index, generation));
                continue;
            }
            return Some(index);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(until: u64) -> TimeWait {
        TimeWait {
            key: FlowKey::new("10.0.0.1".parse().unwrap(), 80, "10.0.0.2".parse().unwrap(), 1),
            rcv_nxt: Seq(1),
            snd_nxt: Seq(1),
            window: 0,
            ts_recent: None,
            ts_offset: 0,
            interface: InterfaceIndex(0),
            class: Class::default(),
            challenge_at: Stamp(0),
            until: Instant::from_ns(until),
            generation: 0,
            used: true,
        }
    }

    #[test]
    fn they_end_in_order_and_a_restarted_one_later() {
        let mut waits = TimeWaits::new(2);
        let (a, b) = (waits.insert(record(10)), waits.insert(record(20)));
        assert_eq!(waits.next_deadline(), Instant::from_ns(10));
        waits.restart(Instant::from_ns(5), a);
        assert_eq!(waits.pop_due(Instant::from_ns(20)), Some(b));
        waits.remove(b);
        let end = Instant::from_ns(5) + TIME_WAIT;
        assert_eq!(waits.next_deadline(), end);
        assert_eq!(waits.pop_due(end), Some(a));
    }

    #[test]
    fn when_full_the_oldest_goes() {
        let mut waits = TimeWaits::new(2);
        let (a, _) = (waits.insert(record(10)), waits.insert(record(20)));
        assert_eq!(waits.oldest_if_full(), Some(a));
        waits.remove(a);
        assert_eq!(waits.oldest_if_full(), None);
    }
}
