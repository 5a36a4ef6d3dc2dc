//! What one burst brings to TCP.

use crate::{limits::BURST_MAX, net::Packet, port::Frame};
use arrayvec::ArrayVec;

/// Segments of one burst, as the net layer gives them. Packets stay where they are written: copying one at once would wait for its parts.
#[derive(Default)]
pub struct Segments {
    pub(super) packets: ArrayVec<Packet, BURST_MAX>,
    pub(super) frames: ArrayVec<Frame, BURST_MAX>,
}

impl Segments {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds one; there is room for as many as a burst has.
    #[inline]
    pub fn push(&mut self, (packet, frame): (Packet, Frame)) {
        self.packets.push(packet);
        self.frames.push(frame);
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}
