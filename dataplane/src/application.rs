//! What stands above TCP in a worker: it hears of connections and their bytes, and tells TCP what to do.

use crate::{
    outbox::Outbox,
    tcp::{Event, Tcp},
    time::Instant,
};

/// Whoever uses TCP. Sans-io like everything below: events and `now` come in, commands to [`Tcp`] go out.
pub trait Application {
    /// Called once, before the first turn: the place to listen.
    fn start(&mut self, tcp: &mut Tcp);
    /// Something has happened to a connection. Whoever takes a frame sends it, keeps it, or ends it in the outbox.
    fn handle_event(&mut self, now: Instant, event: Event, tcp: &mut Tcp, out: &mut Outbox);
    /// Some events are next ([`Tcp::events`]): reads from memory what they will need, for all of them together, so that many reads are under way
    /// at once. What is read is of no interest, only that it is.
    fn touch(&self, _tcp: &Tcp) -> u64 {
        0
    }
    /// Does what is due.
    fn handle_timers(&mut self, now: Instant, tcp: &mut Tcp, out: &mut Outbox);
    /// Does some of what takes long and may wait until all that came has been dealt with and sent; the turn ends with it. `is_pressed`: there may be more
    /// that came. Says whether anything was done.
    fn handle_rest(&mut self, _now: Instant, _is_pressed: bool, _tcp: &mut Tcp, _out: &mut Outbox) -> bool {
        false
    }
    /// When [`Self::handle_timers`] has something to do.
    fn next_deadline(&self) -> Instant;
    /// Frames that it keeps.
    fn held(&self) -> usize;
    /// Lets go of every frame.
    fn stop(&mut self, out: &mut Outbox);
}
