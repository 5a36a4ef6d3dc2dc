//! The scoreboard against a model that has a mark for each byte.

use super::*;
use crate::limits::SACK_RANGES_MAX;
use proptest::prelude::*;

fn sent(seq: Seq, len: u32) -> Sent {
    Sent {
        seq,
        end: seq + len,
        at: Stamp(0),
        delivered: 0,
        delivered_at: Stamp(0),
        first_sent_at: Stamp(0),
        resent: false,
        sacked: false,
        lost: false,
        reason: None,
    }
}

fn board(start: u32, segments: u32, len: u32) -> Scoreboard {
    let mut board = Scoreboard::new(Seq(start));
    for _ in 0..segments {
        board.push(sent(board.nxt(), len));
    }
    board
}

#[derive(Clone, Debug)]
enum Step {
    Push(u32),
    Ack(u32),
    Sack(u32, u32),
    Lose(u32),
    Resend(u32),
    ResendPart(u32, u32),
    Forget,
    Unmark,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u32..20).prop_map(Step::Push),
        3 => (0u32..60).prop_map(Step::Ack),
        8 => (0u32..400, 1u32..60).prop_map(|(at, len)| Step::Sack(at, len)),
        3 => (0u32..30).prop_map(Step::Lose),
        3 => (0u32..30).prop_map(Step::Resend),
        1 => (0u32..30, 1u32..20).prop_map(|(at, len)| Step::ResendPart(at, len)),
        1 => Just(Step::Forget),
        1 => Just(Step::Unmark),
    ];
    prop::collection::vec(step, 1..120)
}

/// A segment as the model sees it: which bytes, and each mark for the whole of it.
#[derive(Clone, Debug)]
struct Slow {
    seq: u32,
    end: u32,
    sacked: bool,
    lost: bool,
    resent: bool,
}

proptest! {
    #[test]
    fn it_agrees_with_a_mark_for_each_byte(start: u32, steps in steps()) {
        let mut board = Scoreboard::new(Seq(start));
        // Offsets from `start`, which do not wrap.
        let (mut una, mut nxt) = (0u32, 0u32);
        let mut held: Vec<bool> = Vec::new();
        let mut slow: Vec<Slow> = Vec::new();
        for step in steps {
            let pick = |at: u32| (!slow.is_empty()).then(|| at as usize % slow.len());
            match step {
                Step::Push(len) => {
                    board.push(sent(Seq(start) + nxt, len));
                    slow.push(Slow { seq: nxt, end: nxt + len, sacked: false, lost: false, resent: false });
                    nxt += len;
                    held.resize(nxt as usize, false);
                }
                Step::Ack(bytes) => {
                    una = (una + bytes).min(nxt);
                    let ack = Seq(start) + una;
                    let mut popped = 0;
                    while board.pop_acked(ack).is_some() {
                        popped += 1;
                    }
                    board.trim(ack);
                    prop_assert_eq!(popped, slow.iter().filter(|s| s.end <= una).count());
                    slow.retain(|s| s.end > una);
                    for s in &mut slow {
                        s.seq = s.seq.max(una);
                    }
                }
                Step::Sack(at, len) => {
                    let left = una + at % (nxt - una + 1);
                    let right = (left + len).min(nxt);
                    if left < right {
                        let mut newly = Vec::new();
                        board.sack(Seq(start) + left, Seq(start) + right, |s| newly.push(s.seq - Seq(start)));
                        let before = held.clone();
                        held[left as usize..right as usize].fill(true);
                        let mut expected = Vec::new();
                        for s in &mut slow {
                            // A record that was trimmed into its held part stays as it is: nothing new is said of it.
                            let whole = s.seq as usize..s.end as usize;
                            if !s.sacked && held[whole.clone()].iter().all(|h| *h) && before[whole].iter().any(|h| !h) {
                                (s.sacked, s.lost) = (true, false);
                                expected.push(s.seq);
                            }
                        }
                        prop_assert_eq!(newly, expected);
                    }
                }
                Step::Lose(at) => if let Some(i) = pick(at).filter(|i| !slow[*i].sacked && !slow[*i].lost) {
                    board.mark_lost(i, Resend::Rack);
                    slow[i].lost = true;
                }
                Step::Resend(at) => if let Some(i) = pick(at) {
                    let (seq, end) = (Seq(start) + slow[i].seq, Seq(start) + slow[i].end);
                    board.resend(seq, end, |_| ());
                    (slow[i].lost, slow[i].resent) = (false, true);
                }
                Step::ResendPart(at, len) => if let Some(i) = pick(at) {
                    let cut = slow[i].seq + len;
                    let end = cut.min(slow[i].end);
                    // Only what is not held is ever sent again in parts.
                    if held[slow[i].seq as usize..slow[i].end as usize].iter().all(|h| !h) {
                        board.resend(Seq(start) + slow[i].seq, Seq(start) + end, |_| ());
                        if end < slow[i].end {
                            let rest = Slow { seq: end, ..slow[i].clone() };
                            slow.insert(i + 1, rest);
                        }
                        slow[i].end = end;
                        (slow[i].lost, slow[i].resent) = (false, true);
                    }
                }
                Step::Forget => {
                    board.forget_sacks();
                    held.fill(false);
                    slow.iter_mut().for_each(|s| s.sacked = false);
                }
                Step::Unmark => {
                    board.unmark_lost();
                    slow.iter_mut().for_each(|s| s.lost = false);
                }
            }
            let marks: Vec<_> = board.iter().map(|s| (s.seq - Seq(start), s.end - Seq(start), s.sacked, s.lost, s.resent)).collect();
            let expected: Vec<_> = slow.iter().map(|s| (s.seq, s.end, s.sacked, s.lost, s.resent)).collect();
            prop_assert_eq!(marks, expected);
            let sum = |of: fn(&Slow) -> bool| slow.iter().filter(|s| of(s)).map(|s| s.end - s.seq).sum::<u32>();
            prop_assert_eq!((board.una(), board.nxt()), (Seq(start) + una, Seq(start) + nxt));
            prop_assert_eq!((board.sacked(), board.lost()), (sum(|s| s.sacked), sum(|s| s.lost)));
            prop_assert_eq!(board.in_flight(), sum(|s| !s.sacked && !s.lost));
            prop_assert_eq!(board.sacked_segments() as usize, slow.iter().filter(|s| s.sacked).count());
            board.ranges.check();
            for offset in una..nxt {
                prop_assert_eq!(board.ranges.contains(Seq(start) + offset), held[offset as usize]);
                let index = board.index_of(Seq(start) + offset);
                prop_assert!(board.get(index).is_some_and(|s| (Seq(start) + offset).within(s.seq, s.len())));
            }
        }
    }
}

#[test]
fn a_segment_is_held_when_all_of_it_is() {
    let mut board = board(u32::MAX - 150, 4, 100);
    let una = board.una();
    let mut newly = Vec::new();
    board.sack(una + 150, una + 250, |s| newly.push(s.seq - una));
    assert!(newly.is_empty());
    board.sack(una + 250, una + 300, |s| newly.push(s.seq - una));
    board.sack(una + 100, una + 150, |s| newly.push(s.seq - una));
    assert_eq!((newly, board.sacked()), (vec![200, 100], 200));
}

#[test]
fn a_hostile_peers_blocks_stop_at_the_limit() {
    let mut board = board(0, 1_000, 10);
    let una = board.una();
    let mut count = 0;
    for block in 0..500 {
        board.sack(una + block * 20 + 3, una + block * 20 + 4, |_| count += 1);
    }
    assert_eq!(count, 0, "a byte of a segment is nothing");
    board.ranges.check();
    // Beyond the limit only what merges with a range that is there.
    board.sack(una + 9_000, una + 9_010, |_| count += 1);
    assert_eq!(count, 0);
    board.sack(una + 3, una + 20 * SACK_RANGES_MAX as u32, |_| count += 1);
    assert_eq!(count, 2 * SACK_RANGES_MAX - 1);
    board.sack(una + 9_000, una + 9_010, |_| count += 1);
    assert_eq!(count, 2 * SACK_RANGES_MAX);
}

#[test]
fn one_outstanding_segment_touches_no_heap() {
    let mut board = Scoreboard::new(Seq(7));
    for _ in 0..10 {
        let nxt = board.nxt();
        board.push(sent(nxt, 300));
        assert_eq!((board.len(), board.in_flight()), (1, 300));
        assert!(board.pop_acked(nxt + 300).is_some());
        board.trim(nxt + 300);
        assert!(board.is_empty() && !board.has_sacks());
    }
    assert_eq!(size_of::<Sent>(), 28);
}
