//! What an established session takes that is silent: resident, the holes between included.

use super::pair::{Contexts, Place};
use crate::tcp::idle::resident;
use rustls::NamedGroup;
use weirgate_bench::Figure;
use weirgate_dataplane::port::Pool;

const SESSIONS: usize = 5_000;

/// Of a server's sessions, each with its share of the vector that they are in. Both sides are made together; the clients' are let go of.
pub(super) fn measure(pool: &Pool) -> Figure {
    let contexts = Contexts::new(true, NamedGroup::X25519);
    let mut place = Place::new(pool);
    // What is made once is made before.
    (0..100).for_each(|_| drop(place.shake_hands(&contexts)));
    let mut sessions = Vec::with_capacity(SESSIONS);
    let before = resident().unwrap_or_default();
    for _ in 0..SESSIONS {
        let (mut server, _) = place.shake_hands(&contexts);
        while server.poll_event().is_some() {}
        sessions.push(server);
    }
    let after = resident().unwrap_or_default();
    Figure::at_most("tls.session_bytes", (after - before) as f64 / SESSIONS as f64, "bytes", 3_072.0)
}
