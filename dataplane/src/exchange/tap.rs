//! Exchanges told to somebody who watches. Nobody watching, nothing is kept.

use super::{Exchange, Gateway, meters::RouteKey, plan::ListenerKey, record::Ended};
use crate::{
    http::Request,
    limits::{TAP_TEXT_MAX, TAPPED_MAX, TAPS_MAX},
    route::BackendIndex,
    time::{Duration, Instant},
};
use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
};

/// Which exchanges are told. Made by a [`Planner`](super::Planner) of what was asked for.
#[derive(Clone)]
pub struct Tapping {
    pub(super) route: Option<RouteKey>,
    pub(super) backend: Option<BackendIndex>,
    pub(super) status_min: u16,
    /// In any case of its letters; the host too.
    pub(super) method: Option<String>,
    pub(super) host: Option<String>,
    /// What the path begins with.
    pub(super) path: Option<String>,
    pub(super) per_second: u32,
}

/// An exchange that has ended. A [`Planner`](super::Planner) puts names to its numbers.
pub struct Tapped {
    /// By slot.
    wanted_by: [bool; TAPS_MAX],
    pub(super) listener: ListenerKey,
    pub(super) route: RouteKey,
    pub(super) rule: Option<String>,
    pub(super) backend: Option<BackendIndex>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) client: IpAddr,
    pub(super) asked: Asked,
    pub(super) status: u16,
    pub(super) ended: Ended,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) attempts: u8,
    pub(super) first_byte: Option<Duration>,
    pub(super) total: Duration,
}

/// What is kept of a request's head. No query, and no field: those hold secrets.
#[derive(Clone, Default)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    /// The rule, of a tunnel.
    rule: Option<String>,
}

/// Somebody watches.
#[derive(Default)]
pub(super) struct Taps {
    slots: [Option<Tap>; TAPS_MAX],
    /// By exchange.
    asked: Vec<Asked>,
    ended: VecDeque<Box<Tapped>>,
}

struct Tap {
    which: Tapping,
    second: Instant,
    told: u32,
}

impl Tapped {
    /// Whether whoever watches in this slot wants it.
    pub fn is_wanted_by(&self, slot: usize) -> bool {
        self.wanted_by[slot]
    }
}

impl Tapping {
    /// Whether it wants nothing but what the request's head does not rule out.
    fn wants_head(&self, method: &[u8], host: &[u8], path: &[u8]) -> bool {
        let same = |wanted: &Option<String>, is: &[u8]| {
            wanted.as_ref().is_none_or(|it| it.as_bytes().eq_ignore_ascii_case(is))
        };
        same(&self.method, method)
            && same(&self.host, host)
            && self.path.as_ref().is_none_or(|it| path.starts_with(it.as_bytes()))
    }

    fn wants(&self, exchange: &Exchange, backend: Option<BackendIndex>, asked: &Asked) -> bool {
        let Asked { method, host, path, .. } = asked;
        self.route.is_none_or(|it| it == exchange.route)
            && self.backend.is_none_or(|it| Some(it) == backend)
            && exchange.status >= self.status_min
            && self.wants_head(method.as_bytes(), host.as_bytes(), path.as_bytes())
    }
}

impl Tap {
    /// Whether there is room in this second for one more.
    fn is_due(&mut self, now: Instant) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.told) = (now, 0);
        }
        self.told += 1;
        self.told <= self.which.per_second
    }
}

impl Gateway {
    /// Tells exchanges from now on to whoever watches in this slot, or no longer.
    pub fn tap(&mut self, slot: usize, which: Option<Tapping>) {
        let taps = self.taps.get_or_insert_default();
        // What waits was for whoever had the slot before.
        taps.ended.iter_mut().for_each(|it| it.wanted_by[slot] = false);
        self.missed[slot] = 0;
        taps.slots[slot] = which.map(|which| Tap { which, second: Instant::ZERO, told: 0 });
        // Nothing is kept for nobody.
        if taps.slots.iter().all(Option::is_none) {
            self.taps = None;
        }
    }

    /// The next one.
    pub fn poll_tapped(&mut self) -> Option<Box<Tapped>> {
        self.taps.as_mut()?.ended.pop_front()
    }

    /// A tunnel begins, which lets go of the table that knows its rule's name.
    pub(super) fn tap_granted(&mut self, x: u32) {
        let Some(taps) = &mut self.taps else { return };
        let exchange = &self.exchanges[x as usize];
        if let (Some(rule), Some(asked)) = (exchange.rule, taps.asked.get_mut(x as usize)) {
            asked.rule = Some(self.listeners.edition(exchange.edition).table.name(rule).1);
        }
    }

    /// Keeps what is told of an exchange's head, if somebody may want it.
    pub(super) fn tap_asked(taps: &mut Taps, x: u32, request: Request<'_>, path: &[u8]) {
        let (method, host) = (request.method(), request.host());
        if !taps.slots.iter().flatten().any(|tap| tap.which.wants_head(method, host, path)) {
            return;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(TAP_TEXT_MAX)]).into_owned();
        let asked = Asked { method: text(method), host: text(host), path: text(path), rule: None };
        if taps.asked.len() <= x as usize {
            taps.asked.resize_with(x as usize + 1, Asked::default);
        }
        taps.asked[x as usize] = asked;
    }

    /// Tells one that has ended, to those who want it.
    pub(super) fn tap_ended(&mut self, now: Instant, x: u32, ended: Ended) {
        let Some(taps) = &mut self.taps else { return };
        let exchange: &Exchange = &self.exchanges[x as usize];
        let asked = taps.asked.get_mut(x as usize).map(std::mem::take).unwrap_or_default();
        let backend = exchange.last.map(|at| self.upstreams.backend(at));
        let mut wanted_by = [false; TAPS_MAX];
        for (slot, tap) in taps.slots.iter_mut().enumerate() {
            let Some(tap) = tap else { continue };
            if !tap.which.wants(exchange, backend, &asked) {
                continue;
            }
            wanted_by[slot] = tap.is_due(now) && taps.ended.len() < TAPPED_MAX;
            self.missed[slot] += u64::from(!wanted_by[slot]);
        }
        if wanted_by == [false; TAPS_MAX] {
            return;
        }
        let leg = &self.legs[exchange.client as usize];
        let named = exchange.rule.filter(|_| exchange.edition != super::Edition::NONE);
        let name = |rule| self.listeners.edition(exchange.edition).table.name(rule).1;
        let rule = named.map(name).or_else(|| asked.rule.clone());
        taps.ended.push_back(Box::new(Tapped {
            wanted_by,
            listener: self.listeners.key(leg.listener),
            route: exchange.route,
            rule,
            backend,
            endpoint: exchange.last.map(|at| self.upstreams.address(at)),
            client: leg.address,
            asked,
            status: exchange.status,
            ended,
            request_bytes: exchange.request_bytes,
            response_bytes: exchange.response_bytes,
            attempts: exchange.attempts,
            first_byte: exchange.first_byte_at.map(|at| at.since(exchange.began)),
            total: now.since(exchange.began),
        }));
    }

    /// By slot, exchanges that were wanted and too many, since this was asked last.
    pub(crate) fn take_missed(&mut self) -> [u64; TAPS_MAX] {
        std::mem::take(&mut self.missed)
    }
}
