//! Fewest requests, as Envoy has it.
//!
//! * Equal weights: of a few drawn ones that with the fewest requests (Mitzenmacher 2001). It is nearly as good as to look at all, and workers, who
//!   know only their own requests, do not all run to the same endpoint.
//! * Different weights: in turn by weight / (requests + 1), taken when the turn comes.

use super::{
    EndpointSet, below, mix,
    schedule::{Schedule, TURN},
};

#[derive(Clone, Debug)]
pub(super) struct LeastRequest {
    choices: u8,
    schedule: Schedule,
}

/// Requests beyond these make no turn longer.
const ACTIVE_MAX: u32 = 1 << 20;

impl LeastRequest {
    pub(super) fn new(choices: u8) -> Self {
        Self { choices, schedule: Schedule::default() }
    }

    pub(super) fn prepare(&mut self, set: &EndpointSet, random: u64) {
        if !set.has_equal_weights() {
            self.schedule.prepare(set, random);
        }
    }

    pub(super) fn choose(&mut self, set: &EndpointSet, random: u64) -> Option<usize> {
        if set.has_equal_weights() { self.fewest(set, random) } else { self.in_turn(set) }
    }

    /// Each one that is drawn differs from the best so far, so that of two endpoints the busier one is never taken.
    fn fewest(&self, set: &EndpointSet, random: u64) -> Option<usize> {
        let usable = set.usable();
        if usable.sum() == 0 {
            return None;
        }
        let (mut best, mut before) = usable.find(below(random, usable.sum()));
        let mut random = random;
        for _ in 1..self.choices {
            let weight = u64::from(set.weight(best));
            let others = usable.sum() - weight;
            if others == 0 {
                break;
            }
            random = mix(random);
            let drawn = below(random, others);
            let (other, other_before) = usable.find(if drawn < before { drawn } else { drawn + weight });
            if set.active(other) < set.active(best) {
                (best, before) = (other, other_before);
            }
        }
        Some(best)
    }

    fn in_turn(&mut self, set: &EndpointSet) -> Option<usize> {
        self.schedule
            .next(set, |index| TURN * u64::from(set.active(index).min(ACTIVE_MAX) + 1) / u64::from(set.weight(index)))
    }
}

const _: () = assert!(TURN * (ACTIVE_MAX as u64 + 1) < 1 << 60, "the schedule's clock has room for it");
