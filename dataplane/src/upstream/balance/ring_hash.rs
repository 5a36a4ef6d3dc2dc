//! A ring of hashes (Karger and others, STOC 1997): each endpoint has points on it by its weight, a request goes to the next point from its hash.
//! When an endpoint comes, goes or falls ill, only requests move that go to it or went there.
//!
//! ```text
//!   0 ----a--b----------a---c---b--c----a---- 2^64      points: sorted; (hash, endpoint)
//!              ^ hash ->| a                              a is not usable: the next, c
//! ```

use super::{EndpointSet, mix};
use crate::limits::BALANCE_SKIPS_MAX;

#[derive(Clone, Debug)]
pub(super) struct RingHash {
    points_min: u32,
    points_max: u32,
    generation: Option<u64>,
    points: Vec<(u64, u32)>,
}

impl RingHash {
    pub(super) fn new(points_min: u32, points_max: u32) -> Self {
        Self { points_min, points_max, generation: None, points: Vec::new() }
    }

    pub(super) fn prepare(&mut self, set: &EndpointSet) {
        if self.generation == Some(set.generation()) {
            return;
        }
        self.generation = Some(set.generation());
        self.points.clear();
        let (points, weight) = self.points_of_weight(set);
        for index in (0..set.len()).filter(|&index| set.weight(index) > 0) {
            // An endpoint's points depend on nothing but its key: with more or fewer of them the first ones stay.
            let base = mix(set.key(index));
            let count = (u64::from(set.weight(index)) * points / weight).max(1);
            self.points.extend((0..count).map(|number| (mix(base.wrapping_add(number)), index as u32)));
        }
        self.points.sort_unstable_by_key(|&(hash, index)| (hash, set.key(index as usize)));
    }

    /// So many points for so much weight that all together have the least number and not the largest. For the lightest endpoint it is a power of
    /// two: otherwise each endpoint that comes or goes would change the number of everybody's points, and move what need not move.
    fn points_of_weight(&self, set: &EndpointSet) -> (u64, u64) {
        let lightest = (0..set.len()).map(|index| u64::from(set.weight(index))).filter(|weight| *weight > 0).min();
        let Some(lightest) = lightest else { return (0, 1) };
        let (sum, max) = (set.weight_sum(), u64::from(self.points_max));
        let points = (lightest * u64::from(self.points_min)).div_ceil(sum).next_power_of_two();
        if points * sum / lightest <= max { (points, lightest) } else { (max, sum) }
    }

    pub(super) fn choose(&self, set: &EndpointSet, hash: u64) -> Option<usize> {
        if set.usable().sum() == 0 {
            return None;
        }
        // The caller's hash may be the bytes of a small number.
        let hash = mix(hash);
        let start = self.points.partition_point(|&(point, _)| point < hash);
        let from_there = self.points[start..].iter().chain(&self.points[..start]).take(BALANCE_SKIPS_MAX);
        let next = from_there.map(|&(_, index)| index as usize).find(|&index| set.is_usable(index));
        // Nearly all are ill. Past more of them the way would be as long as the ring.
        next.or_else(|| set.draw(mix(hash)))
    }

    /// The endpoint of each point.
    #[cfg(test)]
    pub(super) fn points(&self) -> impl Iterator<Item = usize> {
        self.points.iter().map(|&(_, index)| index as usize)
    }
}
