//! Which numbers the peer holds beyond SND.UNA: sorted ranges that neither overlap nor touch, as many as `SACK_RANGES_MAX`.
//!
//! ```text
//!   SND.UNA                                     SND.NXT
//!      |......####....########..........##.........|      # selectively acknowledged
//! ```

use crate::{limits::SACK_RANGES_MAX, tcp::seq::Seq};

/// From the first number to the one behind the last.
pub(super) type Range = (Seq, Seq);

#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    sorted: Vec<Range>,
}

/// What a block brings: how it lies among the ranges there are.
pub(super) struct Place {
    /// The ranges that it overlaps or touches: `sorted[first..last]`.
    first: usize,
    last: usize,
    /// The one range that they become.
    pub(super) merged: Range,
}

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Where a block belongs; `None` if it brings nothing new, or one range too many. Two binary searches, whatever a peer repeats.
    pub(super) fn place(&self, (left, right): Range) -> Option<Place> {
        let first = self.sorted.partition_point(|range| range.1.before(left));
        let last = first + self.sorted[first..].partition_point(|range| range.0.up_to(right));
        let merged = match &self.sorted[first..last] {
            [] if self.sorted.len() >= SACK_RANGES_MAX => return None,
            [] => (left, right),
            [one] if one.0.up_to(left) && one.1.from(right) => return None,
            [from, ..] => (from.0.min(left), self.sorted[last - 1].1.max(right)),
        };
        Some(Place { first, last, merged })
    }

    /// The ranges that a block joins.
    pub(super) fn joined(&self, place: &Place) -> &[Range] {
        &self.sorted[place.first..place.last]
    }

    /// Takes a block in.
    pub(super) fn insert(&mut self, place: &Place) {
        if place.first == place.last {
            self.sorted.insert(place.first, place.merged);
        } else {
            self.sorted[place.first] = place.merged;
            self.sorted.drain(place.first + 1..place.last);
        }
    }

    /// Forgets what lies before `una`.
    #[inline]
    pub(super) fn advance(&mut self, una: Seq) {
        if self.sorted.is_empty() {
            return;
        }
        let gone = self.sorted.iter().take_while(|range| range.1.up_to(una)).count();
        self.sorted.drain(..gone);
        if let Some(range) = self.sorted.first_mut() {
            range.0 = range.0.max(una);
        }
    }

    pub(super) fn clear(&mut self) {
        self.sorted.clear();
    }

    #[cfg(test)]
    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.sorted.iter().any(|range| range.0.up_to(seq) && seq.before(range.1))
    }
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert!(self.sorted.len() <= SACK_RANGES_MAX);
        assert!(self.sorted.iter().all(|range| range.0.before(range.1)));
        assert!(self.sorted.windows(2).all(|pair| pair[0].1.before(pair[1].0)));
    }
}
