//! A port in memory. Whoever drives it puts frames in and takes frames out; it has as little room as you like.

use super::{Burst, Capabilities, Frame, FrameQueue, Port};
use std::collections::VecDeque;

/// One queue pair in memory.
pub struct SimPort {
    capabilities: Capabilities,
    arrived: VecDeque<Frame>,
    sent: VecDeque<Frame>,
    /// Frames that `sent` holds at most; a smaller number makes a device that is slow to send.
    pub tx_room: usize,
}

impl SimPort {
    /// A port with nothing in it.
    pub fn new(capabilities: Capabilities) -> Self {
        Self { capabilities, arrived: VecDeque::new(), sent: VecDeque::new(), tx_room: usize::MAX }
    }
    /// Puts a frame into the receive queue.
    pub fn arrive(&mut self, frame: Frame) {
        self.arrived.push_back(frame);
    }
    /// Takes the oldest sent frame.
    pub fn take_sent(&mut self) -> Option<Frame> {
        self.sent.pop_front()
    }
    /// Frames that have arrived and were not taken yet.
    pub fn arrived_len(&self) -> usize {
        self.arrived.len()
    }
    /// Frames that were sent and not taken yet.
    pub fn sent_len(&self) -> usize {
        self.sent.len()
    }
}

impl Port for SimPort {
    fn rx_burst(&mut self, burst: &mut Burst) {
        let n = burst.remaining_capacity().min(self.arrived.len());
        burst.extend(self.arrived.drain(..n));
    }

    fn tx_burst(&mut self, queue: &mut FrameQueue) {
        let n = queue.len().min(self.tx_room.saturating_sub(self.sent.len()));
        self.sent.extend(queue.drain(n));
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}
