//! What TCP tells an application about a connection: in an order that makes sense, its end once, and nothing after that.

use std::collections::{HashMap, HashSet};
use weirgate_dataplane::{
    application::Application,
    outbox::Outbox,
    tcp::{ConnectionId, Event, Tcp},
    time::Instant,
};

/// An application behind one that takes notes.
pub struct Watched<A> {
    /// The one that works.
    pub inner: A,
    open: HashMap<ConnectionId, Heard>,
    over: HashSet<ConnectionId>,
    failure: Option<String>,
}

/// What was said of a connection that is not over.
#[derive(Default)]
struct Heard {
    begun: bool,
    peer_closed: bool,
}

impl<A: Application> Watched<A> {
    /// Nothing has happened yet.
    pub fn new(inner: A) -> Self {
        Self { inner, open: HashMap::new(), over: HashSet::new(), failure: None }
    }
    /// What was wrong first.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn note(&mut self, event: &Event) -> Result<(), String> {
        let (id, is_end) = match event {
            Event::Accepted { id, .. } => {
                let new = self.open.insert(*id, Heard { begun: true, peer_closed: false }).is_none();
                return if new { Ok(()) } else { Err("accepted twice".into()) };
            }
            Event::Connected { id }
            | Event::Received { id, .. }
            | Event::PeerClosed { id }
            | Event::Trouble { id, .. }
            | Event::Writable { id } => (*id, false),
            Event::Closed { id, .. } => (*id, true),
        };
        if is_end {
            self.open.remove(&id);
            return if self.over.insert(id) { Ok(()) } else { Err("closed twice".into()) };
        }
        if self.over.contains(&id) {
            return Err("after its end".into());
        }
        // An active open is known by its first event.
        let heard = match event {
            Event::Connected { .. } => self.open.entry(id).or_default(),
            _ => self.open.get_mut(&id).ok_or("about a connection that never began")?,
        };
        let wrong = match event {
            Event::Connected { .. } => std::mem::replace(&mut heard.begun, true),
            Event::Received { frame, .. } => !heard.begun || heard.peer_closed || frame.is_empty(),
            Event::PeerClosed { .. } => !heard.begun || std::mem::replace(&mut heard.peer_closed, true),
            _ => !heard.begun,
        };
        if wrong { Err("at a time when it makes no sense".into()) } else { Ok(()) }
    }
}

impl<A: Application> Application for Watched<A> {
    fn start(&mut self, tcp: &mut Tcp) {
        self.inner.start(tcp);
    }
    fn handle_event(&mut self, now: Instant, event: Event, tcp: &mut Tcp, out: &mut Outbox) {
        if let Err(what) = self.note(&event) {
            self.failure.get_or_insert_with(|| format!("{event:?} {what}"));
        }
        self.inner.handle_event(now, event, tcp, out);
    }
    fn handle_timers(&mut self, now: Instant, tcp: &mut Tcp, out: &mut Outbox) {
        self.inner.handle_timers(now, tcp, out);
    }
    fn next_deadline(&self) -> Instant {
        self.inner.next_deadline()
    }
    fn held(&self) -> usize {
        self.inner.held()
    }
    fn stop(&mut self, out: &mut Outbox) {
        self.inner.stop(out);
    }
}
