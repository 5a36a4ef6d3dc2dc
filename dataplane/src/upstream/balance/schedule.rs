//! Who is next, by when each is due (earliest deadline first): after its turn an endpoint is due again after a time that is the shorter, the
//! greater its weight. That spreads the turns of each evenly, at O(log n) a turn whatever the weights are.
//!
//! ```text
//!   weight 2    |----a----|----a----|----a----|          heap: (due, endpoint), the earliest on top
//!   weight 1    |---------b---------|---------b          parked: those that were due and not usable
//! ```
//! A parked endpoint comes back with the first choice after health has changed for the better.

use super::{EndpointSet, below, mix};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
};

#[derive(Clone, Default, Debug)]
pub(super) struct Schedule {
    /// What it was made for.
    generation: Option<u64>,
    health_version: u64,
    /// When the last one was due.
    now: u64,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    parked: Vec<u32>,
}

/// The time between two turns at weight 1.
pub(super) const TURN: u64 = 1 << 32;
/// The clock is set back when it is as late as this.
const LATE: u64 = 1 << 62;

impl Schedule {
    /// Each begins at a place of its own in its first turn, so that workers do not all begin with the same endpoint.
    pub(super) fn prepare(&mut self, set: &EndpointSet, random: u64) {
        if self.generation == Some(set.generation()) {
            return;
        }
        self.generation = Some(set.generation());
        self.health_version = set.health_version();
        self.now = 0;
        self.heap.clear();
        self.parked.clear();
        self.heap.reserve(set.len());
        self.parked.reserve(set.len());
        for index in (0..set.len()).filter(|&index| set.weight(index) > 0) {
            let turn = TURN / u64::from(set.weight(index));
            self.heap.push(Reverse((below(mix(random ^ mix(index as u64)), turn), index as u32)));
        }
    }

    /// The next one. `turn` is how long it then waits; it is less than 2^60.
    pub(super) fn next(&mut self, set: &EndpointSet, turn: impl Fn(usize) -> u64) -> Option<usize> {
        if self.health_version != set.health_version() {
            self.health_version = set.health_version();
            self.unpark(set, &turn);
        }
        if self.now > LATE {
            self.set_back();
        }
        while let Some(mut first) = self.heap.peek_mut() {
            let Reverse((due, index)) = *first;
            self.now = due;
            if !set.is_usable(index as usize) {
                self.parked.push(index);
                PeekMut::pop(first);
                continue;
            }
            *first = Reverse((due + turn(index as usize), index));
            return Some(index as usize);
        }
        None
    }

    fn unpark(&mut self, set: &EndpointSet, turn: impl Fn(usize) -> u64) {
        let Self { parked, heap, now, .. } = self;
        parked.retain(|&index| {
            let is_usable = set.is_usable(index as usize);
            if is_usable {
                heap.push(Reverse((*now + turn(index as usize), index)));
            }
            !is_usable
        });
    }

    #[cold]
    fn set_back(&mut self) {
        let by = std::mem::take(&mut self.now);
        let mut dues = std::mem::take(&mut self.heap).into_vec();
        dues.iter_mut().for_each(|Reverse((due, _))| *due -= by);
        self.heap = dues.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::Endpoint;

    #[test]
    fn the_clock_is_set_back_and_nobody_notices() {
        let endpoints = [5, 1, 3].map(|weight| Endpoint { key: u64::from(weight), weight });
        let set = EndpointSet::new(1, &endpoints, 50);
        let turn = |index| TURN / u64::from(set.weight(index));
        let (mut early, mut late) = (Schedule::default(), Schedule::default());
        early.prepare(&set, 7);
        late.prepare(&set, 7);
        late.now = LATE - 3 * TURN;
        late.heap = late.heap.drain().map(|Reverse((due, index))| Reverse((due + LATE - 3 * TURN, index))).collect();
        for _ in 0..1_000 {
            assert_eq!(early.next(&set, turn), late.next(&set, turn));
        }
        assert!(late.now < LATE / 2);
    }
}
