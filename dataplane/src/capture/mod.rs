//! Captures: copies of frames, taken inside a worker for somebody who looks, and switched on and off while it runs.
//!
//! ```text
//!   rx_burst -> frames ---- Filter::wants ----.
//!   tx_burst <- frames ---- Filter::wants ----+--> copy --> Ring ----> the link's thread ----> whoever looks
//! ```
//! Frames are seen as the device gave them and as it took them: before anything of ours has looked at them, and after everything has. A sent frame
//! that the device cuts into segments or whose checksum it fills in is seen before it does so, as tcpdump sees it on a host.
//!
//! Nobody looks: one branch for each burst. Somebody does, and too slowly: what finds no room in the ring is counted, and no worker waits.

mod filter;
#[cfg(test)]
mod tests;

pub use crate::port::pcapng::Direction;
pub use filter::Filter;

use crate::{
    limits::{CAPTURE_BYTES_MAX, CAPTURE_FRAMES_MAX, CAPTURES_MAX},
    net::PortIndex,
    port::{Frame, FrameQueue},
};
use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// A frame that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// The port that it passed.
    pub port: PortIndex,
    /// Which way.
    pub direction: Direction,
    /// When, in nanoseconds of 1970.
    pub at_ns: u64,
    /// Its length.
    pub len: u32,
    /// Frames that were wanted and found no room, since the one before.
    pub lost: u64,
    /// Its first bytes.
    pub bytes: Box<[u8]>,
}

/// From the workers to whoever looks. Bounded in frames and in bytes; nobody ever waits at it.
pub struct Ring {
    frames: ArrayQueue<Captured>,
    bytes: AtomicUsize,
    lost: AtomicU64,
}

impl Default for Ring {
    fn default() -> Self {
        Self::with_frames(CAPTURE_FRAMES_MAX)
    }
}

impl Ring {
    /// With room for so many frames.
    pub fn with_frames(frames: usize) -> Self {
        Self { frames: ArrayQueue::new(frames), bytes: AtomicUsize::new(0), lost: AtomicU64::new(0) }
    }

    fn push(&self, mut captured: Captured) {
        let len = captured.bytes.len();
        if self.bytes.fetch_add(len, Ordering::Relaxed) + len > CAPTURE_BYTES_MAX {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        captured.lost = self.take_lost();
        if let Err(captured) = self.frames.push(captured) {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
            self.lost.fetch_add(captured.lost + 1, Ordering::Relaxed);
        }
    }

    /// The oldest.
    pub fn pop(&self) -> Option<Captured> {
        let captured = self.frames.pop()?;
        self.bytes.fetch_sub(captured.bytes.len(), Ordering::Relaxed);
        Some(captured)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames that found no room since the last one that did.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// One capture, as each worker has it.
#[derive(Clone)]
pub struct Capture {
    /// Which of those that there may be at a time.
    pub slot: u8,
    /// What is wanted.
    pub filter: Filter,
    /// Where it goes.
    pub ring: Arc<Ring>,
}

impl Capture {
    fn copy(&self, at_ns: u64, port: PortIndex, direction: Direction, frame: &Frame) -> Captured {
        let mut left = frame.len().min(self.filter.snap_len);
        let mut bytes = Vec::with_capacity(left);
        for segment in frame.segments() {
            let some = &segment[..segment.len().min(left)];
            bytes.extend_from_slice(some);
            left -= some.len();
        }
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        Captured { port, direction, at_ns, len, lost: 0, bytes: bytes.into() }
    }
}

/// All captures of a worker; there is at least one.
#[derive(Default)]
pub struct Captures {
    all: ArrayVec<Capture, CAPTURES_MAX>,
    /// Copies of what is just being offered to a port: its place in the queue, whose it is, and the copy. A sent frame is the device's.
    offered: Vec<(usize, usize, Captured)>,
}

impl Captures {
    /// One more, in the place of the one that had its slot.
    pub fn begin(&mut self, capture: Capture) {
        self.end(capture.slot);
        self.all.push(capture);
    }

    /// Ends the one of this slot. Says whether there are others.
    pub fn end(&mut self, slot: u8) -> bool {
        self.all.retain(|it| it.slot != slot);
        !self.all.is_empty()
    }

    /// These frames have come in, at so many nanoseconds of 1970.
    pub fn receive(&mut self, at_ns: u64, port: PortIndex, frames: &[Frame]) {
        for capture in &self.all {
            for frame in frames.iter().filter(|it| capture.filter.wants(port, Direction::Received, it)) {
                capture.ring.push(capture.copy(at_ns, port, Direction::Received, frame));
            }
        }
    }

    /// These frames will be offered to a port. [`Self::send`] says how many it took.
    pub fn offer(&mut self, at_ns: u64, port: PortIndex, queue: &FrameQueue) {
        for (place, frame) in queue.iter().enumerate() {
            for (which, capture) in self.all.iter().enumerate() {
                if capture.filter.wants(port, Direction::Sent, frame) {
                    self.offered.push((place, which, capture.copy(at_ns, port, Direction::Sent, frame)));
                }
            }
        }
    }

    /// It took so many of them. The others are offered again.
    pub fn send(&mut self, sent: usize) {
        for (place, which, copy) in self.offered.drain(..) {
            if place < sent {
                self.all[which].ring.push(copy);
            }
        }
    }
}
