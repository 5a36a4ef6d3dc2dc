//! Where we listen, and the editions of how we speak there.
//!
//! ```text
//!   client leg ---> Listener ---> the edition of now          counted in `legs`
//!   exchange   ------------------> the edition that it began with      counted in `pins`
//! ```
//! A request finishes on the edition that it started on. A edition that is replaced goes when its last exchange has ended, a listener that is gone
//! with its last connection.

use super::{
    config::{Http, Raw},
    contexts::Terminates,
    meters::{Meter, Metered, Room, Sums},
    plan::ListenerKey,
};
use crate::tcp::ListenerId;

/// What a listener is for.
pub(super) enum Serves {
    /// Its connections are the services'.
    Service,
    /// The edition of now.
    Http(Edition),
    Raw(Box<Raw>),
}

/// A edition's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Edition(u32);

impl Edition {
    /// Of whoever has none.
    pub(super) const NONE: Self = Self(u32::MAX);
}

struct Listener {
    key: ListenerKey,
    /// While it takes connections.
    tcp: Option<ListenerId>,
    serves: Serves,
    tls: Option<Terminates>,
    /// Clients that are connected.
    legs: u32,
    meter: Meter,
}

struct Slot {
    http: Box<Http>,
    pins: u32,
    is_current: bool,
}

#[derive(Default)]
pub(super) struct Listeners {
    listeners: Vec<Option<Listener>>,
    /// By the listener's place in TCP.
    by_tcp: Vec<Option<u16>>,
    editions: Vec<Option<Slot>>,
    vacant: Vec<u32>,
    /// What nobody uses any more, for somebody else to let go of: that may take its time.
    #[allow(clippy::vec_box)] // they come and go as boxes
    pub(super) replaced: Vec<Box<Http>>,
}

impl Listeners {
    /// Who takes a connection that TCP has accepted.
    pub(super) fn accepting(&self, tcp: ListenerId) -> Option<u16> {
        self.by_tcp.get(tcp.index()).copied().flatten()
    }
    pub(super) fn serves(&self, listener: u16) -> &Serves {
        &self.get(listener).serves
    }
    pub(super) fn tcp(&self, listener: u16) -> Option<ListenerId> {
        self.get(listener).tcp
    }
    /// Takes no more connections: those that there are end with their next answer.
    pub(super) fn is_retired(&self, listener: u16) -> bool {
        self.get(listener).tcp.is_none()
    }

    /// How handshakes begin there, if they do.
    pub(super) fn tls(&self, listener: u16) -> Option<&Terminates> {
        self.get(listener).tls.as_ref()
    }
    /// Handshakes begin so from now on.
    pub(super) fn secure(&mut self, key: ListenerKey, tls: Option<Terminates>) {
        let listener = self.find(key).expect("it was planned for what is served");
        self.get_mut(listener).tls = tls;
    }

    /// How we speak there now.
    pub(super) fn http(&self, listener: u16) -> &Http {
        self.edition(self.current(listener))
    }
    pub(super) fn current(&self, listener: u16) -> Edition {
        match self.get(listener).serves {
            Serves::Http(edition) => edition,
            Serves::Raw(_) | Serves::Service => unreachable!("a listener keeps its kind"),
        }
    }
    pub(super) fn raw(&self, listener: u16) -> &Raw {
        match &self.get(listener).serves {
            Serves::Raw(raw) => raw,
            Serves::Http(_) | Serves::Service => unreachable!("a listener keeps its kind"),
        }
    }
    pub(super) fn edition(&self, edition: Edition) -> &Http {
        &self.editions[edition.0 as usize].as_ref().expect("a edition that is used is kept").http
    }

    pub(super) fn key(&self, listener: u16) -> ListenerKey {
        self.get(listener).key
    }
    #[inline]
    pub(super) fn count(&mut self, listener: u16, it: Metered, room: &mut Room) {
        self.get_mut(listener).meter.count(it, room);
    }
    pub(super) fn meters(&self) -> impl Iterator<Item = (ListenerKey, &Sums)> {
        self.listeners.iter().flatten().filter_map(|it| Some((it.key, it.meter.sums()?)))
    }

    /// A client has connected.
    pub(super) fn enter(&mut self, listener: u16) {
        self.get_mut(listener).legs += 1;
    }
    /// It is gone.
    pub(super) fn leave(&mut self, listener: u16, room: &mut Room) {
        let it = self.get_mut(listener);
        it.legs -= 1;
        if it.legs == 0 && it.tcp.is_none() {
            self.remove(listener, room);
        }
    }

    /// An exchange begins with a edition.
    #[inline]
    pub(super) fn pin(&mut self, edition: Edition) {
        self.slot(edition).pins += 1;
    }
    /// It is over.
    #[inline]
    pub(super) fn unpin(&mut self, edition: Edition) {
        if edition == Edition::NONE {
            return;
        }
        let slot = self.slot(edition);
        slot.pins -= 1;
        if slot.pins == 0 && !slot.is_current {
            self.free(edition);
        }
    }

    /// Begins to take connections.
    pub(super) fn add_http(&mut self, key: ListenerKey, tcp: ListenerId, http: Box<Http>) {
        let edition = self.add_edition(http);
        self.add(key, tcp, Serves::Http(edition));
    }
    pub(super) fn add(&mut self, key: ListenerKey, tcp: ListenerId, serves: Serves) {
        let listener = Listener { key, tcp: Some(tcp), serves, tls: None, legs: 0, meter: Meter::default() };
        let place = self.listeners.iter().position(Option::is_none).unwrap_or(self.listeners.len());
        if place == self.listeners.len() {
            self.listeners.push(None);
        }
        self.listeners[place] = Some(listener);
        if tcp.index() >= self.by_tcp.len() {
            self.by_tcp.resize(tcp.index() + 1, None);
        }
        self.by_tcp[tcp.index()] = Some(place as u16);
    }

    /// The one that takes connections.
    pub(super) fn find(&self, key: ListenerKey) -> Option<u16> {
        let is_it = |it: &Option<Listener>| it.as_ref().is_some_and(|it| it.key == key && it.tcp.is_some());
        self.listeners.iter().position(is_it).map(|place| place as u16)
    }

    /// Requests that begin from now on are served so.
    pub(super) fn replace_http(&mut self, listener: u16, http: Box<Http>) {
        let old = self.current(listener);
        let new = self.add_edition(http);
        self.get_mut(listener).serves = Serves::Http(new);
        self.retire(old);
    }
    pub(super) fn replace_raw(&mut self, listener: u16, raw: Box<Raw>) {
        self.get_mut(listener).serves = Serves::Raw(raw);
    }

    /// Takes no more connections; what TCP calls it is given back.
    pub(super) fn unlisten(&mut self, listener: u16, room: &mut Room) -> Option<ListenerId> {
        let it = self.get_mut(listener);
        let tcp = it.tcp.take()?;
        let is_empty = it.legs == 0;
        self.by_tcp[tcp.index()] = None;
        if is_empty {
            self.remove(listener, room);
        }
        Some(tcp)
    }

    /// Editions that are kept.
    pub(super) fn editions(&self) -> usize {
        self.editions.iter().flatten().count()
    }

    fn get(&self, listener: u16) -> &Listener {
        self.listeners[usize::from(listener)].as_ref().expect("a listener with connections is kept")
    }
    fn get_mut(&mut self, listener: u16) -> &mut Listener {
        self.listeners[usize::from(listener)].as_mut().expect("a listener with connections is kept")
    }
    fn slot(&mut self, edition: Edition) -> &mut Slot {
        self.editions[edition.0 as usize].as_mut().expect("a edition that is used is kept")
    }

    fn remove(&mut self, listener: u16, room: &mut Room) {
        let Some(mut it) = self.listeners[usize::from(listener)].take() else { return };
        it.meter.clear(room);
        if let Serves::Http(edition) = it.serves {
            self.retire(edition);
        }
    }

    fn add_edition(&mut self, http: Box<Http>) -> Edition {
        let slot = Some(Slot { http, pins: 0, is_current: true });
        match self.vacant.pop() {
            Some(place) => {
                self.editions[place as usize] = slot;
                Edition(place)
            }
            None => {
                self.editions.push(slot);
                Edition(self.editions.len() as u32 - 1)
            }
        }
    }

    fn retire(&mut self, edition: Edition) {
        let slot = self.slot(edition);
        slot.is_current = false;
        if slot.pins == 0 {
            self.free(edition);
        }
    }

    fn free(&mut self, edition: Edition) {
        if let Some(slot) = self.editions[edition.0 as usize].take() {
            self.replaced.push(slot.http);
            self.vacant.push(edition.0);
        }
    }
}
