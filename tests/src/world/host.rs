//! What takes part in the world.

use weirgate_dataplane::time::Instant;

/// A machine with ports. It takes frames, acts when its time comes, and says when that is.
pub trait Host {
    /// A frame has arrived on a port. Says when the host will look at it.
    fn arrive(&mut self, now: Instant, port: usize, frame: Vec<u8>) -> Instant;

    /// Does what there is to do. Says when there will be more, though nothing arrives.
    fn step(&mut self, now: Instant, wires: &mut Wires) -> Instant;
}

/// Where a host's frames go.
#[derive(Default)]
pub struct Wires {
    /// By port: frames that the link takes.
    pub room: Vec<usize>,
    /// Port and bytes of frames that were sent.
    pub sent: Vec<(usize, Vec<u8>)>,
}

impl Wires {
    /// Whether a port's link takes a frame now.
    pub fn has_room(&self, port: usize) -> bool {
        self.room[port] > 0
    }
    /// Sends a frame, or loses it if there is no room.
    pub fn send(&mut self, port: usize, frame: Vec<u8>) {
        if self.has_room(port) {
            self.room[port] -= 1;
            self.sent.push((port, frame));
        }
    }
}
