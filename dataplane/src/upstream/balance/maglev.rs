//! A table that endpoints fill in turn, each by a permutation of its own (Eisenbud and others, "Maglev", NSDI 2016): one look is a choice, and shares
//! are exact to a place. When an endpoint comes or goes, few others' places change; when it falls ill, none.
//!
//! ```text
//!   a's permutation: 3 0 4 1 2      turn 1: a takes 3, b takes 0, c (3 is taken) 4
//!   b's permutation: 0 2 4 1 3      turn 2: a (0, 4 are taken) 1, b takes 2          table: b a b a c
//!   c's permutation: 3 4 0 1 2
//! ```

use super::{EndpointSet, below, mix};
use crate::limits::BALANCE_SKIPS_MAX;

#[derive(Clone, Debug)]
pub(super) struct Maglev {
    places: u32,
    generation: Option<u64>,
    table: Vec<u32>,
}

const FREE: u32 = u32::MAX;

/// An endpoint while the table is filled.
struct Filler {
    index: u32,
    weight: u64,
    /// The next place of its permutation, and the step to the one after.
    next: u32,
    skip: u32,
    /// It takes a place in the first turn that, times its weight, comes to this.
    due: u64,
}

impl Maglev {
    pub(super) fn new(places: u32) -> Self {
        Self { places, generation: None, table: Vec::new() }
    }

    pub(super) fn prepare(&mut self, set: &EndpointSet) {
        if self.generation == Some(set.generation()) {
            return;
        }
        self.generation = Some(set.generation());
        self.table.clear();
        let mut fillers: Vec<_> = (0..set.len())
            .filter(|&index| set.weight(index) > 0)
            .map(|index| Filler {
                index: index as u32,
                weight: u64::from(set.weight(index)),
                next: below(mix(set.key(index)), u64::from(self.places)) as u32,
                skip: 1 + below(mix(!set.key(index)), u64::from(self.places - 1)) as u32,
                due: 0,
            })
            .collect();
        if fillers.is_empty() {
            return;
        }
        // By key, so that the table does not depend on the order in which endpoints were listed.
        fillers.sort_unstable_by_key(|filler| set.key(filler.index as usize));
        self.table.resize(self.places as usize, FREE);
        self.fill(&mut fillers);
    }

    fn fill(&mut self, fillers: &mut [Filler]) {
        let heaviest = fillers.iter().map(|filler| filler.weight).max().unwrap_or(1);
        let mut free = self.places;
        for turn in 1.. {
            for filler in &mut *fillers {
                // The heaviest takes a place in each turn, half its weight in each other.
                if turn * filler.weight < filler.due {
                    continue;
                }
                filler.due += heaviest;
                self.take(filler);
                free -= 1;
                if free == 0 {
                    return;
                }
            }
        }
    }

    /// The next free place of its permutation. The number of places is prime, so that it comes to each.
    fn take(&mut self, filler: &mut Filler) {
        loop {
            let place = filler.next;
            filler.next = ((u64::from(place) + u64::from(filler.skip)) % u64::from(self.places)) as u32;
            if self.table[place as usize] == FREE {
                self.table[place as usize] = filler.index;
                return;
            }
        }
    }

    pub(super) fn choose(&self, set: &EndpointSet, hash: u64) -> Option<usize> {
        if set.usable().sum() == 0 {
            return None;
        }
        let mut hash = mix(hash);
        for _ in 0..BALANCE_SKIPS_MAX {
            let index = self.table[below(hash, u64::from(self.places)) as usize] as usize;
            if set.is_usable(index) {
                return Some(index);
            }
            hash = mix(hash);
        }
        // Nearly all are ill.
        set.draw(hash)
    }
}

/// By trial: numbers are small, and it is asked once.
pub(super) fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_known() {
        let primes: Vec<_> = (0..30).filter(|&number| is_prime(number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537) && is_prime(5_000_011) && !is_prime(65_535) && !is_prime(5_000_009));
    }
}
