//! What TCP may hold of the worker's frames, and how connections share it. Without bounds one peer that does not read would take them all, and
//! nobody could receive any more, not even the acknowledgments that would end it.
//!
//! ```text
//!   queued_frames_max   |-------- queued, or unacknowledged --------|..... spare .....|- for those who have few -|
//!   held_frames_max     |- out of order -|- with the application -|............ spare ............|- half as much again -|
//! ```
//! A connection may queue as many frames as are spare, or a few in any case, and its window asks for no more than are spare. So one alone gets half of all, two get a
//! third each, and so on: who is small is not held up by who is large, and nothing has to be known about the others (dynamic thresholds, as
//! switches share their buffers). When none are spare to be held, data is refused that would only wait: for an application that is behind, or
//! for a hole. Beyond that, half as much again is for the first frame that each connection hands up, which mostly goes on at once.

use super::{
    Event, Tcp,
    connection::{Marks, State},
    options::TcpOptions,
};
use crate::{
    limits::{ETHERNET_MAX, FRAME_ROOM, TCP_WAKE_EVERY},
    net::Topology,
    time::Instant,
};
use std::collections::VecDeque;

/// Frames that a connection may queue though others hold all but the part that is kept for this.
const FEW: usize = 4;
const FEW_PART: usize = 4;
/// Wake-ups in one turn of connections that waited for frames, not for their peer.
const WAKES_MAX: usize = 32;

/// What is shared, and who waits for a part of it.
#[derive(Default)]
pub(super) struct Share {
    /// What the application has.
    application: usize,
    /// Connections that want to send and have nothing under way: no acknowledgment will wake them.
    pub(super) waiting: VecDeque<u32>,
    /// They are not told before that.
    wake_at: Instant,
    /// Who stands still is not looked for before that,
    pub(super) look_at: Instant,
    /// and from these places on: among flights and among what is out of order.
    pub(super) hands: (usize, usize),
    /// The same among what the application has not consumed, and when that hand begins its next round.
    pub(super) unread: (usize, Instant),
}

impl Tcp {
    /// How many frames the application keeps at present.
    pub fn note_outside(&mut self, frames: usize) {
        self.share.application = frames;
    }

    /// Whether a connection that has queued so many frames may queue another.
    #[inline]
    pub(super) fn may_queue(&self, frames: usize) -> bool {
        may_queue(frames, self.queued_frames, self.options.queued_frames_max)
    }

    /// Frames that nobody holds: so many a window may ask for.
    #[inline]
    pub(super) fn spare_to_hold(&self) -> usize {
        self.options.held_frames_max.saturating_sub(self.assemblers.held_frames() + self.share.application)
    }

    /// Whether received data must be refused that would only wait here: `behind` what the application has, or a hole.
    #[inline]
    pub(super) fn is_short_of_frames(&self, behind: bool) -> bool {
        let held = self.assemblers.held_frames() + self.share.application;
        let max = self.options.held_frames_max;
        held >= if behind { max } else { max + max / 2 }
    }

    /// A connection was refused to queue more, and wants to know when it may.
    pub(super) fn want_room(&mut self, i: usize) {
        let hot = &mut self.connections.hot[i];
        if hot.marks.has(Marks::CLOSED) {
            return;
        }
        hot.marks.set(Marks::WANTS_ROOM);
        let has_nothing = hot.flight.is_none() && !hot.marks.has(Marks::LONE);
        if has_nothing && !hot.marks.has(Marks::STARVED) {
            hot.marks.set(Marks::STARVED);
            self.share.waiting.push_back(i as u32);
        }
    }

    /// When somebody can be woken whom no acknowledgment wakes.
    pub(super) fn next_share(&self) -> Instant {
        if self.may_queue(0) && !self.share.waiting.is_empty() { self.share.wake_at } else { Instant::NEVER }
    }

    /// Tells those who waited for frames that there are some again. Where the pool itself is empty they will wait anew, so not too often.
    pub(super) fn give_share(&mut self, now: Instant) {
        if self.share.waiting.is_empty() || now < self.share.wake_at {
            return;
        }
        self.share.wake_at = now + TCP_WAKE_EVERY;
        for _ in 0..WAKES_MAX {
            if !self.may_queue(0) {
                return;
            }
            let Some(index) = self.share.waiting.pop_front() else { return };
            let id = self.connections.id(index);
            // It may have ended since.
            let hot = &mut self.connections.hot[index as usize];
            let wants = Marks::STARVED | Marks::WANTS_ROOM;
            if hot.state != State::Closed && hot.marks.0 & wants == wants {
                hot.marks.clear(Marks::WANTS_ROOM);
                self.events.push_back(Event::Writable { id });
            }
            hot.marks.clear(Marks::STARVED);
        }
    }
}

fn may_queue(own: usize, all: usize, max: usize) -> bool {
    let spare = max.saturating_sub(all);
    own < spare.saturating_sub(max / FEW_PART) || (own < FEW && spare > 0)
}

/// Frames of a pool are counted where a frame may be a chain of several: `options` after that, for the longest that an interface receives.
pub(super) fn in_chains(mut options: TcpOptions, topology: &Topology) -> TcpOptions {
    let chain = |mtu: u16| (usize::from(mtu) + ETHERNET_MAX).div_ceil(FRAME_ROOM);
    let longest = topology.interfaces().map(|(_, interface)| chain(interface.mtu)).max().unwrap_or(1);
    options.queued_frames_max /= longest;
    options.held_frames_max /= longest;
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each takes one after the other until nobody may take any more.
    fn greedy(connections: usize, all: &mut usize, max: usize) -> Vec<usize> {
        let mut own = vec![0; connections];
        loop {
            let before = *all;
            for frames in &mut own {
                let takes = usize::from(may_queue(*frames, *all, max));
                *frames += takes;
                *all += takes;
            }
            if *all == before {
                return own;
            }
        }
    }

    #[test]
    fn one_alone_leaves_half_and_a_hundred_leave_each_newcomer_a_few() {
        const MAX: usize = 2_048;
        let mut all = 0;
        assert_eq!(greedy(1, &mut all, MAX), [768], "half of what is not kept for those who have few");
        let mut all = 0;
        let first = greedy(100, &mut all, MAX);
        assert!(first.iter().all(|frames| *frames >= 10), "equal shares");
        let second = greedy(100, &mut all, MAX);
        assert!(second.iter().all(|frames| *frames >= FEW), "a few for those who come later");
        assert!(may_queue(0, all, MAX), "and still for others");
        assert!(all <= MAX);
    }
}
