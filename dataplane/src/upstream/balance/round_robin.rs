//! In turn, each as often as its weight says.

use super::{
    EndpointSet,
    schedule::{Schedule, TURN},
};

#[derive(Clone, Default, Debug)]
pub(super) struct RoundRobin {
    schedule: Schedule,
}

impl RoundRobin {
    pub(super) fn prepare(&mut self, set: &EndpointSet, random: u64) {
        self.schedule.prepare(set, random);
    }

    pub(super) fn choose(&mut self, set: &EndpointSet) -> Option<usize> {
        self.schedule.next(set, |index| TURN / u64::from(set.weight(index)))
    }
}
