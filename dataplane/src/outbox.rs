//! Where every frame of a worker ends: in a port's transmit queue, consumed, or dropped with a reason. The layers get it as an
//! argument, so that none of them needs to know ports or other workers.

use crate::{
    counters::{Counter, Counters},
    drops::Drop,
    limits::{NOTICES_MAX, TX_BACKLOG_MAX},
    net::{Notice, PortIndex},
    port::{Frame, FrameQueue, Pool},
};
use arrayvec::ArrayVec;

/// Frames collected before they are freed at once.
const DISCARDS_MAX: usize = 64;

/// One worker's outputs.
pub struct Outbox {
    /// Where fresh frames come from.
    pub pool: Pool,
    /// What happened.
    pub counters: Counters,
    transmit: Vec<FrameQueue>,
    /// Dead frames, freed together (one call into the pool for many).
    discards: ArrayVec<Frame, DISCARDS_MAX>,
    notices: Vec<Notice>,
    /// There are other workers that read notices.
    notices_read: bool,
}

impl Outbox {
    /// For a worker with this many ports, alone or one of several.
    pub fn new(pool: Pool, ports: usize, alone: bool) -> Self {
        Self {
            pool,
            counters: Counters::default(),
            transmit: (0..ports).map(|_| FrameQueue::default()).collect(),
            discards: ArrayVec::new(),
            notices: Vec::with_capacity(if alone { 0 } else { NOTICES_MAX }),
            notices_read: !alone,
        }
    }

    /// A fresh frame that will be sent, or `None` (counted) when the pool is empty.
    pub fn make(&mut self) -> Option<Frame> {
        let frame = self.pool.alloc();
        self.counters.count(if frame.is_some() { Counter::MadeFrames } else { Counter::PoolEmpty });
        frame
    }

    /// Hands a complete frame to a port.
    #[inline]
    pub fn transmit(&mut self, port: PortIndex, frame: Frame) {
        if let Err(frame) = self.transmit[usize::from(port.0)].push(frame) {
            self.drop(frame, Drop::TxBacklogFull);
        }
    }

    /// Ends a frame early.
    pub fn drop(&mut self, frame: Frame, reason: Drop) {
        self.counters.count_drop(reason);
        self.discard(frame);
    }

    /// Ends a frame that has served its purpose.
    pub fn consume(&mut self, frame: Frame) {
        self.counters.count(Counter::ConsumedFrames);
        self.discard(frame);
    }

    fn discard(&mut self, frame: Frame) {
        if self.discards.is_full() {
            self.free_discards();
        }
        self.discards.push(frame);
    }

    /// Gives dead frames back to their pool.
    pub fn free_discards(&mut self) {
        Frame::free_all(&mut self.discards);
    }

    /// Tells the other workers something about a neighbour.
    pub fn notify(&mut self, notice: Notice) {
        if self.notices_read {
            if self.notices.len() < NOTICES_MAX {
                self.notices.push(notice);
            } else {
                self.counters.count(Counter::NoticesLost);
            }
        }
    }

    /// The notices since the last call.
    pub fn take_notices(&mut self) -> std::vec::Drain<'_, Notice> {
        self.notices.drain(..)
    }

    /// The queue towards a port.
    pub fn queue(&mut self, port: usize) -> &mut FrameQueue {
        &mut self.transmit[port]
    }

    /// Frames that a port's queue still takes.
    #[inline]
    pub fn room(&self, port: PortIndex) -> usize {
        TX_BACKLOG_MAX - self.transmit[usize::from(port.0)].len()
    }

    /// Frames that wait for a port.
    pub fn backlog(&self) -> usize {
        self.transmit.iter().map(FrameQueue::len).sum()
    }
}
