//! What exchanges came to, for each listener, route, backend and endpoint.
//!
//! A subject gets a meter with its first exchange, so that a hundred thousand routes of which ten are used cost ten; and there are no more than
//! [`METERS_MAX`](crate::limits::METERS_MAX) in a worker: what finds no room is counted together. Names are not known here: the planner puts them to numbers.

use super::plan::ListenerKey;
use crate::{limits::METERS_MAX, link::message::DURATION_BOUNDS_US, route::BackendIndex, time::Duration};
use std::net::SocketAddr;

/// A route's number, which it keeps while it is configured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct RouteKey(pub(super) u32);

impl RouteKey {
    /// Of an exchange that no rule took.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// Sums. Everything only grows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Sums {
    /// By the status that the client got: none, 1xx to 5xx.
    pub(super) by_class: [u64; 6],
    pub(super) by_duration: [u64; DURATION_BOUNDS_US.len() + 1],
    pub(super) duration_us: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
}

/// An exchange, as meters see it.
#[derive(Clone, Copy)]
pub(super) struct Metered {
    class: usize,
    bucket: usize,
    duration_us: u64,
    request_bytes: u64,
    response_bytes: u64,
}

impl Metered {
    pub(super) fn new(status: u16, duration: Duration, request_bytes: u64, response_bytes: u64) -> Self {
        let duration_us = duration.as_us();
        let class = usize::from(status / 100).min(5);
        let bucket = DURATION_BOUNDS_US.partition_point(|bound| *bound < duration_us);
        Self { class, bucket, duration_us, request_bytes, response_bytes }
    }
}

impl Sums {
    fn count(&mut self, it: Metered) {
        self.by_class[it.class] += 1;
        self.by_duration[it.bucket] += 1;
        self.duration_us += it.duration_us;
        self.request_bytes += it.request_bytes;
        self.response_bytes += it.response_bytes;
    }

    pub(super) fn add(&mut self, other: &Self) {
        let add = |to: &mut [u64], from: &[u64]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        add(&mut self.by_class, &other.by_class);
        add(&mut self.by_duration, &other.by_duration);
        self.duration_us += other.duration_us;
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
    }
}

/// A subject's sums, once it has had an exchange.
#[derive(Default)]
pub(super) struct Meter(Option<Box<Sums>>);

impl Meter {
    pub(super) fn sums(&self) -> Option<&Sums> {
        self.0.as_deref()
    }
    /// Takes over what another has counted, which ends.
    pub(super) fn take(&mut self, other: &mut Self, room: &mut Room) {
        let Some(sums) = other.0.take() else { return };
        match &mut self.0 {
            Some(own) => {
                own.add(&sums);
                room.used -= 1;
            }
            none => *none = Some(sums),
        }
    }
    pub(super) fn clear(&mut self, room: &mut Room) {
        room.used -= usize::from(self.0.take().is_some());
    }
    #[inline]
    pub(super) fn count(&mut self, it: Metered, room: &mut Room) {
        match &mut self.0 {
            Some(sums) => sums.count(it),
            none if room.used < METERS_MAX => {
                room.used += 1;
                none.insert(Box::default()).count(it);
            }
            _ => room.unmetered += 1,
        }
    }
}

/// How many meters there are.
#[derive(Default)]
pub(super) struct Room {
    used: usize,
    pub(super) unmetered: u64,
}

/// Those of routes, by number.
#[derive(Default)]
pub(super) struct RouteMeters(Vec<Meter>);

impl RouteMeters {
    #[inline]
    pub(super) fn count(&mut self, route: RouteKey, it: Metered, room: &mut Room) {
        if route == RouteKey::NONE {
            return;
        }
        let place = route.0 as usize;
        if place >= self.0.len() {
            self.0.resize_with(place + 1, Meter::default);
        }
        self.0[place].count(it, room);
    }
    /// The routes are no longer configured: their numbers may be others'.
    pub(super) fn forget(&mut self, routes: &[RouteKey], room: &mut Room) {
        for route in routes {
            if let Some(meter) = self.0.get_mut(route.0 as usize) {
                meter.clear(room);
            }
        }
    }
    pub(super) fn all(&self) -> impl Iterator<Item = (RouteKey, &Sums)> {
        (0..).map(RouteKey).zip(&self.0).filter_map(|(route, meter)| Some((route, meter.sums()?)))
    }
}

/// Whose exchanges are counted together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Subject {
    Listener(ListenerKey),
    Route(RouteKey),
    Backend(BackendIndex),
    Endpoint(BackendIndex, SocketAddr),
}

/// What one worker's exchanges came to. Opaque: a [`Planner`](super::Planner) knows the names.
pub struct MeterReport {
    pub(super) meters: Vec<(Subject, Sums)>,
    pub(super) unmetered: u64,
}
