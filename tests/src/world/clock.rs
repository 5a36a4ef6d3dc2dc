//! Time: an integer that jumps to the next event. Events at the same instant happen in the order in which they were put down.

use std::{cmp::Reverse, collections::BinaryHeap};
use weirgate_dataplane::time::Instant;

/// A host's place in the world.
pub type HostIndex = usize;
/// A link's place in the world.
pub type LinkIndex = usize;

/// What happens next.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Event {
    /// A frame comes out of a link at one of its two ends.
    Arrive {
        /// Which link.
        link: LinkIndex,
        /// 0 or 1.
        end: usize,
        /// Its bytes.
        frame: Vec<u8>,
    },
    /// A host has something to do.
    Wake(HostIndex),
    /// A link stops carrying, towards this end.
    Clog(LinkIndex, usize),
    /// It carries again.
    Clear(LinkIndex, usize),
    /// A gateway is stopped and started again.
    Restart(HostIndex),
    /// All faults end.
    Calm,
    /// From now on every question must be answered.
    Examine,
    /// Nothing more is asked.
    Rest,
    /// The world ends.
    End,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Instant,
    order: u64,
    event: Event,
}

/// What is to come, soonest first.
#[derive(Default)]
pub struct Agenda {
    entries: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

impl Agenda {
    /// Puts down an event.
    pub fn put(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.entries.push(Reverse(Entry { at, order: self.order, event }));
    }
    /// Takes the next one.
    pub fn take(&mut self) -> Option<(Instant, Event)> {
        self.entries.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }
}
