//! Where an entry is, by the hash of its key: open addressing, made once, never changed.
//!
//! ```text
//!   hash ---> slot  slot+1  slot+2 ..  first empty one      a slot: half of the hash, and the entry's number
//! ```
//! Whoever keeps the entries compares the keys. A slot takes eight bytes, so a lookup among 100,000 entries costs one line of cache here and
//! one for the entry. The keys are the operator's, so nobody can choose them to collide; at most half of the slots are taken.

#[derive(Clone, Debug)]
pub(super) struct Index {
    /// A power of two of them.
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The hash's upper half; its lower bits chose the slot.
    tag: u32,
    entry: u32,
}

const EMPTY: Slot = Slot { tag: 0, entry: u32::MAX };

impl Index {
    /// Of entries 0, 1, 2 and so on with these hashes. Their keys must differ.
    pub(super) fn new(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        assert!(hashes.len() < u32::MAX as usize / 2, "entries are numbered with 32 bits");
        let mut slots = vec![EMPTY; (hashes.len() * 2).next_power_of_two().max(2)].into_boxed_slice();
        let mask = slots.len() - 1;
        for (entry, hash) in hashes.enumerate() {
            let mut at = hash as usize & mask;
            while slots[at].entry != EMPTY.entry {
                at = (at + 1) & mask;
            }
            slots[at] = Slot { tag: tag(hash), entry: entry as u32 };
        }
        Self { slots }
    }

    /// The entry with this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.entry == EMPTY.entry {
                return None;
            }
            if slot.tag == tag(hash) && is_it(slot.entry) {
                return Some(slot.entry);
            }
            at = (at + 1) & mask;
        }
    }
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_and_nothing_else_even_if_hashes_collide() {
        for count in [0_u64, 1, 2, 3, 100, 1_000] {
            for spread in [0, 1, 1 << 32, 0x9E37_79B9_7F4A_7C15] {
                let hash = |key: u64| key.wrapping_mul(spread);
                let index = Index::new((0..count).map(hash).collect::<Vec<_>>().into_iter());
                for key in 0..count + 3 {
                    let found = index.find(hash(key), |entry| u64::from(entry) == key);
                    assert_eq!(found, (key < count).then_some(key as u32), "{key} of {count}, spread {spread:#x}");
                }
            }
        }
    }
}
