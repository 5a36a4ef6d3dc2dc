//! Frames on their way: a burst that came in, a bounded queue that waits to go out.

use super::Frame;
use crate::limits::{BURST_MAX, TX_BACKLOG_MAX};
use arrayvec::ArrayVec;
use std::collections::VecDeque;

/// Frames taken from a port at once.
pub type Burst = ArrayVec<Frame, BURST_MAX>;

/// Frames that wait for room in a port's transmit ring, oldest first; at most [`TX_BACKLOG_MAX`].
pub struct FrameQueue {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Default for FrameQueue {
    fn default() -> Self {
        Self { frames: VecDeque::with_capacity(TX_BACKLOG_MAX), bytes: 0 }
    }
}

impl FrameQueue {
    /// Appends a frame, or gives it back when the queue is full.
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.frames.len() == TX_BACKLOG_MAX {
            return Err(frame);
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
        Ok(())
    }
    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
    /// The frames, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter()
    }
    /// Takes the `n` oldest.
    pub fn drain(&mut self, n: usize) -> impl Iterator<Item = Frame> {
        self.bytes -= self.frames.iter().take(n).map(Frame::len).sum::<usize>();
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
