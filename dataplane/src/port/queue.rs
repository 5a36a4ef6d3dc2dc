//! Frames on their way: a burst that came in, a bounded queue that waits to go out.

use super::Frame;
use crate::limits::{BURST_MAX, TX_BACKLOG_MAX};
use arrayvec::ArrayVec;

/// Frames taken from a port at once.
pub type Burst = ArrayVec<Frame, BURST_MAX>;

/// Frames that wait for room in a port's transmit ring, oldest first; at most [`TX_BACKLOG_MAX`].
pub struct FrameQueue {
    /// Contiguous: a device nearly always takes all, and the rest of a short offer moves up.
    frames: Vec<Frame>,
    bytes: usize,
}

impl Default for FrameQueue {
    fn default() -> Self {
        Self { frames: Vec::with_capacity(TX_BACKLOG_MAX), bytes: 0 }
    }
}

impl FrameQueue {
    /// Appends a frame, or gives it back when the queue is full.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.frames.len() == TX_BACKLOG_MAX {
            return Err(frame);
        }
        self.bytes += frame.len();
        self.frames.push(frame);
        Ok(())
    }
    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Frame> {
        if self.frames.is_empty() {
            return None;
        }
        let frame = self.frames.remove(0);
        self.bytes -= frame.len();
        Some(frame)
    }
    /// The frames, oldest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Frame> {
        self.frames.iter()
    }
    /// Takes the `n` oldest.
    pub fn drain(&mut self, n: usize) -> impl Iterator<Item = Frame> {
        let all = n == self.frames.len();
        self.bytes -= if all { self.bytes } else { self.frames[..n].iter().map(Frame::len).sum() };
        self.frames.drain(..n)
    }
    /// Bytes of all that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// How many wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}
