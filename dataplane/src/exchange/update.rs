//! A worker takes over the next snapshot, between two turns: what is new begins, what is gone ends with what was begun on it.

use super::{
    Gateway,
    contexts::Terminates,
    leg::{Io, Role},
    listeners::Serves,
    plan::{ListenerKey, Spec, Step, Update},
};
use crate::{
    limits::{RETIRED_LOOKS, TCP_TIMERS_MAX},
    outbox::Outbox,
    tcp::{ConnectionOptions, Listen, Tcp},
    time::Instant,
};
use std::net::IpAddr;

impl Gateway {
    /// Serves the next snapshot from now on.
    ///
    /// # Panics
    /// When it was not planned for the one that is served.
    pub fn update(&mut self, now: Instant, update: Update, tcp: &mut Tcp, out: &mut Outbox) {
        let io = &mut Io { now, tcp, out };
        self.revision = update.revision;
        self.upstreams.sweep(&mut self.room);
        for step in update.steps {
            self.take_step(io, step);
        }
    }

    /// The snapshot that is served.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How much is kept of this snapshot and of earlier ones: editions of HTTP listeners, backends, endpoints.
    pub fn kept(&mut self) -> (usize, usize, usize) {
        self.upstreams.sweep(&mut self.room);
        let (groups, endpoints) = self.upstreams.kept();
        (self.listeners.editions(), groups, endpoints)
    }

    /// Something that was replaced, for somebody else to let go of: that may take longer than a turn may.
    pub fn poll_replaced(&mut self) -> Option<Box<dyn Send>> {
        self.listeners.replaced.pop().map(|http| http as Box<dyn Send>)
    }

    fn take_step(&mut self, io: &mut Io<'_>, step: Step) {
        match step {
            Step::Backend(plan) => {
                let members = plan.members.iter().map(|it| (it.address, it.is_ill));
                let ended = self.health.put(io.now, plan.backend, &plan.checks, members);
                self.end_probes(io, &ended);
                self.upstreams.put(*plan);
            }
            Step::RemoveBackend(backend) => {
                let ended = self.health.remove(backend);
                self.end_probes(io, &ended);
                self.upstreams.remove(backend);
            }
            Step::Health { backend, place, is_ill } => {
                self.upstreams.set_ill(backend, place, is_ill);
                self.health.told(backend, place, is_ill);
            }
            Step::Listen { key, at, serves, tls } => self.listen(io.tcp, key, at, serves, tls),
            Step::Secure { key, tls } => self.listeners.secure(key, tls),
            Step::Replace { key, serves } => self.replace(key, serves),
            Step::Unlisten(key) => self.unlisten(io, key),
            Step::Drain(drains) => self.drains = drains,
            Step::ForgetRoutes(routes) => self.route_meters.forget(&routes, &mut self.room),
        }
    }

    pub(super) fn listen(
        &mut self,
        tcp: &mut Tcp,
        key: ListenerKey,
        at: (Option<IpAddr>, u16),
        serves: Spec,
        tls: Option<Terminates>,
    ) {
        let (address, port) = at;
        let listen = Listen { address, ports: port..=port, options: ConnectionOptions::default() };
        let place = tcp.listen(listen).expect("the snapshot was checked");
        match serves {
            Spec::Service(service) => {
                self.services.serve(place, service);
                self.listeners.add(key, place, Serves::Service);
            }
            Spec::Http(http) => self.listeners.add_http(key, place, http),
            Spec::Raw(raw) => self.listeners.add(key, place, Serves::Raw(raw)),
        }
        self.listeners.secure(key, tls);
    }

    fn replace(&mut self, key: ListenerKey, serves: Spec) {
        let listener = self.listeners.find(key).expect("it was planned for what is served");
        match serves {
            Spec::Http(http) => self.listeners.replace_http(listener, http),
            Spec::Raw(raw) => self.listeners.replace_raw(listener, raw),
            Spec::Service(service) => {
                let place = self.listeners.tcp(listener).expect("it was found because it listens");
                self.services.serve(place, service);
            }
        }
    }

    /// Who waits there for nothing is let go; who has a request under way gets its answer first.
    fn unlisten(&mut self, io: &mut Io<'_>, key: ListenerKey) {
        let listener = self.listeners.find(key).expect("it was planned for what is served");
        let is_http = matches!(self.listeners.serves(listener), Serves::Http(_));
        if let Some(place) = self.listeners.unlisten(listener, &mut self.room) {
            io.tcp.unlisten(place);
        }
        if is_http {
            self.retiring = Retiring { next: 0, at: io.now };
        }
    }

    /// Lets some of those go who wait at listeners that are gone: a million connections are looked at in many turns.
    pub(super) fn let_retired_go(&mut self, io: &mut Io<'_>) {
        if self.retiring.at > io.now {
            return;
        }
        let (mut ends, next) = (0, self.retiring.next);
        let until = self.legs.len().min(next + RETIRED_LOOKS);
        let mut i = next;
        while i < until && ends < TCP_TIMERS_MAX {
            let leg = &self.legs[i];
            let is_idle = leg.role == Role::Client && leg.exchange.is_none() && !leg.is_raw && !leg.has_begun_head();
            if is_idle && leg.input.is_empty() && self.listeners.is_retired(leg.listener) {
                self.leave(io, i);
                ends += 1;
            }
            i += 1;
        }
        self.retiring = if i < self.legs.len() { Retiring { next: i, at: io.now } } else { Retiring::default() };
    }
}

/// Where the search for clients of listeners that are gone goes on, and when.
pub(super) struct Retiring {
    next: usize,
    pub(super) at: Instant,
}

impl Default for Retiring {
    fn default() -> Self {
        Self { next: 0, at: Instant::NEVER }
    }
}
