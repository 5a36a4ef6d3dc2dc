//! Exchanges told to somebody who watches. Nobody watching, nothing is kept.

use super::{Exchange, Gateway, meters::RouteKey, plan::ListenerKey, record::Ended};
use crate::{
    http::Request,
    limits::{TAP_TEXT_MAX, TAPPED_MAX},
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
    pub(super) per_second: u32,
}

/// An exchange that has ended. A [`Planner`](super::Planner) puts names to its numbers.
pub struct Tapped {
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
pub(super) struct Tap {
    which: Tapping,
    /// By exchange.
    asked: Vec<Asked>,
    ended: VecDeque<Box<Tapped>>,
    second: Instant,
    told: u32,
}

impl Gateway {
    /// Tells exchanges from now on, or no longer.
    pub fn tap(&mut self, which: Option<Tapping>) {
        self.tap = which.map(|which| {
            Box::new(Tap { which, asked: Vec::new(), ended: VecDeque::new(), second: Instant::ZERO, told: 0 })
        });
    }

    /// The next one.
    pub fn poll_tapped(&mut self) -> Option<Box<Tapped>> {
        self.tap.as_mut()?.ended.pop_front()
    }

    /// Keeps what is told of an exchange's head.
    pub(super) fn tap_asked(tap: &mut Tap, x: u32, request: Request<'_>, path: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(TAP_TEXT_MAX)]).into_owned();
        let asked = Asked { method: text(request.method()), host: text(request.host()), path: text(path), rule: None };
        if tap.asked.len() <= x as usize {
            tap.asked.resize_with(x as usize + 1, Asked::default);
        }
        tap.asked[x as usize] = asked;
    }

    /// A tunnel begins, which lets go of the table that knows its rule's name.
    pub(super) fn tap_granted(&mut self, x: u32) {
        let Some(tap) = &mut self.tap else { return };
        let exchange = &self.exchanges[x as usize];
        if let (Some(rule), Some(asked)) = (exchange.rule, tap.asked.get_mut(x as usize)) {
            asked.rule = Some(self.listeners.edition(exchange.edition).table.name(rule).1);
        }
    }

    /// Tells one that has ended, if it is wanted.
    pub(super) fn tap_ended(&mut self, now: Instant, x: u32, ended: Ended) {
        let Some(tap) = &mut self.tap else { return };
        let exchange: &Exchange = &self.exchanges[x as usize];
        let asked = tap.asked.get_mut(x as usize).map(std::mem::take).unwrap_or_default();
        let backend = exchange.last.map(|at| self.upstreams.backend(at));
        let Tapping { route, backend: wanted, status_min, per_second } = tap.which;
        let fits = route.is_none_or(|it| it == exchange.route)
            && wanted.is_none_or(|it| Some(it) == backend)
            && exchange.status >= status_min;
        if !fits {
            return;
        }
        if now.since(tap.second) >= Duration::from_secs(1) {
            (tap.second, tap.told) = (now, 0);
        }
        tap.told += 1;
        if tap.told > per_second || tap.ended.len() >= TAPPED_MAX {
            return self.missed += 1;
        }
        let leg = &self.legs[exchange.client as usize];
        let named = exchange.rule.filter(|_| exchange.edition != super::Edition::NONE);
        let name = |rule| self.listeners.edition(exchange.edition).table.name(rule).1;
        let rule = named.map(name).or_else(|| asked.rule.clone());
        tap.ended.push_back(Box::new(Tapped {
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

    /// Exchanges that were wanted and too many, since this was asked last.
    pub(crate) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }
}
