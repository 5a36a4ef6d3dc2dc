//! Which record a flow has: a hash table of places, made for a million flows of one worker.
//!
//! ```text
//!   hash of the flow, keyed   |<- home slot ->|                |
//!                             |<------------ tag (32 bits) --->|  ...
//!
//!   slots   | tag place | tag place |     0     | tag place |     0     | ...     8 bytes each, so 8 to a cache line
//!                                                     |
//!                                   kind (2 bits), index (30 bits) of the record, which has the flow itself
//! ```
//! Open addressing with linear probing: a flow is in its home slot or in one of those that follow without a gap. A removal moves later ones back
//! into the hole, so there are no tombstones and the table does not age. Where a flow's home is can be told from its tag, so that neither
//! a search nor a removal touches a record whose tag is another's.
//!
//! The hash is keyed with a secret: who does not know it cannot aim flows at one slot. The longest way that an insertion had to walk is
//! kept, so that an operator would see it.

use ahash::RandomState;
use std::{
    fmt,
    hash::{BuildHasher, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The two ends of a connection, as numbers that are quick to compare and to hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    /// Our address, as an IPv6 address (`::ffff:a.b.c.d` for IPv4): upper and lower half.
    pub(crate) local: [u64; 2],
    /// The peer's.
    pub(crate) remote: [u64; 2],
    /// `local << 16 | remote`.
    pub(crate) ports: u32,
}

/// What comes before the address in the lower half of a mapped one.
const MAPPED: u64 = 0xffff << 32;

impl FlowKey {
    /// The flow between these two ends, which are of one family. An IPv6 address that is IPv4-mapped counts as IPv4; the network layer lets
    /// no packet with one pass.
    pub(crate) fn new(local: IpAddr, local_port: u16, remote: IpAddr, remote_port: u16) -> Self {
        Self { local: words(local), remote: words(remote), ports: u32::from(local_port) << 16 | u32::from(remote_port) }
    }

    /// The same from IPv4 addresses as they are in a header.
    #[cfg(test)]
    pub(crate) fn from_v4(local: [u8; 4], local_port: u16, remote: [u8; 4], remote_port: u16) -> Self {
        let words = |address| [0, MAPPED | u64::from(u32::from_be_bytes(address))];
        Self { local: words(local), remote: words(remote), ports: u32::from(local_port) << 16 | u32::from(remote_port) }
    }

    /// Our address.
    pub(crate) fn local(&self) -> IpAddr {
        address(self.local)
    }
    /// Our port.
    pub(crate) fn local_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }
    /// The peer's address.
    pub(crate) fn remote(&self) -> IpAddr {
        address(self.remote)
    }
    /// The peer's port.
    pub(crate) fn remote_port(&self) -> u16 {
        self.ports as u16
    }
    /// Whether the flow is one of IPv6.
    #[inline]
    pub(crate) fn is_ipv6(&self) -> bool {
        self.local[0] != 0 || self.local[1] >> 32 != MAPPED >> 32
    }
}

fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(a) => [0, MAPPED | u64::from(u32::from(a))],
        IpAddr::V6(a) => {
            let bits = u128::from(a);
            [(bits >> 64) as u64, bits as u64]
        }
    }
}

/// As an address again.
#[inline]
pub(crate) fn address(words: [u64; 2]) -> IpAddr {
    if words[0] == 0 && words[1] >> 32 == MAPPED >> 32 {
        IpAddr::V4(Ipv4Addr::from(words[1] as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from(u128::from(words[0]) << 64 | u128::from(words[1])))
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = SocketAddr::new(self.local(), self.local_port());
        let remote = SocketAddr::new(self.remote(), self.remote_port());
        write!(f, "{local} <- {remote}")
    }
}

/// What a flow's record is, and where among those of its kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u32);

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A connection.
    Connection = 1,
    /// A SYN that was answered.
    HalfOpen = 2,
    /// A connection that is over, in TIME-WAIT.
    TimeWait = 3,
}

const INDEX_BITS: u32 = 30;
/// Indices are below this.
pub(crate) const INDEX_MAX: u32 = 1 << INDEX_BITS;

impl Place {
    /// The record `index` of a kind.
    #[inline]
    pub(crate) fn new(kind: Kind, index: u32) -> Self {
        assert!(index < INDEX_MAX);
        Self((kind as u32) << INDEX_BITS | index)
    }
    /// What the record is.
    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match self.0 >> INDEX_BITS {
            1 => Kind::Connection,
            2 => Kind::HalfOpen,
            _ => Kind::TimeWait,
        }
    }
    /// Which one of its kind.
    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.0 & (INDEX_MAX - 1)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind(), self.index())
    }
}

/// The table has as many flows as it was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TableFull;

/// One worker's flows.
pub(crate) struct Table {
    /// `tag << 32 | place`; 0 where there is none. A power of two of them, of which at least a quarter is free.
    slots: Vec<u64>,
    /// How far a tag is shifted to give its home slot.
    home_shift: u32,
    flows: usize,
    flows_max: usize,
    probe_max: usize,
    key: RandomState,
}

impl Table {
    /// Bytes of a table for so many flows.
    pub(crate) fn bytes(flows_max: usize) -> usize {
        Self::slots_for(flows_max) * size_of::<u64>()
    }
    /// A quarter is free at least.
    fn slots_for(flows_max: usize) -> usize {
        (flows_max * 4).div_ceil(3).next_power_of_two().max(8)
    }

    /// For at most `flows_max` flows. Memory that no flow has used is not resident. The seed is a secret.
    pub(crate) fn new(flows_max: usize, seed: u64) -> Self {
        let slots = Self::slots_for(flows_max);
        assert!(slots <= 1 << 31, "a home slot is told from 32 bits");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut word = || random.u64(..);
        Self {
            slots: vec![0; slots],
            home_shift: 32 - slots.ilog2(),
            flows: 0,
            flows_max,
            probe_max: 0,
            key: RandomState::with_seeds(word(), word(), word(), word()),
        }
    }

    /// The hash of a flow, which every other method asks for.
    #[inline]
    pub(crate) fn hash(&self, flow: &FlowKey) -> u64 {
        let mut hasher = self.key.build_hasher();
        if flow.is_ipv6() {
            for word in [flow.local[0], flow.local[1], flow.remote[0], flow.remote[1]] {
                hasher.write_u64(word);
            }
        } else {
            hasher.write_u64(flow.local[1] << 32 | flow.remote[1] & u64::from(u32::MAX));
        }
        hasher.write_u64(u64::from(flow.ports));
        hasher.finish()
    }

    /// Reads the flow's home slot, so that the misses of many flows overlap. What is read means nothing.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u64 {
        self.slots[self.home(tag(hash))]
    }

    /// The first place with the flow's tag: nearly always the flow's if it is there at all, without a look at its record. One cache line in most cases.
    #[inline]
    pub(crate) fn candidate(&self, hash: u64) -> Option<Place> {
        self.find(hash, |_| true)
    }

    /// The place of a flow. `matches` compares the record at a place with the flow; it is asked for those with the flow's tag only.
    #[inline]
    pub(crate) fn find(&self, hash: u64, matches: impl FnMut(Place) -> bool) -> Option<Place> {
        self.slot(hash, matches).map(|slot| place_of(self.slots[slot]))
    }

    /// Adds a flow, which must not be there.
    ///
    /// # Errors
    /// When there are as many as the table was made for.
    pub(crate) fn insert(&mut self, hash: u64, place: Place) -> Result<(), TableFull> {
        if self.flows == self.flows_max {
            return Err(TableFull);
        }
        debug_assert!(self.slot(hash, |p| p == place).is_none(), "a place is in the table once");
        let mut slot = self.home(tag(hash));
        let mut probes = 1;
        while self.slots[slot] != 0 {
            slot = self.after(slot);
            probes += 1;
        }
        self.slots[slot] = u64::from(tag(hash)) << 32 | u64::from(place.0);
        self.flows += 1;
        self.probe_max = self.probe_max.max(probes);
        Ok(())
    }

    /// Gives a flow another record.
    ///
    /// # Panics
    /// When the flow is not at `old`.
    pub(crate) fn replace(&mut self, hash: u64, old: Place, new: Place) {
        let slot = self.slot(hash, |place| place == old).expect("a flow has the place that its owner says");
        self.slots[slot] = u64::from(tag(hash)) << 32 | u64::from(new.0);
    }

    /// Takes a flow out.
    ///
    /// # Panics
    /// When the flow is not at `place`.
    pub(crate) fn remove(&mut self, hash: u64, place: Place) {
        let mut hole = self.slot(hash, |p| p == place).expect("a flow has the place that its owner says");
        let mut slot = hole;
        loop {
            slot = self.after(slot);
            let content = self.slots[slot];
            if content == 0 {
                break;
            }
            // It may move back into the hole unless the hole comes before its home.
            let home = self.home((content >> 32) as u32);
            if self.distance(home, slot) >= self.distance(hole, slot) {
                self.slots[hole] = content;
                hole = slot;
            }
        }
        self.slots[hole] = 0;
        self.flows -= 1;
    }

    /// Flows in the table.
    pub(crate) fn len(&self) -> usize {
        self.flows
    }
    /// The most slots that an insertion has looked at.
    pub(crate) fn probe_max(&self) -> usize {
        self.probe_max
    }

    #[inline]
    fn slot(&self, hash: u64, mut matches: impl FnMut(Place) -> bool) -> Option<usize> {
        let tag = tag(hash);
        let mut slot = self.home(tag);
        // A quarter of the slots is free, so this ends.
        loop {
            let content = self.slots[slot];
            if content == 0 {
                return None;
            }
            if (content >> 32) as u32 == tag && matches(place_of(content)) {
                return Some(slot);
            }
            slot = self.after(slot);
        }
    }
    #[inline]
    fn home(&self, tag: u32) -> usize {
        (tag >> self.home_shift) as usize
    }
    #[inline]
    fn after(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }
    /// Steps from one slot on to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
    }
}

#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}
#[inline]
fn place_of(content: u64) -> Place {
    Place(content as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    fn flow(text: [&str; 2]) -> FlowKey {
        let [local, remote] = text.map(|t| t.parse::<SocketAddr>().unwrap());
        FlowKey::new(local.ip(), local.port(), remote.ip(), remote.port())
    }

    #[test]
    fn a_flow_reads_as_it_was_written() {
        for [local, remote] in [["10.0.0.1:80", "10.0.0.2:5555"], ["[2001:db8::1]:443", "[fe80::2]:65535"]] {
            let key = flow([local, remote]);
            assert_eq!(format!("{key:?}"), format!("{local} <- {remote}"));
            assert_eq!(key.is_ipv6(), local.starts_with('['));
        }
        let key = FlowKey::from_v4([10, 0, 0, 1], 80, [10, 0, 0, 2], 5555);
        assert_eq!(key, flow(["10.0.0.1:80", "10.0.0.2:5555"]));
        assert_eq!((key.local_port(), key.remote_port()), (80, 5555));
        assert_eq!((key.local(), key.remote()), ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn each_part_of_a_flow_counts_in_its_hash() {
        let flows = [
            ["10.0.0.1:80", "10.0.0.2:81"],
            ["10.0.0.1:81", "10.0.0.2:80"],
            ["10.0.0.2:80", "10.0.0.1:81"],
            ["10.0.0.1:80", "10.0.0.3:81"],
            ["[::1]:80", "[2::]:81"],
            ["[1::]:80", "[2::]:81"],
            ["[1::]:80", "[::2]:81"],
            ["[2::]:80", "[1::]:81"],
        ];
        let (table, other) = (Table::new(8, 1), Table::new(8, 2));
        let hashes: HashSet<u64> = flows.iter().flat_map(|&f| [table.hash(&flow(f)), other.hash(&flow(f))]).collect();
        assert_eq!(hashes.len(), 2 * flows.len(), "and so does the seed");
    }

    #[test]
    fn a_full_table_takes_no_more_until_one_leaves() {
        let mut table = Table::new(6, 0);
        let place = |i| Place::new(Kind::Connection, i);
        let hash = |i: u32| u64::from(i) << 61;
        for i in 0..6 {
            table.insert(hash(i), place(i)).unwrap();
        }
        assert_eq!(table.insert(hash(6), place(6)), Err(TableFull));
        table.remove(hash(3), place(3));
        table.insert(hash(6), place(6)).unwrap();
        assert_eq!(table.find(hash(6), |p| p == place(6)), Some(place(6)));
    }

    #[test]
    fn a_place_keeps_kind_and_index() {
        for kind in [Kind::Connection, Kind::HalfOpen, Kind::TimeWait] {
            for index in [0, 1, INDEX_MAX - 1] {
                let place = Place::new(kind, index);
                assert_eq!((place.kind(), place.index()), (kind, index));
            }
        }
    }

    #[test]
    fn ways_stay_short_at_the_highest_load() {
        let flows = 3 << 14;
        let mut table = Table::new(flows, 7);
        assert_eq!(table.slots.len(), 1 << 16);
        for i in 0..flows as u32 {
            let [a, b, c, d] = i.to_be_bytes();
            let hash = table.hash(&FlowKey::from_v4([10, 0, 0, 1], 443, [10 + a, b, c, 1], u16::from(d) << 4));
            table.insert(hash, Place::new(Kind::Connection, i)).unwrap();
        }
        assert!(table.probe_max() < 300, "{}", table.probe_max());
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Remove(usize),
        Replace(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        // Few homes and few tags, so that flows collide in both; the last homes, so that clusters go around the end.
        let hash = (prop_oneof![0u64..4, 60u64..64], 0u64..2, any::<u32>())
            .prop_map(|(home, tag, rest)| home << 58 | tag << 32 | u64::from(rest));
        prop_oneof![
            3 => hash.prop_map(Op::Insert),
            2 => any::<usize>().prop_map(Op::Remove),
            1 => any::<usize>().prop_map(Op::Replace),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn the_table_does_what_a_map_does(ops in prop::collection::vec(op(), 1..200)) {
            let mut table = Table::new(48, 0);
            prop_assert_eq!(table.slots.len(), 64);
            // By index: the record's hash, and its place now.
            let mut slow: HashMap<u32, (u64, Place)> = HashMap::new();
            let pick = |slow: &HashMap<u32, (u64, Place)>, n: usize| {
                let mut indices: Vec<u32> = slow.keys().copied().collect();
                indices.sort_unstable();
                (!indices.is_empty()).then(|| indices[n % indices.len()])
            };
            for (index, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Insert(hash) => {
                        let place = Place::new(Kind::HalfOpen, index as u32);
                        let full = slow.len() == 48;
                        prop_assert_eq!(table.insert(hash, place), if full { Err(TableFull) } else { Ok(()) });
                        if !full {
                            slow.insert(index as u32, (hash, place));
                        }
                    }
                    Op::Remove(n) => if let Some(index) = pick(&slow, n) {
                        let (hash, place) = slow.remove(&index).unwrap();
                        table.remove(hash, place);
                        prop_assert_eq!(table.find(hash, |p| p == place), None);
                    },
                    Op::Replace(n) => if let Some(index) = pick(&slow, n) {
                        let (hash, place) = slow.get_mut(&index).unwrap();
                        let new = Place::new(Kind::Connection, index);
                        table.replace(*hash, *place, new);
                        *place = new;
                    },
                }
                prop_assert_eq!(table.len(), slow.len());
                for (hash, place) in slow.values() {
                    prop_assert_eq!(table.find(*hash, |p| p == *place), Some(*place));
                    let candidate = table.candidate(*hash).unwrap();
                    prop_assert_eq!(tag(slow[&candidate.index()].0), tag(*hash));
                }
                prop_assert_eq!(table.slots.iter().filter(|&&s| s != 0).count(), slow.len());
            }
        }
    }
}
