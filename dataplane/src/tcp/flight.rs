//! What a connection needs only while bytes are queued or unacknowledged. An idle connection has none.

use super::{
    queue::SendQueue,
    recovery::{Recovery, Reordering},
    seq::Seq,
};

/// One connection's bytes under way.
pub(super) struct Flight {
    pub(super) recovery: Recovery,
    pub(super) queue: SendQueue,
    /// The number after the last queued byte, which is a FIN's own once the application has closed.
    pub(super) queued_end: Seq,
    /// Where the last frame in the queue begins.
    pub(super) last_begins: Seq,
}

/// Bytes of one, what lies on the heap for long queues apart.
pub(super) const BYTES: usize = size_of::<Flight>();

/// All of them; places are used again with the memory that they have.
pub(super) struct Flights {
    flights: Vec<Flight>,
    free: Vec<u32>,
}

impl Flights {
    /// For so many connections.
    pub(super) fn new(max: usize) -> Self {
        Self { flights: Vec::with_capacity(max), free: Vec::with_capacity(max) }
    }

    /// A flight whose first byte will be `next`.
    pub(super) fn begin(&mut self, next: Seq, sack: bool, reordering: Reordering) -> usize {
        match self.free.pop() {
            Some(index) => {
                let flight = &mut self.flights[index as usize];
                flight.recovery = Recovery::new(next, sack, reordering);
                (flight.queued_end, flight.last_begins) = (next, next);
                index as usize
            }
            None => {
                let (recovery, queue) = (Recovery::new(next, sack, reordering), SendQueue::default());
                self.flights.push(Flight { recovery, queue, queued_end: next, last_begins: next });
                self.flights.len() - 1
            }
        }
    }

    /// Its queue is empty.
    pub(super) fn end(&mut self, index: usize) {
        debug_assert_eq!(self.flights[index].queue.frames(), 0);
        self.free.push(index as u32);
    }

    #[inline]
    pub(super) fn at(&self, index: usize) -> &Flight {
        &self.flights[index]
    }
    #[inline]
    pub(super) fn at_mut(&mut self, index: usize) -> &mut Flight {
        &mut self.flights[index]
    }

    /// Bytes that are queued or unacknowledged, and frames that hold them.
    pub(super) fn queued(&self, index: usize, una: Seq) -> (u32, usize) {
        let flight = &self.flights[index];
        (flight.queued_end.since(una), flight.queue.frames())
    }
}
