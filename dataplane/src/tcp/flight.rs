//! What a connection needs only while bytes are queued or unacknowledged. An idle connection has none.

use super::{
    queue::SendQueue,
    recovery::{Recovery, Reordering},
    seq::Seq,
};
use crate::time::Instant;

/// One connection's bytes under way.
pub(super) struct Flight {
    pub(super) recovery: Recovery,
    pub(super) queue: SendQueue,
    /// The number after the last queued byte, which is a FIN's own once the application has closed.
    pub(super) queued_end: Seq,
    /// Where the last frame in the queue begins.
    pub(super) last_begins: Seq,
    /// Whose it is; `None` when it has ended.
    pub(super) connection: Option<u32>,
    /// When the peer last freed a frame of the queue, or it began.
    pub(super) freed_at: Instant,
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

    /// A connection's flight, whose first byte will be `next`.
    pub(super) fn begin(
        &mut self,
        connection: u32,
        now: Instant,
        next: Seq,
        sack: bool,
        reordering: Reordering,
    ) -> usize {
        match self.free.pop() {
            Some(index) => {
                let flight = &mut self.flights[index as usize];
                flight.recovery = Recovery::new(next, sack, reordering);
                (flight.queued_end, flight.last_begins) = (next, next);
                (flight.connection, flight.freed_at) = (Some(connection), now);
                index as usize
            }
            None => {
                let (recovery, queue) = (Recovery::new(next, sack, reordering), SendQueue::default());
                self.flights.push(Flight {
                    recovery,
                    queue,
                    queued_end: next,
                    last_begins: next,
                    connection: Some(connection),
                    freed_at: now,
                });
                self.flights.len() - 1
            }
        }
    }

    /// Its queue is empty.
    pub(super) fn end(&mut self, index: usize) {
        debug_assert_eq!(self.flights[index].queue.frames(), 0);
        self.flights[index].connection = None;
        self.free.push(index as u32);
    }

    /// How many there are, and were at once.
    pub(super) fn places(&self) -> usize {
        self.flights.len()
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
