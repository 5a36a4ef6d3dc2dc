//! Drawn by weight.

use super::EndpointSet;

pub(super) fn choose(set: &EndpointSet, random: u64) -> Option<usize> {
    set.draw(random)
}
