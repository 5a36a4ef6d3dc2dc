//! A hierarchical timer wheel: one deadline for each of up to a million ids, at a cost that does not depend on how many are armed.
//!
//! ```text
//!   tick (64 us), as digits:   | digit 3 | digit 2 | digit 1 | digit 0 |
//!
//!   level 0   256 slots of one tick        (16 ms)    ids that share digits 1..3 with `current`
//!   level 1   256 slots of 256 ticks       (4.2 s)    ids that share digits 2..3
//!   level 2   256 slots of 65,536 ticks    (17.9 min) ids that share digit 3
//!   level 3   256 slots of 2^24 ticks      (76 h)     all others; this one goes around
//! ```
//! An id waits on the level of the highest digit in which its tick differs from `current`. So everything on a level comes before everything on
//! the levels above, and the lowest occupied level tells what is next. When `current` reaches a slot of a higher level, the slot's ids move
//! down (they "cascade"); between occupied slots it jumps, so silence costs nothing however long it is.
//!
//! A slot is a doubly linked list through one array of nodes, a node for each id. The array's memory is reserved at the start and touched
//! up to the largest id that was ever armed.

use crate::time::{Duration, Instant};

/// What a deadline is rounded up to.
pub(crate) const TICK: Duration = Duration::from_us(64);

const LEVELS: usize = 4;
/// Bits of a digit.
const DIGIT: u32 = 8;
const SLOTS: usize = 1 << DIGIT;
/// Bitmap words of one level.
const WORDS: usize = SLOTS / 64;
/// The farthest tick ahead of `current`: its top digit is another than `current`'s, so that the top level never meets its own start.
const SPAN: u64 = 255 << ((LEVELS as u32 - 1) * DIGIT);

/// Bytes of one id's place.
pub(crate) const NODE_BYTES: usize = size_of::<Node>();

/// The end of a list.
const NIL: u32 = u32::MAX;
/// The slot of an id that is not armed.
const UNARMED: u32 = u32::MAX;

/// One worker's timers. An owner has one deadline here for each id, and arms it lazily: it looks at its true deadlines when it is woken.
pub(crate) struct Wheel {
    /// No armed tick comes before; one that is equal is in level 0.
    current: u64,
    /// The tick of the latest `now` that was seen. What is armed later than that gets a later tick.
    seen: u64,
    /// Everything up to `seen` was given.
    exhausted: bool,
    /// The first id of each slot, level after level.
    heads: [u32; LEVELS * SLOTS],
    /// Which slots have ids.
    occupied: [[u64; WORDS]; LEVELS],
    nodes: Vec<Node>,
    capacity: usize,
    armed: usize,
    /// Nodes moved and slots opened.
    #[cfg(test)]
    steps: usize,
}

/// One id's place.
#[derive(Clone, Copy)]
struct Node {
    prev: u32,
    next: u32,
    /// The tick, modulo 2^32; it is less than that ahead of `current`.
    tick: u32,
    /// Level and slot as an index into `heads`, or [`UNARMED`].
    slot: u32,
}

impl Wheel {
    /// For ids below `capacity`.
    pub(crate) fn new(capacity: usize, now: Instant) -> Self {
        assert!(capacity < NIL as usize);
        let current = now.as_ns() / TICK.as_ns();
        Self {
            current,
            seen: current,
            exhausted: false,
            heads: [NIL; LEVELS * SLOTS],
            occupied: [[0; WORDS]; LEVELS],
            nodes: Vec::with_capacity(capacity),
            capacity,
            armed: 0,
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Makes sure that `id` is given at `at` or earlier. One that is armed for earlier already stays as it is. What is already past is given
    /// with the first tick after the latest `pop_due`, so that a loop over that ends. A deadline beyond the wheel's span (76 hours) is given
    /// at its end; [`Instant::NEVER`] is no deadline.
    #[inline]
    pub(crate) fn arm(&mut self, id: u32, at: Instant) {
        if at == Instant::NEVER {
            return;
        }
        let tick = at.as_ns().div_ceil(TICK.as_ns()).max(self.seen + 1).min(self.current + SPAN);
        if id as usize >= self.nodes.len() {
            self.grow(id);
        }
        let node = self.nodes[id as usize];
        if node.slot != UNARMED {
            if u64::from(node.tick.wrapping_sub(self.current as u32)) <= tick - self.current {
                return;
            }
            self.unlink(id, node);
        }
        self.link(id, tick);
    }

    /// Reads from memory what [`Self::arm`] will need.
    #[inline]
    pub(crate) fn touch(&self, id: u32) -> u64 {
        self.nodes.get(id as usize).map_or(0, |node| u64::from(node.slot))
    }

    /// Forgets the deadline of `id`, if it has one.
    #[inline]
    pub(crate) fn disarm(&mut self, id: u32) {
        if let Some(&node) = self.nodes.get(id as usize)
            && node.slot != UNARMED
        {
            self.unlink(id, node);
        }
    }

    /// Whether `id` has a deadline.
    pub(crate) fn is_armed(&self, id: u32) -> bool {
        self.nodes.get(id as usize).is_some_and(|node| node.slot != UNARMED)
    }

    /// How many ids have one.
    pub(crate) fn len(&self) -> usize {
        self.armed
    }

    /// When to call [`Wheel::pop_due`] next: not later than the earliest deadline, earlier when ids must cascade before.
    /// After a `pop_due` that gave nothing it is later than that call's `now`. [`Instant::NEVER`] when nothing is armed.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Instant {
        self.next_slot().map_or(Instant::NEVER, |(_, _, tick)| Instant::from_ns(tick * TICK.as_ns()))
    }

    /// The next id whose deadline has come, which is disarmed by that; `None` when there is none. In one call's `now` each id comes
    /// at most once, even when it is armed again at once.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let target = (now.as_ns() / TICK.as_ns()).max(self.seen);
        // What was armed since comes after `seen`. A busy worker asks a hundred times in a tick.
        if self.exhausted && target == self.seen {
            return None;
        }
        self.seen = target;
        let id = self.pop_until(target);
        self.exhausted = id.is_none();
        id
    }

    fn pop_until(&mut self, target: u64) -> Option<u32> {
        while let Some((level, slot, tick)) = self.next_slot()
            && tick <= target
        {
            self.current = tick;
            if level == 0 {
                let id = self.heads[slot];
                self.unlink(id, self.nodes[id as usize]);
                return Some(id);
            }
            self.cascade(level, slot);
        }
        // What is armed comes after `target`, so `current` passes no slot.
        self.current = target;
        None
    }

    /// The first occupied slot: its level, its index into `heads` and its first tick.
    #[inline]
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        if self.armed == 0 {
            return None;
        }
        for level in 0..LEVELS {
            let shift = level as u32 * DIGIT;
            let digit = (self.current >> shift) as usize % SLOTS;
            let Some(found) = first_from(&self.occupied[level], digit) else { continue };
            // Only the top level goes around, to digits before `current`'s.
            let ahead = (found + SLOTS - digit) % SLOTS;
            let tick = if ahead == 0 { self.current } else { ((self.current >> shift) + ahead as u64) << shift };
            return Some((level, level * SLOTS + found, tick));
        }
        unreachable!("an armed id is in a slot")
    }

    /// Moves a slot's ids down; `current` is the slot's first tick.
    fn cascade(&mut self, level: usize, slot: usize) {
        let mut id = std::mem::replace(&mut self.heads[slot], NIL);
        self.clear(level, slot);
        while id != NIL {
            let Node { next, tick, .. } = self.nodes[id as usize];
            self.armed -= 1;
            self.link(id, self.current + u64::from(tick.wrapping_sub(self.current as u32)));
            id = next;
        }
    }

    #[inline]
    fn link(&mut self, id: u32, tick: u64) {
        let differs = tick ^ self.current;
        let level = if differs == 0 { 0 } else { (differs.ilog2() / DIGIT).min(LEVELS as u32 - 1) };
        let digit = (tick >> (level * DIGIT)) as usize % SLOTS;
        let slot = level as usize * SLOTS + digit;
        let next = std::mem::replace(&mut self.heads[slot], id);
        if next == NIL {
            self.occupied[level as usize][digit / 64] |= 1 << (digit % 64);
        } else {
            self.nodes[next as usize].prev = id;
        }
        self.nodes[id as usize] = Node { prev: NIL, next, tick: tick as u32, slot: slot as u32 };
        self.armed += 1;
        self.step();
    }

    /// `node` is the id's.
    #[inline]
    fn unlink(&mut self, id: u32, node: Node) {
        if node.next != NIL {
            self.nodes[node.next as usize].prev = node.prev;
        }
        if node.prev != NIL {
            self.nodes[node.prev as usize].next = node.next;
        } else {
            let slot = node.slot as usize;
            self.heads[slot] = node.next;
            if node.next == NIL {
                self.clear(slot / SLOTS, slot);
            }
        }
        self.nodes[id as usize].slot = UNARMED;
        self.armed -= 1;
        self.step();
    }

    fn clear(&mut self, level: usize, slot: usize) {
        let digit = slot % SLOTS;
        self.occupied[level][digit / 64] &= !(1 << (digit % 64));
    }

    /// Within the memory that was reserved.
    #[cold]
    fn grow(&mut self, id: u32) {
        assert!((id as usize) < self.capacity, "an id is below the wheel's capacity");
        self.nodes.resize(id as usize + 1, Node { prev: NIL, next: NIL, tick: 0, slot: UNARMED });
    }

    #[inline]
    fn step(&mut self) {
        #[cfg(test)]
        {
            self.steps += 1;
        }
    }
}

/// The first bit that is set at `from` or after it, and then from the start on.
#[inline]
fn first_from(words: &[u64; WORDS], from: usize) -> Option<usize> {
    let (word, bit) = (from / 64, from % 64);
    let upper = words[word] & (u64::MAX << bit);
    if upper != 0 {
        return Some(word * 64 + upper.trailing_zeros() as usize);
    }
    // The word that we began in comes last once more, for its lower bits.
    (1..=WORDS)
        .map(|n| (word + n) % WORDS)
        .find_map(|w| (words[w] != 0).then(|| w * 64 + words[w].trailing_zeros() as usize))
}

const _: () = {
    assert!(size_of::<Node>() == 16, "four nodes to a cache line");
    assert!(SPAN < 1 << 32, "a node's tick is known from its lower half");
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const START: Instant = Instant::from_ns(123_456_789_000);

    fn drain(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop_due(now)).collect()
    }

    #[test]
    fn an_id_is_given_once_and_not_before_its_time() {
        let mut wheel = Wheel::new(10, START);
        let at = START + Duration::from_ms(5);
        wheel.arm(7, at);
        assert!(wheel.is_armed(7) && !wheel.is_armed(6) && !wheel.is_armed(1_000));
        assert_eq!(wheel.pop_due(at - Duration::from_ns(1)), None);
        let due = wheel.next_deadline();
        assert!(due >= at && due < at + TICK);
        assert_eq!(drain(&mut wheel, due), [7]);
        assert!(!wheel.is_armed(7));
        assert_eq!((wheel.next_deadline(), wheel.len()), (Instant::NEVER, 0));
    }

    #[test]
    fn arming_moves_a_deadline_forward_only() {
        let mut wheel = Wheel::new(10, START);
        let at = |ms| START + Duration::from_ms(ms);
        wheel.arm(0, at(500));
        wheel.arm(0, at(900));
        wheel.arm(0, Instant::NEVER);
        assert!(wheel.next_deadline() < at(501));
        wheel.arm(0, at(20));
        assert!(wheel.next_deadline() < at(21));
        assert_eq!(drain(&mut wheel, at(21)), [0]);
        assert!(drain(&mut wheel, at(1_000)).is_empty());
    }

    #[test]
    fn a_deadline_in_the_past_comes_with_the_next_tick() {
        let mut wheel = Wheel::new(10, START);
        let now = START + Duration::from_secs(1);
        wheel.arm(3, START);
        assert_eq!(wheel.pop_due(now), Some(3));
        wheel.arm(3, START);
        assert_eq!(wheel.pop_due(now), None, "not again in the same loop");
        assert_eq!(wheel.pop_due(now + TICK), Some(3));
    }

    #[test]
    fn a_far_deadline_comes_at_the_end_of_the_span() {
        let mut wheel = Wheel::new(10, START);
        let days = START + Duration::from_secs(30 * 24 * 3600);
        wheel.arm(1, days);
        let mut now = START;
        while !drain(&mut wheel, now).contains(&1) {
            assert!(wheel.next_deadline() > now);
            now = wheel.next_deadline();
        }
        let hours = now.since(START).as_ns() / 3_600_000_000_000;
        assert!((70..77).contains(&hours), "{hours}");
    }

    #[test]
    fn a_jump_of_the_clock_costs_nothing_for_the_time_between() {
        let mut wheel = Wheel::new(1 << 20, START);
        let mut now = START;
        for _ in 0..1_000 {
            now = now + Duration::from_secs(3_601);
            assert_eq!(wheel.pop_due(now), None);
        }
        wheel.arm(5, now + Duration::from_secs(40 * 3600));
        wheel.steps = 0;
        assert_eq!(drain(&mut wheel, now + Duration::from_secs(50 * 3600)), [5]);
        assert!(wheel.steps <= LEVELS + 1, "one move on each level: {}", wheel.steps);
    }

    #[test]
    fn an_id_that_was_never_armed_has_no_node() {
        let mut wheel = Wheel::new(1 << 20, START);
        wheel.disarm(1 << 19);
        wheel.arm(99, START);
        assert_eq!(wheel.nodes.len(), 100);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Arm(u32, u64),
        Disarm(u32),
        /// Nanoseconds later, and which of the given ids are armed again, how much later.
        Turn(u64, u64),
        /// Straight to the next deadline.
        Next,
    }

    fn length() -> impl Strategy<Value = u64> {
        // Each magnitude from a nanosecond to some 80 hours is as likely.
        (0u32..48, any::<u64>()).prop_map(|(bits, n)| n % (2u64 << bits))
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u32..40, length()).prop_map(|(id, ahead)| Op::Arm(id, ahead)),
            1 => (0u32..40).prop_map(Op::Disarm),
            2 => (length(), length()).prop_map(|(ahead, again)| Op::Turn(ahead, again)),
            2 => Just(Op::Next),
        ]
    }

    /// The same with a sorted map of ticks that is searched whole.
    #[derive(Default)]
    struct Slow {
        ticks: BTreeMap<u32, u64>,
        current: u64,
        seen: u64,
    }

    impl Slow {
        fn arm(&mut self, id: u32, at: Instant) {
            let tick = at.as_ns().div_ceil(TICK.as_ns()).max(self.seen + 1).min(self.current + SPAN);
            let armed = self.ticks.entry(id).or_insert(tick);
            *armed = tick.min(*armed);
        }
        fn due(&mut self, now: Instant) -> Vec<u32> {
            self.seen = now.as_ns() / TICK.as_ns();
            self.current = self.seen;
            let due = self.ticks.iter().filter(|&(_, &tick)| tick <= self.seen).map(|(&id, _)| id).collect();
            self.ticks.retain(|_, &mut tick| tick > self.seen);
            due
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn the_wheel_does_what_a_sorted_map_does(start in length(), ops in prop::collection::vec(op(), 1..60)) {
            let mut now = Instant::from_ns(start);
            let mut wheel = Wheel::new(40, now);
            let seen = now.as_ns() / TICK.as_ns();
            let mut slow = Slow { current: seen, seen, ..Slow::default() };
            for op in ops {
                let again = match op {
                    Op::Arm(id, ahead) => {
                        wheel.arm(id, now + Duration::from_ns(ahead));
                        slow.arm(id, now + Duration::from_ns(ahead));
                        continue;
                    }
                    Op::Disarm(id) => {
                        wheel.disarm(id);
                        slow.ticks.remove(&id);
                        continue;
                    }
                    Op::Turn(ahead, again) => {
                        now = now + Duration::from_ns(ahead);
                        again
                    }
                    Op::Next if wheel.next_deadline() == Instant::NEVER => continue,
                    Op::Next => {
                        now = now.max(wheel.next_deadline());
                        0
                    }
                };
                let mut due = drain(&mut wheel, now);
                due.sort_unstable();
                prop_assert_eq!(&due, &slow.due(now));
                prop_assert!(wheel.next_deadline() > now);
                let earliest = slow.ticks.values().min().map_or(Instant::NEVER, |t| Instant::from_ns(t * TICK.as_ns()));
                prop_assert!(wheel.next_deadline() <= earliest);
                prop_assert_eq!(wheel.len(), slow.ticks.len());
                for id in due.into_iter().filter(|id| again > 0 && id % 2 == 0) {
                    wheel.arm(id, now + Duration::from_ns(again));
                    slow.arm(id, now + Duration::from_ns(again));
                }
                for id in 0..40 {
                    prop_assert_eq!(wheel.is_armed(id), slow.ticks.contains_key(&id));
                }
            }
        }
    }
}
