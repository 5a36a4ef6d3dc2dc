//! What TCP does when a worker's frames run short. Each connection may queue much and be sent much; all together could hold every frame, and then
//! no acknowledgment could come in that frees one.
//!
//! ```text
//!   frames of the pool   0 ............ 1/2 ................. 3/4 ................ all
//!   a connection sends   what it likes  | a frame or two      | nothing new
//!   payload that comes   is taken       | is taken            | is dropped: it comes again, and its acknowledgment counts
//! ```

use super::{
    Event, Tcp,
    connection::{Marks, State},
};
use crate::{limits::SEGMENTS_MAX, outbox::Outbox};

/// How short frames are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) enum Level {
    #[default]
    Ease,
    Short,
    Out,
}

/// What is known about it.
#[derive(Default)]
pub(super) struct Pressure {
    pub(super) level: Level,
    /// Frames that the application keeps.
    outside: usize,
    /// Connections that got no room for want of frames.
    starved: Vec<u32>,
}

/// Frames in the queue of a connection that may send a little.
pub(super) const FRAMES_WHEN_SHORT: usize = 2;

impl Tcp {
    /// How many frames the application keeps at present.
    pub fn note_outside(&mut self, frames: usize) {
        self.pressure.outside = frames;
    }

    /// Looks how many frames are left. Counting a pool is not cheap, so as long as few frames are known to be held nobody counts:
    /// each may be a chain.
    #[inline]
    pub(super) fn weigh(&mut self, out: &Outbox) {
        let capacity = out.pool.capacity();
        let held = self.queued_frames + self.assemblers.held_frames() + self.pressure.outside;
        self.pressure.level =
            if held < capacity / (2 * SEGMENTS_MAX) { Level::Ease } else { level(out.pool.in_use(), capacity) };
    }

    /// A connection got no room: for want of frames, it may be, and then nothing else will tell it.
    #[cold]
    pub(super) fn want_room(&mut self, i: usize) {
        let marks = &mut self.connections.hot[i].marks;
        marks.set(Marks::WANTS_ROOM);
        if self.pressure.level > Level::Ease && !marks.has(Marks::STARVED) {
            marks.set(Marks::STARVED);
            self.pressure.starved.push(i as u32);
        }
    }

    /// There are frames again: those that had none are told, as long as that lasts.
    pub(super) fn feed(&mut self) {
        if self.pressure.level == Level::Out || self.pressure.starved.is_empty() {
            return;
        }
        let mut starved = std::mem::take(&mut self.pressure.starved);
        starved.retain(|&index| {
            let i = index as usize;
            let wants = Marks::STARVED | Marks::WANTS_ROOM;
            let hot = &self.connections.hot[i];
            if hot.state == State::Closed || hot.marks.0 & wants != wants {
                self.connections.hot[i].marks.clear(Marks::STARVED);
                return false;
            }
            if self.room(i) == 0 {
                return true;
            }
            self.connections.hot[i].marks.clear(wants);
            self.events.push_back(Event::Writable { id: self.connections.id(index) });
            false
        });
        self.pressure.starved = starved;
    }
}

fn level(used: usize, capacity: usize) -> Level {
    match used {
        _ if used >= capacity - capacity / 4 => Level::Out,
        _ if used >= capacity / 2 => Level::Short,
        _ => Level::Ease,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_frames_are_anybodys_and_the_last_quarter_is_nobodys() {
        let levels =
            [(0, Level::Ease), (511, Level::Ease), (512, Level::Short), (767, Level::Short), (768, Level::Out)];
        for (used, expected) in levels {
            assert_eq!(level(used, 1_024), expected, "{used}");
        }
    }
}
