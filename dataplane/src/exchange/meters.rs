//! What exchanges came to, for each listener, route, backend and endpoint.
//!
//! A subject gets a meter with its first exchange, so that a hundred thousand routes of which ten are used cost ten; and there are no more than
//! [`METERS_MAX`](crate::limits::METERS_MAX) in a worker: what finds no room is counted together. Names are not known here: the planner puts them to numbers.

use super::{plan::ListenerKey, report::Bookmark};
use crate::{
    limits::{METERS_MAX, REPORT_LOOKS, REPORT_PAGE},
    link::message::DURATION_BOUNDS_US,
    route::BackendIndex,
    time::Duration,
};
use std::net::SocketAddr;

/// A route's number, which it keeps while it is configured: a place, and whose turn it is there. An exchange may outlive its route's turn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct RouteKey {
    pub(super) place: u32,
    pub(super) turn: u32,
}

impl RouteKey {
    /// Of an exchange that no rule took.
    pub(super) const NONE: Self = Self { place: u32::MAX, turn: 0 };
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

/// Those of routes, by place, with whose turn it is.
#[derive(Default)]
pub(super) struct RouteMeters(Vec<(u32, Meter)>);

impl RouteMeters {
    #[inline]
    pub(super) fn count(&mut self, route: RouteKey, it: Metered, room: &mut Room) {
        if route == RouteKey::NONE {
            return;
        }
        let place = route.place as usize;
        if place >= self.0.len() {
            self.0.resize_with(place + 1, Default::default);
        }
        let (turn, meter) = &mut self.0[place];
        if *turn < route.turn {
            meter.clear(room);
            *turn = route.turn;
        }
        if *turn == route.turn {
            meter.count(it, room);
        }
    }
    /// The routes are no longer configured: their places may be others' next.
    pub(super) fn forget(&mut self, routes: &[RouteKey], room: &mut Room) {
        for route in routes {
            let place = route.place as usize;
            if place >= self.0.len() {
                self.0.resize_with(place + 1, Default::default);
            }
            let (turn, meter) = &mut self.0[place];
            if *turn <= route.turn {
                meter.clear(room);
                // What is still under way there counts nowhere.
                *turn = route.turn + 1;
            }
        }
    }
    /// A page of what they count, and where the next one begins.
    pub(super) fn page(&self, from: usize, meters: &mut Vec<(Subject, Sums)>) -> Option<Bookmark> {
        for (place, (turn, meter)) in (from..).zip(self.0.get(from..)?) {
            if place - from == REPORT_LOOKS || meters.len() == REPORT_PAGE {
                return Some(Bookmark { part: 1, place, within: 0 });
            }
            let route = RouteKey { place: place as u32, turn: *turn };
            meters.extend(meter.sums().map(|sums| (Subject::Route(route), *sums)));
        }
        None
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

/// What some of one worker's exchanges came to. Opaque: a [`Planner`](super::Planner) knows the names.
#[derive(Default)]
pub struct MeterReport {
    pub(super) meters: Vec<(Subject, Sums)>,
    pub(super) unmetered: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(meters: &RouteMeters) -> Vec<(RouteKey, u64)> {
        let mut page = Vec::new();
        assert_eq!(meters.page(0, &mut page), None);
        let count = |(subject, sums): (Subject, Sums)| match subject {
            Subject::Route(route) => (route, sums.by_class.iter().sum()),
            _ => unreachable!("of routes only"),
        };
        page.into_iter().map(count).collect()
    }

    #[test]
    fn what_outlives_its_route_counts_for_no_other() {
        let (mut meters, mut room) = (RouteMeters::default(), Room::default());
        let it = Metered::new(200, Duration::from_ms(1), 0, 0);
        let first = RouteKey { place: 3, turn: 0 };
        let next = RouteKey { place: 3, turn: 1 };
        meters.count(first, it, &mut room);
        meters.forget(&[first], &mut room);
        meters.count(first, it, &mut room);
        assert_eq!((counted(&meters), room.used), (vec![], 0));
        meters.count(next, it, &mut room);
        meters.count(first, it, &mut room);
        assert_eq!((counted(&meters), room.used), (vec![(next, 1)], 1));
    }

    #[test]
    fn many_routes_are_told_in_pages() {
        let (mut meters, mut room) = (RouteMeters::default(), Room::default());
        let it = Metered::new(200, Duration::from_ms(1), 0, 0);
        for place in (0..100_000).step_by(7) {
            meters.count(RouteKey { place, turn: 0 }, it, &mut room);
        }
        let (mut from, mut told) = (Some(0), 0);
        while let Some(place) = from {
            let mut page = Vec::new();
            from = meters.page(place, &mut page).map(|next| next.place);
            assert!(page.len() <= REPORT_PAGE);
            told += page.len();
        }
        assert_eq!(told, room.used);
    }
}
