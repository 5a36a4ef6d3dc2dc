//! Endpoints by number, with what policies look at: weights, which never change within a generation, health and requests, which always do.
//!
//! Weights are kept as a tree of sums (Fenwick 1994), once for all endpoints and once for the healthy ones, so that one can be drawn by weight, and
//! one can fall ill, in O(log n).

use super::below;
use crate::limits::{ENDPOINT_WEIGHT_MAX, ENDPOINTS_MAX};

/// One that is to be in a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// A hash of its address or name: the same in each generation and process, so that hashes lead to the same endpoint. Different for each.
    pub key: u64,
    /// Its part of the sum of weights; zero gets nothing.
    pub weight: u32,
}

/// The endpoints of one backend, as one worker sees them.
#[derive(Clone, Debug)]
pub struct EndpointSet {
    generation: u64,
    endpoints: Box<[State]>,
    /// In percent: with a smaller part of the endpoints healthy, health is ignored.
    panic_threshold: u8,

    // Of those with a weight.
    count: usize,
    healthy_count: usize,
    has_equal_weights: bool,
    all: Sums,
    healthy: Sums,

    /// Counts changes of health.
    health_version: u64,
    in_panic: bool,
}

#[derive(Clone, Copy, Debug)]
struct State {
    key: u64,
    weight: u32,
    active: u32,
    is_healthy: bool,
}

impl EndpointSet {
    /// Healthy, all of them, and without requests. `generation` differs from that of every other set that the same policy sees. As in Envoy,
    /// health is ignored when less than `panic_threshold` percent of the endpoints are healthy: the few would only fall too. 0 never
    /// ignores it.
    ///
    /// # Panics
    ///
    /// With more endpoints than [`ENDPOINTS_MAX`], or a weight above [`ENDPOINT_WEIGHT_MAX`]: who compiles snapshots checks that.
    pub fn new(generation: u64, endpoints: &[Endpoint], panic_threshold: u8) -> Self {
        assert!(endpoints.len() <= ENDPOINTS_MAX, "{} endpoints", endpoints.len());
        assert!(endpoints.iter().all(|it| it.weight <= ENDPOINT_WEIGHT_MAX));
        let state = |it: &Endpoint| State { key: it.key, weight: it.weight, active: 0, is_healthy: true };
        let mut weights = endpoints.iter().map(|it| it.weight).filter(|weight| *weight > 0);
        let first = weights.next();
        let has_equal_weights = weights.all(|weight| Some(weight) == first);
        let count = endpoints.iter().filter(|it| it.weight > 0).count();
        let sums = Sums::new(endpoints.iter().map(|it| it.weight));
        Self {
            generation,
            endpoints: endpoints.iter().map(state).collect(),
            panic_threshold: panic_threshold.min(100),
            count,
            healthy_count: count,
            has_equal_weights,
            healthy: sums.clone(),
            all: sums,
            health_version: 0,
            in_panic: false,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }
    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
    /// What tells its keys and weights from others.
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// A hash of its address or name.
    pub fn key(&self, index: usize) -> u64 {
        self.endpoints[index].key
    }
    /// Its part of the sum of weights.
    pub fn weight(&self, index: usize) -> u32 {
        self.endpoints[index].weight
    }
    /// Requests that it has now.
    pub fn active(&self, index: usize) -> u32 {
        self.endpoints[index].active
    }
    /// Whether it was said to be healthy.
    pub fn is_healthy(&self, index: usize) -> bool {
        self.endpoints[index].is_healthy
    }
    /// So few are healthy that health is ignored.
    pub fn in_panic(&self) -> bool {
        self.in_panic
    }
    /// Whether it may be chosen now.
    pub fn is_usable(&self, index: usize) -> bool {
        let it = &self.endpoints[index];
        it.weight > 0 && (it.is_healthy || self.in_panic)
    }

    /// It is healthy from now on, or not.
    pub fn set_healthy(&mut self, index: usize, is_healthy: bool) {
        let it = &mut self.endpoints[index];
        if it.is_healthy == is_healthy {
            return;
        }
        it.is_healthy = is_healthy;
        self.health_version += 1;
        if it.weight == 0 {
            return;
        }
        if is_healthy {
            self.healthy.add(index, it.weight);
            self.healthy_count += 1;
        } else {
            self.healthy.subtract(index, it.weight);
            self.healthy_count -= 1;
        }
        self.in_panic = self.healthy_count * 100 < usize::from(self.panic_threshold) * self.count;
    }

    /// It has so many requests from before: it was in another set.
    pub fn carry(&mut self, index: usize, active: u32) {
        self.endpoints[index].active = active;
    }

    /// A request goes to it.
    pub fn begin(&mut self, index: usize) {
        self.endpoints[index].active += 1;
    }

    /// A request to it ended.
    pub fn end(&mut self, index: usize) {
        let active = &mut self.endpoints[index].active;
        assert!(*active > 0, "a request ends once");
        *active -= 1;
    }

    pub(super) fn health_version(&self) -> u64 {
        self.health_version
    }
    pub(super) fn has_equal_weights(&self) -> bool {
        self.has_equal_weights
    }
    /// The weights of usable endpoints.
    pub(super) fn usable(&self) -> &Sums {
        if self.in_panic { &self.all } else { &self.healthy }
    }
    /// The sum of all weights.
    pub(super) fn weight_sum(&self) -> u64 {
        self.all.sum()
    }
    /// A usable endpoint by its weight.
    pub(super) fn draw(&self, random: u64) -> Option<usize> {
        let usable = self.usable();
        (usable.sum() > 0).then(|| usable.find(below(random, usable.sum())).0)
    }
}

/// Sums of the first weights.
///
/// ```text
///   index      0   1   2   3   4   5   6   7
///   tree[1]   [0]                             tree[i] is the sum of as many weights, up to index i - 1,
///   tree[2]   [0   1]                         as the lowest set bit of i says
///   tree[3]           [2]
///   tree[4]   [0   1   2   3]
///   tree[5]                   [4]
///   ..
/// ```
#[derive(Clone, Debug)]
pub(super) struct Sums {
    tree: Box<[u64]>,
    sum: u64,
}

impl Sums {
    fn new(weights: impl ExactSizeIterator<Item = u32>) -> Self {
        let mut tree = vec![0; weights.len() + 1].into_boxed_slice();
        let mut sum = 0;
        for (index, weight) in weights.enumerate() {
            let at = index + 1;
            tree[at] += u64::from(weight);
            sum += u64::from(weight);
            let parent = at + lowest_bit(at);
            if parent < tree.len() {
                tree[parent] += tree[at];
            }
        }
        Self { tree, sum }
    }

    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    fn add(&mut self, index: usize, weight: u32) {
        self.sum += u64::from(weight);
        let mut at = index + 1;
        while at < self.tree.len() {
            self.tree[at] += u64::from(weight);
            at += lowest_bit(at);
        }
    }

    fn subtract(&mut self, index: usize, weight: u32) {
        self.sum -= u64::from(weight);
        let mut at = index + 1;
        while at < self.tree.len() {
            self.tree[at] -= u64::from(weight);
            at += lowest_bit(at);
        }
    }

    /// The index at which the sum of the first weights exceeds `number`, and that sum without its own weight. `number < sum()`.
    pub(super) fn find(&self, number: u64) -> (usize, u64) {
        assert!(number < self.sum, "{number} is beyond all weights");
        let (mut index, mut before) = (0, 0);
        let mut step = (self.tree.len() - 1).checked_ilog2().map_or(0, |bits| 1 << bits);
        while step > 0 {
            if let Some(&sum) = self.tree.get(index + step)
                && before + sum <= number
            {
                index += step;
                before += sum;
            }
            step /= 2;
        }
        (index, before)
    }
}

fn lowest_bit(number: usize) -> usize {
    number & number.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    proptest! {
        #[test]
        fn sums_find_what_adding_up_finds(weights in vec(0_u32..4, 1..40), changes in vec((0_usize..40, 0_u32..4), 0..20)) {
            let mut weights = weights;
            let mut sums = Sums::new(weights.iter().copied());
            for (index, weight) in changes {
                let index = index % weights.len();
                sums.subtract(index, weights[index]);
                sums.add(index, weight);
                weights[index] = weight;
            }
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            prop_assert_eq!(sums.sum(), total);
            for number in 0..total {
                let mut before = 0;
                let index = weights.iter().position(|&weight| {
                    before += u64::from(weight);
                    before > number
                });
                let index = index.unwrap();
                prop_assert_eq!(sums.find(number), (index, before - u64::from(weights[index])));
            }
        }
    }

    #[test]
    fn panic_is_when_less_than_the_threshold_is_healthy() {
        let endpoint = |key| Endpoint { key, weight: u32::from(key < 4) };
        for (threshold, panics_with) in [(0, 0), (25, 0), (26, 1), (50, 1), (51, 2), (100, 3)] {
            let mut set = EndpointSet::new(1, &[0, 1, 2, 3, 4, 5].map(endpoint), threshold);
            for healthy in (0..4).rev() {
                set.set_healthy(healthy, false);
                assert_eq!(set.in_panic(), healthy <= panics_with && threshold > 0, "{healthy} of 4, {threshold} %");
                assert_eq!(set.is_usable(3), set.in_panic());
                assert!(!set.is_usable(4), "no weight");
            }
            set.set_healthy(4, false);
            (0..4).for_each(|index| set.set_healthy(index, true));
            assert!(!set.in_panic() && set.is_usable(3) && set.usable().sum() == 4);
        }
    }
}
