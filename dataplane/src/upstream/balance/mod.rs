//! Which endpoint takes the next request. A [`Policy`] chooses among an [`EndpointSet`]; each worker has its own of both.
//!
//! ```text
//!   EndpointSet                      Policy
//!     key, weight     generation --> tables, made again when it changes (`prepare`, before traffic meets it)
//!     healthy         version    --> nothing is made again: who is not usable is passed over
//!     active                     --> looked at with each choice
//! ```
//! | policy | a choice costs | among endpoints that are not usable |
//! | --- | --- | --- |
//! | [`RoundRobin`](PolicyKind::RoundRobin) | O(log n) | they leave the schedule until they are usable again |
//! | [`LeastRequest`](PolicyKind::LeastRequest) | O(log n) | never drawn; with different weights as above |
//! | [`Random`](PolicyKind::Random) | O(log n) | never drawn |
//! | [`RingHash`](PolicyKind::RingHash) | O(log points) | the next points of the ring; after 64 of them any usable one by the hash |
//! | [`Maglev`](PolicyKind::Maglev) | O(1) | other places by the same hash; after 64 of them any usable one by the hash |
//!
//! n is the number of endpoints; weights do not matter for the cost. Nothing is allocated but by `prepare`, and by a choice among a
//! set whose generation it has not seen.

mod endpoints;
mod least_request;
mod maglev;
mod random;
mod ring_hash;
mod round_robin;
mod schedule;
#[cfg(test)]
mod tests;

pub use endpoints::{Endpoint, EndpointSet};

use crate::limits::{BALANCE_CHOICES_MAX, MAGLEV_PLACES_MAX, RING_POINTS_RANGE};
use least_request::LeastRequest;
use maglev::Maglev;
use ring_hash::RingHash;
use round_robin::RoundRobin;
use serde::{Deserialize, Serialize};

/// A policy and what can be said of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all_fields = "camelCase", tag = "policy")]
pub enum PolicyKind {
    /// In turn, each as often as its weight says, evenly spread.
    RoundRobin,
    /// With equal weights the one of a few drawn ones that has the fewest requests; otherwise in turn by weight / (requests + 1).
    LeastRequest {
        /// How many are drawn.
        #[serde(default = "two")]
        choices: u8,
    },
    /// Drawn by weight.
    Random,
    /// The next one on a ring.
    RingHash {
        /// Points of all endpoints together, at least.
        #[serde(default = "ring_points_min")]
        points_min: u32,
        /// The same, at most.
        #[serde(default = "ring_points_max")]
        points_max: u32,
    },
    /// From a table that each endpoint fills to its weight (Eisenbud and others, NSDI 2016).
    Maglev {
        /// A prime number, a hundred times the number of endpoints or more.
        #[serde(default = "maglev_places")]
        places: u32,
    },
}

fn two() -> u8 {
    2
}
fn ring_points_min() -> u32 {
    RING_POINTS_RANGE.0
}
fn ring_points_max() -> u32 {
    RING_POINTS_RANGE.1
}
fn maglev_places() -> u32 {
    65_537
}

/// Why a policy cannot be as it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyFault {
    /// Fewer than two choices, or more than [`BALANCE_CHOICES_MAX`].
    Choices,
    /// The least number of points is zero or more than the largest, or that is more than [`RING_POINTS_RANGE`] allows.
    Points,
    /// The number of places is no prime number, or more than [`MAGLEV_PLACES_MAX`].
    Places,
}

impl std::error::Error for PolicyFault {}

impl std::fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let max = RING_POINTS_RANGE.1;
        match self {
            Self::Choices => write!(f, "choices: from 2 to {BALANCE_CHOICES_MAX}"),
            Self::Points => write!(f, "pointsMin, pointsMax: not zero, in this order, at most {max}"),
            Self::Places => write!(f, "places: a prime number, at most {MAGLEV_PLACES_MAX}, such as 65537"),
        }
    }
}

/// One worker's way to choose.
#[derive(Clone, Debug)]
pub struct Policy(Inner);

#[derive(Clone, Debug)]
enum Inner {
    RoundRobin(RoundRobin),
    LeastRequest(LeastRequest),
    Random,
    RingHash(RingHash),
    Maglev(Maglev),
}

impl Policy {
    /// Without tables yet.
    ///
    /// # Errors
    ///
    /// A number that is out of its range.
    pub fn new(kind: PolicyKind) -> Result<Self, PolicyFault> {
        let inner = match kind {
            PolicyKind::RoundRobin => Inner::RoundRobin(RoundRobin::default()),
            PolicyKind::LeastRequest { choices } if !(2..=BALANCE_CHOICES_MAX).contains(&choices) => {
                return Err(PolicyFault::Choices);
            }
            PolicyKind::LeastRequest { choices } => Inner::LeastRequest(LeastRequest::new(choices)),
            PolicyKind::Random => Inner::Random,
            PolicyKind::RingHash { points_min, points_max }
                if points_min == 0 || points_min > points_max || points_max > RING_POINTS_RANGE.1 =>
            {
                return Err(PolicyFault::Points);
            }
            PolicyKind::RingHash { points_min, points_max } => Inner::RingHash(RingHash::new(points_min, points_max)),
            PolicyKind::Maglev { places } if places > MAGLEV_PLACES_MAX || !maglev::is_prime(places) => {
                return Err(PolicyFault::Places);
            }
            PolicyKind::Maglev { places } => Inner::Maglev(Maglev::new(places)),
        };
        Ok(Self(inner))
    }

    /// Makes the tables for a set whose generation is new; `random` spreads where workers begin. A choice does it too, but a large ring
    /// takes its time.
    pub fn prepare(&mut self, set: &EndpointSet, random: u64) {
        match &mut self.0 {
            Inner::RoundRobin(it) => it.prepare(set, random),
            Inner::LeastRequest(it) => it.prepare(set, random),
            Inner::Random => {}
            Inner::RingHash(it) => it.prepare(set),
            Inner::Maglev(it) => it.prepare(set),
        }
    }

    /// The endpoint for the next request. Requests with the same `hash` go to the same one where the policy is for that; without a hash,
    /// and for other policies, `random` decides: uniform over all its values, a new one for each choice. `None` if no endpoint is usable.
    pub fn choose(&mut self, set: &EndpointSet, hash: Option<u64>, random: u64) -> Option<usize> {
        self.prepare(set, random);
        match &mut self.0 {
            Inner::RoundRobin(it) => it.choose(set),
            Inner::LeastRequest(it) => it.choose(set, random),
            Inner::Random => random::choose(set, random),
            Inner::RingHash(it) => it.choose(set, hash.unwrap_or(random)),
            Inner::Maglev(it) => it.choose(set, hash.unwrap_or(random)),
        }
    }
}

/// A number that looks unrelated to `number`, the same each time: the finalizer of SplitMix64 (Steele and others, OOPSLA 2014).
fn mix(number: u64) -> u64 {
    let mut it = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

/// `random`, uniform over all its values, made uniform below `bound`.
fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}
