//! Rules one by one, and the assembler against a map of single bytes.

use super::*;
use crate::{
    counters::Counter,
    limits::{FRAME_ROOM, FRAMES_PER_WORKER, HEADROOM, TCP_COPY_MAX, TCP_HELD_BYTES_MAX},
    port::Pool,
};
use proptest::prelude::*;

/// One connection's receiving side, with the worker's outputs.
struct Receiver {
    assemblers: Assemblers,
    id: Option<AssemblerId>,
    out: Outbox,
    rcv_nxt: Seq,
}

impl Receiver {
    fn new(rcv_nxt: Seq, frames_max: usize, pool: usize) -> Self {
        let out = Outbox::new(Pool::heap(pool), 1, true);
        Self { assemblers: Assemblers::new(frames_max), id: None, out, rcv_nxt }
    }

    fn roomy() -> Self {
        Self::new(Seq(1_000), FRAMES_PER_WORKER as usize / 4, FRAMES_PER_WORKER as usize)
    }

    /// A segment arrives, its payload in as many buffers as there are parts; `None` when the pool is empty.
    fn arrive(&mut self, seq: Seq, payload: &[u8], parts: usize, fin: bool) -> Option<Inserted> {
        let frame = self.receive(payload, parts)?;
        Some(self.assemblers.insert(&mut self.id, self.rcv_nxt, seq, frame, fin, &mut self.out))
    }

    fn receive(&mut self, payload: &[u8], parts: usize) -> Option<Frame> {
        let mut frame = None;
        for part in payload
            .chunks(payload.len().div_ceil(parts).clamp(1, FRAME_ROOM))
            .chain(payload.is_empty().then_some(&[][..]))
        {
            let mut next = self.out.pool.alloc()?;
            next.append_slice(part).unwrap();
            match &mut frame {
                None => frame = Some(next),
                Some(head) => head.chain(next),
            }
        }
        self.out.counters.count(Counter::RxFrames);
        frame
    }

    /// Takes what is in order; whether the FIN came with it.
    fn take(&mut self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        while let Some(popped) = self.assemblers.pop(&mut self.id, self.rcv_nxt, &mut self.out) {
            assert_eq!(popped.frame.as_ref().map_or(0, Frame::len), popped.len as usize);
            assert!(popped.len > 0 || popped.fin);
            if let Some(frame) = popped.frame {
                bytes.extend(frame.to_vec());
                self.out.consume(frame);
            }
            self.rcv_nxt += popped.len + u32::from(popped.fin);
            if popped.fin {
                return (bytes, true);
            }
        }
        (bytes, false)
    }

    fn runs(&self) -> Vec<(u32, u32)> {
        let runs = self.id.map_or(&[][..], |id| &self.assemblers.slots[id.index()].runs);
        runs.iter().map(|run| (run.start.0, run.end.0)).collect()
    }

    fn sack(&self, first: u32) -> Vec<(u32, u32)> {
        self.assemblers.sack_blocks(self.id, Seq(first)).into_iter().map(|(a, b)| (a.0, b.0)).collect()
    }

    fn memory(&self) -> usize {
        self.out.pool.in_use() * (HEADROOM + FRAME_ROOM) + self.assemblers.held_bytes()
    }

    /// Every frame has ended once or is held, and budgets are as they say.
    fn check(&mut self) {
        self.out.free_discards();
        let count = |counter| self.out.counters.counter(counter);
        let ended = count(Counter::ConsumedFrames) + count(Counter::DroppedFrames);
        let held = self.assemblers.held_frames() as u64;
        assert_eq!(count(Counter::RxFrames) + count(Counter::MadeFrames), ended + held);
        assert!(self.out.pool.in_use() <= self.assemblers.held_buffers());
        assert_eq!(self.id.is_none(), self.runs().is_empty());
    }

    fn check_empty(&mut self) {
        self.check();
        let held = (self.assemblers.held_frames(), self.assemblers.held_buffers(), self.assemblers.held_bytes());
        assert_eq!((self.id, held, self.out.pool.in_use()), (None, (0, 0, 0), 0));
    }
}

fn new(bytes: u32) -> Option<Inserted> {
    Some(Inserted::New { bytes, duplicate: None })
}

#[test]
fn a_hole_that_is_filled_gives_the_rest_in_order() {
    let mut r = Receiver::roomy();
    assert_eq!(r.arrive(Seq(2_000), &[2; 1_000], 1, false), new(1_000));
    assert_eq!(r.arrive(Seq(3_000), &[3; 100], 1, true), new(100));
    assert_eq!(r.take(), (vec![], false));
    assert_eq!(r.runs(), [(2_000, 3_101)]);
    assert_eq!(r.assemblers.held_frames(), 1, "the small one went into the room of the frame before");
    r.rcv_nxt = Seq(2_000);
    assert_eq!(r.take(), ([vec![2; 1_000], vec![3; 100]].concat(), true));
    r.check_empty();
}

#[test]
fn a_fin_alone_is_held_and_selectively_acknowledged() {
    let mut r = Receiver::roomy();
    assert_eq!(r.arrive(Seq(1_005), b"", 1, true), new(0));
    assert_eq!(r.arrive(Seq(1_005), b"", 1, true), Some(Inserted::Duplicate { start: Seq(1_005), end: Seq(1_006) }));
    assert_eq!(r.sack(1_005), [(1_005, 1_006)]);
    r.rcv_nxt = Seq(1_005);
    assert_eq!(r.take(), (vec![], true));
    r.check_empty();
}

#[test]
fn what_arrived_first_stays() {
    let mut r = Receiver::roomy();
    r.arrive(Seq(1_010), b"first", 1, false);
    let overlap = Inserted::New { bytes: 9, duplicate: Some((Seq(1_010), Seq(1_015))) };
    assert_eq!(r.arrive(Seq(1_006), b"OTHER BYTES OF", 1, false), Some(overlap));
    r.rcv_nxt = Seq(1_006);
    assert_eq!(r.take().0, b"OTHEfirstES OF");
    r.check_empty();
}

#[test]
fn nothing_follows_a_fin_and_a_fin_precedes_nothing() {
    let mut r = Receiver::roomy();
    r.arrive(Seq(1_010), b"end", 1, true);
    let refused = Some(Inserted::Refused(Drop::TcpAfterFin));
    assert_eq!(r.arrive(Seq(1_013), b"more", 1, false), refused);
    assert_eq!(r.arrive(Seq(1_020), b"more", 1, true), refused);
    assert_eq!(r.arrive(Seq(1_005), b"early", 1, true), new(5), "data counts, but there is one FIN");
    assert_eq!(r.runs(), [(1_005, 1_014)]);
    r.rcv_nxt = Seq(1_005);
    assert_eq!(r.take(), (b"earlyend".to_vec(), true));
    r.arrive(Seq(1_030), b"data", 1, false);
    assert_eq!(r.arrive(Seq(1_032), b"", 1, true), refused);
    r.assemblers.discard(&mut r.id, &mut r.out);
    r.check_empty();
}

#[test]
fn a_segment_over_several_runs_is_held_in_several_parts() {
    let mut r = Receiver::roomy();
    for (at, len) in [(3_000, 100), (4_000, 100), (4_200, 100)] {
        r.arrive(Seq(at), &vec![1; len], 1, false);
    }
    let inserted = r.arrive(Seq(2_000), &[2; 2_048 + 852], 2, false);
    assert_eq!(inserted, Some(Inserted::New { bytes: 2_600, duplicate: Some((Seq(3_000), Seq(3_100))) }));
    r.check();
    assert_eq!(r.runs(), [(2_000, 4_900)]);
    r.rcv_nxt = Seq(2_000);
    let expected = [(1_000, 2), (100, 1), (900, 2), (100, 1), (100, 2), (100, 1), (600, 2)];
    assert_eq!(r.take().0, expected.map(|(len, byte)| vec![byte; len]).concat());
    r.check_empty();
}

#[test]
fn small_payloads_do_not_pin_buffers() {
    let mut r = Receiver::roomy();
    for at in (1_001..1_400).step_by(2) {
        assert_eq!(r.arrive(Seq(at), b"x", 1, false), new(1));
    }
    r.check();
    assert_eq!((r.out.pool.in_use(), r.runs().len()), (0, 200));
    for at in (1_002..1_400).step_by(2) {
        r.arrive(Seq(at), b"y", 1, false);
    }
    r.rcv_nxt = Seq(1_001);
    let made = r.out.counters.counter(Counter::MadeFrames);
    assert_eq!(r.take().0, [b"xy".repeat(199), b"x".to_vec()].concat());
    assert_eq!(r.out.counters.counter(Counter::MadeFrames) - made, 1, "copies go up together");
    r.check_empty();
}

#[test]
fn ten_kib_of_hostile_input_hold_less_than_one_mib() {
    let total = 10 << 10;
    let orders: [(&str, Box<dyn Fn(u32) -> u32>); 4] = [
        ("forward", Box::new(|i| i)),
        ("backward", Box::new(move |i| total - 1 - i)),
        ("even, then odd", Box::new(move |i| i * 2 % total + i * 2 / total)),
        ("far apart", Box::new(move |i| i * 7_919 % total)),
    ];
    for len in [1, 8, TCP_COPY_MAX as u32, TCP_COPY_MAX as u32 + 1] {
        for (name, order) in &orders {
            let mut r = Receiver::roomy();
            let payload = vec![0; len as usize];
            for i in 0..total / len {
                r.arrive(Seq(2_000 + order(i) * len), &payload, 1, false);
            }
            r.check();
            assert!(r.memory() < 1 << 20, "{len} bytes {name}: {}", r.memory());
        }
    }
}

#[test]
fn a_run_too_many_is_refused_or_takes_the_place_of_the_last() {
    let mut r = Receiver::roomy();
    for i in 0..TCP_RUNS_MAX as u32 {
        r.arrive(Seq(2_000 + 10 * i), b"data", 1, false);
    }
    let last = 2_000 + 10 * (TCP_RUNS_MAX as u32 - 1);
    let beyond = r.arrive(Seq(last + 10), b"data", 1, false);
    assert_eq!(beyond, Some(Inserted::Refused(Drop::TcpReassemblyRuns)));
    assert_eq!(r.arrive(Seq(last + 4), b"data", 1, false), new(4), "a run may grow");
    assert_eq!(r.arrive(Seq(1_500), b"data", 1, false), new(4));
    let runs = r.runs();
    assert_eq!((runs.len(), runs[0], runs[TCP_RUNS_MAX - 1].0), (TCP_RUNS_MAX, (1_500, 1_504), last - 10));
    assert_eq!(r.assemblers.runs_given_up(), 1);
    r.assemblers.discard(&mut r.id, &mut r.out);
    r.check_empty();
}

#[test]
fn a_full_budget_refuses_what_comes_last() {
    let mut r = Receiver::new(Seq(0), 2, 16);
    let (early, late) = ([1; 600], [2; 600]);
    r.arrive(Seq(5_000), &late, 1, false);
    r.arrive(Seq(6_000), &late, 1, false);
    assert_eq!(r.arrive(Seq(7_000), &late, 1, false), Some(Inserted::Refused(Drop::TcpReassemblyFull)));
    assert_eq!(r.arrive(Seq(4_000), &early, 1, false), new(600));
    assert_eq!(r.runs(), [(4_000, 4_600), (5_000, 5_600)]);
    assert_eq!(r.arrive(Seq(7_000), b"small", 1, false), new(5), "bytes have a budget of their own");
    r.check();
    let mut other = None;
    let frame = r.receive(&early, 1).unwrap();
    let refused = r.assemblers.insert(&mut other, Seq(0), Seq(9), frame, false, &mut r.out);
    assert_eq!((refused, other), (Inserted::Refused(Drop::TcpReassemblyFull), None), "the budget is the worker's");
    r.assemblers.discard(&mut r.id, &mut r.out);
    r.check_empty();
}

#[test]
fn a_run_without_a_frame_to_go_up_in_is_given_up() {
    let mut r = Receiver::new(Seq(1_000), 8, 2);
    r.arrive(Seq(1_001), &[1; 10], 1, true);
    r.out.free_discards();
    let in_use = [r.out.pool.alloc().unwrap(), r.out.pool.alloc().unwrap()];
    r.rcv_nxt = Seq(1_001);
    assert_eq!(r.take(), (vec![], false));
    assert_eq!((r.assemblers.runs_given_up(), r.rcv_nxt), (1, Seq(1_001)));
    drop(in_use);
    r.check_empty();
}

#[test]
fn the_run_that_changed_last_is_named_first() {
    let mut r = Receiver::roomy();
    for at in [2_000, 3_000, 4_000, 5_000, 6_000] {
        r.arrive(Seq(at), b"data", 1, false);
    }
    r.arrive(Seq(3_004), b"more", 1, false);
    assert_eq!(r.sack(3_004), [(3_000, 3_008), (6_000, 6_004), (5_000, 5_004), (4_000, 4_004)]);
    assert_eq!(r.sack(2_000)[..2], [(2_000, 2_004), (3_000, 3_008)], "a duplicate's run comes first as well");
    assert_eq!(r.sack(1_000)[0], (3_000, 3_008), "a segment in no run names none");
    r.assemblers.discard(&mut r.id, &mut r.out);
    assert_eq!(r.sack(2_000), []);
}

#[test]
fn a_hostile_segment_costs_little_more_than_one_in_order() {
    let segments = 10_000;
    let steps = |order: &dyn Fn(u32) -> u32, len: usize| {
        let mut r = Receiver::roomy();
        for i in 0..segments {
            r.arrive(Seq(1_001 + order(i)), &vec![0; len], 1, false);
        }
        r.assemblers.steps + r.assemblers.pieces.steps
    };
    let in_order = steps(&|i| i * 600, 600);
    assert!(in_order <= 10 * segments as usize, "{in_order}");
    let hostile: [(&str, &dyn Fn(u32) -> u32, usize); 5] = [
        ("each its own run", &|i| i * 3, 1),
        ("backward", &|i| (segments - i) * 3, 1),
        ("backward, touching", &|i| segments - i, 1),
        ("all over", &|i| i.wrapping_mul(2_654_435_761) % 200_000, 1_000),
        ("one large over many small", &|i| if i % 257 == 256 { 0 } else { i % 257 * 3 + 1 }, 1),
    ];
    for (name, order, len) in hostile {
        let steps = steps(order, len);
        assert!(steps <= 10 * in_order, "{name}: {steps} steps, in order {in_order}");
    }
}

#[test]
fn an_appended_segment_looks_at_one_run() {
    let mut r = Receiver::roomy();
    for i in 0..200 {
        r.arrive(Seq(2_000 + 10 * i), b"data", 1, false);
    }
    r.arrive(Seq(2_500 + 4), b"a", 1, false);
    r.assemblers.steps = 0;
    for i in 1..5 {
        r.arrive(Seq(2_500 + 4 + i), b"a", 1, false);
    }
    assert_eq!(r.assemblers.steps, 4);
}

#[derive(Clone, Debug)]
enum Op {
    /// Offset from the stream's start, length, buffers, FIN.
    Arrive(u32, usize, usize, bool),
    /// So many bytes come in order and go straight up; then what is held follows.
    Advance(u32),
    Discard,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![0usize..20, 400usize..600, 0usize..2_500];
    prop_oneof![
        16 => (0u32..12_000, len, 1usize..4, prop::bool::weighted(0.05)).prop_map(|(at, len, parts, fin)| Op::Arrive(at, len, parts, fin)),
        2 => (0u32..1_500).prop_map(Op::Advance),
        1 => Just(Op::Advance(0)),
    ]
}

/// What is known of each number: a byte, or that it is the FIN.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Cell {
    Byte(u8),
    Fin,
}

/// One number after the other, offsets from the stream's start.
struct Slow {
    cells: Vec<Option<(Cell, usize)>>,
    rcv_nxt: usize,
}

impl Slow {
    fn held(&self, at: usize) -> bool {
        self.cells[at].is_some()
    }
    fn fin(&self) -> Option<usize> {
        self.cells.iter().position(|cell| matches!(cell, Some((Cell::Fin, _))))
    }
    fn insert(&mut self, turn: usize, at: usize, payload: &[u8], fin: bool) -> Inserted {
        let mut segment: Vec<Cell> = payload.iter().copied().map(Cell::Byte).collect();
        segment.extend(fin.then_some(Cell::Fin));
        let seq = |offset: usize| Seq(offset as u32);
        if at + segment.len() <= self.rcv_nxt || segment.is_empty() {
            return Inserted::Duplicate { start: seq(at), end: seq(at + segment.len()) };
        }
        let last = (self.rcv_nxt..self.cells.len()).rev().find(|&i| self.held(i));
        let end = at + payload.len();
        let fin_place = self.fin();
        if fin && (fin_place.is_some_and(|f| f != end) || fin_place.is_none() && last.is_some_and(|l| l >= end)) {
            segment.pop();
        }
        if let Some(fin) = fin_place {
            segment.truncate((fin + 1).saturating_sub(at));
            if segment.len() == fin + 1 - at.min(fin + 1) && segment.last() != Some(&Cell::Fin) {
                segment.pop();
            }
        }
        if at.max(self.rcv_nxt) >= at + segment.len() {
            return Inserted::Refused(Drop::TcpAfterFin);
        }
        let known = |i: &usize| *i < self.rcv_nxt || self.held(*i);
        let end = at + segment.len();
        let duplicate = (at..end).find(known).map(|start| {
            let limit = if start < self.rcv_nxt { self.rcv_nxt } else { end };
            (seq(start), seq((start..limit.min(end)).find(|i| !known(i)).unwrap_or(limit.min(end))))
        });
        let mut bytes = 0;
        let mut is_new = false;
        for (i, cell) in (at..).zip(segment) {
            if i >= self.rcv_nxt && self.cells[i].is_none() {
                self.cells[i] = Some((cell, turn));
                bytes += u32::from(cell != Cell::Fin);
                is_new = true;
            }
        }
        if is_new { Inserted::New { bytes, duplicate } } else { Inserted::Duplicate { start: seq(at), end: seq(end) } }
    }
    fn take(&mut self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        while let Some((cell, _)) = self.cells[self.rcv_nxt] {
            self.rcv_nxt += 1;
            match cell {
                Cell::Byte(byte) => bytes.push(byte),
                Cell::Fin => return (bytes, true),
            }
        }
        (bytes, false)
    }
    /// First and last number (the one after it) of each run, and when it changed last.
    fn runs(&self) -> Vec<(usize, usize, usize)> {
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for i in self.rcv_nxt..self.cells.len() {
            let Some((_, turn)) = self.cells[i] else { continue };
            match runs.last_mut() {
                Some(run) if run.1 == i => *run = (run.0, i + 1, run.2.max(turn)),
                _ => runs.push((i, i + 1, turn)),
            }
        }
        runs
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_assembler_does_what_a_map_of_bytes_does(start: u32, ops in prop::collection::vec(op(), 1..60)) {
        // Half of the streams wrap around within what is held.
        let origin = Seq(if start % 2 == 0 { start } else { 0u32.wrapping_sub(start % 12_000) });
        let mut r = Receiver::new(origin, 10_000, 10_000);
        let mut slow = Slow { cells: vec![None; 20_000], rcv_nxt: 0 };
        let place = |seq: Seq| Seq(seq - origin);
        let mut runs_max = 0;
        for (turn, op) in ops.into_iter().enumerate() {
            match op {
                Op::Arrive(at, len, parts, fin) => {
                    // Each segment has bytes of its own, so that it shows whose stayed.
                    let payload: Vec<u8> = (0..len).map(|i| (turn * 41 + i) as u8).collect();
                    let got = match r.arrive(origin + at, &payload, parts, fin).unwrap() {
                        Inserted::New { bytes, duplicate } =>
                            Inserted::New { bytes, duplicate: duplicate.map(|(a, b)| (place(a), place(b))) },
                        Inserted::Duplicate { start, end } => Inserted::Duplicate { start: place(start), end: place(end) },
                        refused @ Inserted::Refused(_) => refused,
                    };
                    prop_assert_eq!(got, slow.insert(turn, at as usize, &payload, fin));
                    let runs = slow.runs();
                    runs_max = runs.len().max(runs_max);
                    let blocks: Vec<_> = r.assemblers.sack_blocks(r.id, origin + at).into_iter()
                        .map(|(a, b)| (place(a).0 as usize, place(b).0 as usize)).collect();
                    prop_assert_eq!(blocks.len(), runs.len().min(SACK_BLOCKS_MAX));
                    if runs_max <= RECENT_MAX {
                        let mut expected = runs;
                        expected.sort_by_key(|&(a, b, turn)| {
                            (!(a..b).contains(&(at as usize)), std::cmp::Reverse(turn))
                        });
                        let expected: Vec<_> = expected.iter().map(|&(a, b, _)| (a, b)).take(SACK_BLOCKS_MAX).collect();
                        prop_assert_eq!(blocks, expected);
                    }
                }
                Op::Advance(n) => {
                    // The peer sends nothing behind its FIN.
                    let n = slow.fin().map_or(n as usize, |fin| (n as usize).min(fin - slow.rcv_nxt.min(fin)));
                    slow.rcv_nxt += n;
                    r.rcv_nxt += n as u32;
                    let expected = slow.take();
                    prop_assert_eq!(&r.take(), &expected);
                    if expected.1 {
                        break;
                    }
                }
                Op::Discard => unreachable!("only under pressure"),
            }
            let runs: Vec<_> = r.runs().iter().map(|&(a, b)| (place(Seq(a)).0 as usize, place(Seq(b)).0 as usize)).collect();
            let expected: Vec<_> = slow.runs().iter().map(|&(a, b, _)| (a, b)).collect();
            prop_assert_eq!(runs, expected);
            r.check();
        }
        r.assemblers.discard(&mut r.id, &mut r.out);
        r.check_empty();
    }

    #[test]
    fn under_pressure_bytes_stay_right_and_budgets_hold(
        frames_max in 1usize..12,
        pool in 4usize..24,
        ops in prop::collection::vec(prop_oneof![20 => op(), 1 => Just(Op::Discard)], 1..80),
    ) {
        let mut r = Receiver::new(Seq(u32::MAX - 3_000), frames_max, pool);
        let origin = r.rcv_nxt;
        let byte = |offset: u32| (offset ^ offset >> 8) as u8;
        for op in ops {
            match op {
                Op::Arrive(at, len, parts, _) => {
                    let payload: Vec<u8> = (at..at + len as u32).map(byte).collect();
                    r.arrive(origin + at, &payload, parts, false);
                }
                Op::Advance(n) => {
                    r.rcv_nxt += n;
                    let at = r.rcv_nxt - origin;
                    let bytes = r.take().0;
                    let expected: Vec<u8> = (at..at + bytes.len() as u32).map(byte).collect();
                    prop_assert_eq!(bytes, expected);
                }
                Op::Discard => r.assemblers.discard(&mut r.id, &mut r.out),
            }
            prop_assert!(r.assemblers.held_buffers() <= frames_max);
            prop_assert!(r.assemblers.held_bytes() <= TCP_HELD_BYTES_MAX);
            let runs = r.runs();
            prop_assert!(runs.windows(2).all(|w| Seq(w[0].1).before(Seq(w[1].0))), "disjoint and sorted: {:?}", runs);
            r.check();
        }
        r.assemblers.discard(&mut r.id, &mut r.out);
        r.check_empty();
    }
}
