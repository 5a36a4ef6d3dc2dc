//! What the engine tells the application.

use super::{ConnectionId, End, ListenerId};
use crate::{net::Cause, port::Frame};

/// What the application must know.
#[derive(Debug)]
pub enum Event {
    /// A peer has opened a connection.
    Accepted {
        /// Its name from now on.
        id: ConnectionId,
        /// Whom it came to.
        listener: ListenerId,
    },
    /// A connection that we open is open.
    Connected {
        /// Which.
        id: ConnectionId,
    },
    /// Bytes, in order. They count against the window until [`Tcp::consume`](super::Tcp::consume).
    Received {
        /// Whose.
        id: ConnectionId,
        /// Nothing but payload.
        frame: Frame,
    },
    /// The peer has sent everything.
    PeerClosed {
        /// Which.
        id: ConnectionId,
    },
    /// Something is wrong, and may get better. Only for those who ask ([`ConnectionOptions::reports_trouble`](super::ConnectionOptions::reports_trouble)).
    Trouble {
        /// Which.
        id: ConnectionId,
        /// What.
        trouble: Trouble,
    },
    /// There is room again after [`Tcp::send`](super::Tcp::send) had none.
    Writable {
        /// Which.
        id: ConnectionId,
    },
    /// It is over. Comes once, and nothing after it; when both sides have closed, not before all that came was consumed.
    Closed {
        /// Which.
        id: ConnectionId,
        /// How.
        reason: End,
    },
}

/// What may be wrong with an open connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The peer has acknowledged nothing for three timeouts in a row (R1 of RFC 9293 section 3.8.3).
    Silence,
    /// The network says something about a packet of it.
    Icmp(Cause),
}
