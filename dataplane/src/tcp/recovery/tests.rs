//! Conversations with a peer, in segments of 1,000 bytes numbered from 1, over a path of 100 ms; and whole transfers (`link`).

mod link;

use super::*;
use crate::tcp::congestion::{Cubic, NewReno};
use proptest::prelude::*;

const MSS: u32 = 1_000;
const MS: u32 = 1_000;
const RTT: u32 = 100 * MS;

/// A sender, whose clock the test moves.
struct Sender {
    recovery: Recovery,
    rtt: Rtt,
    cc: Congestion,
    now: Stamp,
    iss: Seq,
    ece: bool,
    reasons: Vec<Resend>,
}

impl Sender {
    fn new() -> Self {
        Self::with(Congestion::Cubic(Cubic::new(MSS as u16)), true)
    }
    fn without_sack() -> Self {
        Self::with(Congestion::NewReno(NewReno::new(MSS as u16)), false)
    }
    fn with(cc: Congestion, sack: bool) -> Self {
        // The numbers wrap within the first segments, and the clock soon.
        let (iss, now) = (Seq(u32::MAX - 2_500), Stamp(u32::MAX - 150 * MS));
        let mut rtt = Rtt::new();
        rtt.sample(RTT, now);
        let recovery = Recovery::new(iss, sack, Reordering::default());
        Self { recovery, rtt, cc, now, iss, ece: false, reasons: Vec::new() }
    }
    /// The first number of a segment.
    fn seq(&self, segment: u32) -> Seq {
        self.iss + (segment - 1) * MSS
    }
    fn segment(&self, seq: Seq) -> u32 {
        (seq - self.iss) / MSS + 1
    }
    fn wait(&mut self, us: u32) {
        self.now = self.now.plus_us(us);
    }
    /// Sends new segments, a millisecond apart.
    fn send(&mut self, segments: u32) {
        for _ in 0..segments {
            self.recovery.on_sent(self.now, MSS, &self.cc);
            self.wait(MS);
        }
    }
    /// Sends again what is to be sent again, and may be.
    fn resend(&mut self) -> Vec<u32> {
        let mut segments = Vec::new();
        while self.recovery.quota(&self.cc) >= MSS
            && let Some((seq, len)) = self.recovery.next_retransmission()
        {
            segments.push(self.segment(seq));
            self.reasons.push(self.recovery.on_retransmitted(self.now, seq, seq + len));
        }
        segments
    }
    /// All before segment `next` is acknowledged, and blocks of segments, `from..=to`.
    fn ack(&mut self, next: u32, blocks: &[(u32, u32)]) -> Outcome {
        self.ack_echoing(next, blocks, None)
    }
    fn ack_echoing(&mut self, next: u32, blocks: &[(u32, u32)], echo: Option<Stamp>) -> Outcome {
        let blocks: Vec<_> = blocks.iter().map(|&(from, to)| (self.seq(from), self.seq(to + 1))).collect();
        let ack = self.seq(next);
        let is_duplicate = ack == self.recovery.scoreboard().una() && blocks.is_empty();
        let info = AckInfo { now: self.now, ack, blocks: &blocks, echo, is_duplicate, ece: self.ece };
        self.recovery.on_ack(&info, &mut self.rtt, &mut self.cc)
    }
    /// How long until the timer, and which it is.
    fn timer(&self) -> Option<(Timer, u32)> {
        self.recovery.deadline(&self.rtt).map(|(timer, at)| (timer, at.since(self.now)))
    }
    /// Waits for the timer.
    fn expire(&mut self, has_new: bool) -> Action {
        let us = self.timer().expect("a timer runs").1;
        self.wait(us);
        self.recovery.on_timer(self.now, has_new, &mut self.rtt, &mut self.cc)
    }
    fn state(&self) -> State {
        self.recovery.state()
    }
    fn cwnd(&self) -> u32 {
        self.cc.cwnd() / MSS
    }
    fn probe_is(&mut self, action: Action, segment: u32) {
        let seq = self.seq(segment);
        assert_eq!(action, Action::ProbeLast(seq, MSS));
        assert_eq!(self.recovery.on_retransmitted(self.now, seq, seq + MSS), Resend::TailLossProbe);
    }
}

#[test]
fn a_response_at_a_time_is_measured_and_grows_nothing() {
    let mut a = Sender::new();
    for segment in 1..50 {
        a.send(1);
        a.wait(RTT - MS);
        let outcome = a.ack(segment + 1, &[]);
        let expected = Outcome { acked: MSS, delivered: MSS, rtt_us: Some(RTT), ..Outcome::default() };
        assert_eq!((outcome, a.timer()), (expected, None));
        assert!(a.recovery.episode.is_none(), "nothing was made for losses");
    }
    assert_eq!(a.cwnd(), 10);
    assert_eq!(a.recovery.delivery_rate(), 10_000, "1,000 bytes in 100 ms");
}

#[test]
fn a_full_window_grows() {
    let mut a = Sender::new();
    a.send(10);
    a.wait(RTT);
    a.ack(11, &[]);
    assert_eq!(a.cwnd(), 18);
    assert_eq!(a.recovery.quota(&a.cc), 18 * MSS);
}

#[test]
fn three_segments_behind_a_hole_are_proof() {
    let mut a = Sender::new();
    a.send(10);
    a.wait(RTT - 9 * MS);
    assert!(!a.ack(1, &[(2, 2)]).losses);
    assert!(!a.ack(1, &[(2, 3)]).losses);
    assert_eq!(a.recovery.quota(&a.cc), 2 * MSS, "limited transmit: new segments for those that left");
    let outcome = a.ack(1, &[(2, 4)]);
    assert!(outcome.losses && outcome.reduced);
    assert_eq!((a.state(), a.cwnd(), a.resend()), (State::Recovery, 7, vec![1]));
    assert_eq!(a.reasons, [Resend::Rack]);
    // PRR: 6 in flight and the retransmission, 7 allowed.
    for last in 5..=10 {
        a.ack(1, &[(2, last)]);
    }
    assert_eq!(a.recovery.in_flight(), MSS);
    a.wait(RTT);
    let outcome = a.ack(11, &[]);
    assert!(outcome.recovered && !outcome.spurious);
    assert_eq!((a.state(), a.cwnd(), a.timer()), (State::Open, 7, None));
}

#[test]
fn every_hole_is_sent_again_in_order() {
    let mut a = Sender::new();
    a.send(10);
    a.wait(RTT);
    a.ack(1, &[(9, 9), (6, 7), (3, 4)]);
    let mut resent = a.resend();
    a.ack(1, &[(9, 10), (6, 7), (3, 4)]);
    resent.extend(a.resend());
    a.wait(RTT);
    for next in [2, 3, 6] {
        a.ack(next, if next < 3 { &[(9, 10), (6, 7), (3, 4)] } else { &[(9, 10), (6, 7)] });
        resent.extend(a.resend());
    }
    assert_eq!(resent, [1, 2, 5, 8]);
}

#[test]
fn reordering_within_the_window_is_no_loss() {
    let mut a = Sender::new();
    a.send(3);
    a.wait(RTT - MS);
    // 2 arrives before 1: a quarter of the least round trip is waited, 25 ms after 2's.
    let outcome = a.ack(1, &[(2, 2)]);
    assert!(!outcome.losses);
    assert_eq!(a.timer(), Some((Timer::Reordering, 25 * MS)));
    a.wait(20 * MS);
    a.ack(3, &[]);
    assert_eq!((a.state(), a.cwnd()), (State::Open, 10));
    assert!(a.recovery.reordering().seen);
    // From now on three segments behind a hole are no proof.
    a.send(6);
    a.wait(RTT - 6 * MS);
    a.ack(5, &[]);
    a.wait(MS);
    assert!(!a.ack(5, &[(6, 9)]).losses);
    assert_eq!(a.timer().map(|(timer, _)| timer), Some(Timer::Reordering));
}

#[test]
fn what_does_not_come_within_the_reordering_window_is_lost() {
    let mut a = Sender::new();
    a.send(3);
    a.wait(RTT - MS);
    a.ack(1, &[(2, 2)]);
    assert_eq!(a.expire(false), Action::LossesMarked { reduced: true });
    assert_eq!((a.state(), a.resend()), (State::Recovery, vec![1]));
    assert_eq!(a.recovery.on_timer(a.now, false, &mut a.rtt, &mut a.cc), Action::Nothing);
}

#[test]
fn a_lost_retransmission_is_found_again() {
    let mut a = Sender::new();
    a.send(10);
    a.wait(RTT - 10 * MS);
    a.ack(1, &[(2, 4)]);
    assert_eq!(a.resend(), [1]);
    let cwnd = a.cwnd();
    a.wait(MS);
    for last in 5..=10 {
        a.ack(1, &[(2, last)]);
        if a.recovery.quota(&a.cc) >= MSS {
            a.send(1);
        }
    }
    let sent = a.segment(a.recovery.scoreboard().nxt()) - 1;
    assert!(sent > 10, "new data goes out meanwhile");
    // What was sent after the retransmission arrives, and the retransmission does not.
    a.wait(RTT);
    let outcome = a.ack(1, &[(2, 11)]);
    assert!(outcome.losses && outcome.reduced, "the second loss of a segment is a second sign of congestion");
    assert_eq!(a.resend(), [1]);
    assert_eq!(a.reasons, [Resend::Rack, Resend::RackAgain]);
    assert!(a.cwnd() < cwnd);
    a.wait(RTT);
    a.ack(sent + 1, &[]);
    assert_eq!((a.state(), a.timer()), (State::Open, None));
}

#[test]
fn duplicates_widen_the_reordering_window_once_a_round_trip() {
    let mut a = Sender::new();
    a.send(10);
    for (block, mult) in [(1, 2), (2, 2), (3, 2)] {
        a.wait(MS);
        a.ack(5, &[(block, block)]);
        assert_eq!(a.recovery.reordering().mult, mult);
    }
    a.wait(RTT);
    a.ack(11, &[]);
    a.send(5);
    a.ack(11, &[(4, 4)]);
    assert_eq!(a.recovery.reordering().mult, 3);
    a.wait(RTT - 5 * MS);
    a.ack(11, &[(12, 12)]);
    // Sent 99 ms ago; its round trip 99 ms; 3/4 of the least round trip more than that since the second was sent.
    assert_eq!(a.timer(), Some((Timer::Reordering, a.rtt.min_us() / 4 * 3)));
}

#[test]
fn sixteen_recoveries_without_duplicates_narrow_it_again() {
    let mut rack = Rack::new(Reordering::default());
    for round in 0..300u32 {
        rack.on_dsack(Seq(round), Seq(round + 1));
    }
    assert_eq!(rack.reordering.mult, u8::MAX, "it does not wrap");
    for _ in 0..15 {
        rack.on_recovered();
        assert_eq!(rack.reordering.mult, u8::MAX);
    }
    rack.on_recovered();
    assert_eq!(rack.reordering.mult, 1);
    let mut rtt = Rtt::new();
    rtt.sample(RTT, Stamp(0));
    rack.reordering.mult = 200;
    assert_eq!(rack.reo_wnd_us(&rtt, false, 0), RTT, "never more than SRTT");
}

#[test]
fn a_lost_tail_is_probed_after_two_round_trips() {
    let mut a = Sender::new();
    a.send(10);
    a.wait(RTT - 10 * MS);
    a.ack(6, &[]);
    let srtt_us = a.rtt.srtt_us().unwrap();
    assert_eq!(a.timer(), Some((Timer::Probe, 2 * srtt_us)));
    let action = a.expire(false);
    a.probe_is(action, 10);
    assert_eq!(a.timer(), Some((Timer::Rto, a.rtt.rto_us())), "one probe at a time");
    a.wait(RTT);
    // The probe arrived, so 6 to 9 are lost.
    assert!(a.ack(6, &[(10, 10)]).losses);
    assert_eq!(a.state(), State::Recovery);
    let mut resent = a.resend();
    for _ in 0..4 {
        a.wait(RTT);
        a.ack(resent.last().unwrap() + 1, &[(10, 10)]);
        resent.extend(a.resend());
    }
    assert_eq!(resent, [6, 7, 8, 9]);
    assert!(a.ack(11, &[]).recovered || a.state() == State::Open);
}

#[test]
fn the_probe_of_a_lone_segment_waits_for_a_delayed_acknowledgement() {
    let mut a = Sender::new();
    a.send(1);
    // 2 * SRTT + 200 ms is later than the retransmission timer, which is at SRTT + 200 ms here; then it is the probe that is sent.
    let (timer, us) = a.timer().unwrap();
    assert_eq!((timer, us + MS), (Timer::Probe, RTT + 200 * MS));
    let action = a.expire(false);
    a.probe_is(action, 1);
    assert_eq!((a.cwnd(), a.state()), (10, State::Open));
}

#[test]
fn a_probe_is_new_data_if_there_is_any() {
    let mut a = Sender::new();
    a.send(2);
    assert_eq!(a.expire(true), Action::ProbeNewData);
    a.send(1);
    assert_eq!(a.timer().unwrap().0, Timer::Rto);
    a.wait(RTT);
    let outcome = a.ack(4, &[]);
    assert!(!outcome.reduced, "nothing was lost");
    a.send(2);
    assert_eq!(a.timer().unwrap().0, Timer::Probe);
}

#[test]
fn no_second_probe_without_a_round_trip() {
    let mut a = Sender::new();
    a.send(2);
    let action = a.expire(false);
    a.probe_is(action, 2);
    a.wait(RTT);
    // The peer has both, the second twice: nothing was lost, and nothing was measured.
    a.ack_echoing(3, &[(2, 2)], None);
    a.recovery.tlp.sampled = false;
    a.send(1);
    assert_eq!(a.timer().unwrap().0, Timer::Rto);
}

#[test]
fn a_loss_that_the_probe_repaired_reduces_the_window() {
    for (duplicate, reduced) in [(true, false), (false, true)] {
        let mut a = Sender::new();
        a.send(2);
        let action = a.expire(false);
        a.probe_is(action, 2);
        a.wait(RTT);
        assert!(!a.ack(3, if duplicate { &[(2, 2)] } else { &[] }).reduced);
        assert_eq!(a.recovery.reordering().mult, 1, "a probe's duplicate is no sign of reordering");
        a.send(1);
        a.wait(RTT);
        let outcome = a.ack(4, &[]);
        assert_eq!((outcome.reduced, a.state()), (reduced, State::Open));
        assert_eq!(a.cwnd() < 10, reduced);
    }
}

#[test]
fn a_timeout_begins_again_from_one_segment() {
    let mut a = Sender::new();
    a.send(4);
    let action = a.expire(false);
    a.probe_is(action, 4);
    let rto_us = a.rtt.rto_us();
    assert_eq!(a.expire(false), Action::RtoExpired);
    assert_eq!((a.state(), a.cwnd(), a.cc.ssthresh()), (State::Loss, 1, 2_800));
    assert_eq!(a.rtt.rto_us(), 2 * rto_us, "the timer backs off");
    assert_eq!((a.resend(), a.timer()), (vec![1], Some((Timer::Rto, 2 * rto_us))));
    // Lost again: the threshold stays.
    assert_eq!(a.expire(false), Action::RtoExpired);
    assert_eq!((a.resend(), a.cc.ssthresh()), (vec![1], 2_800));
    a.wait(RTT);
    let outcome = a.ack(2, &[]);
    assert_eq!(outcome.rtt_us, None, "which transmission it was is not known");
    assert_eq!((a.rtt.rto_us(), a.resend()), (4 * rto_us, vec![2, 3]), "slow start");
    a.wait(RTT);
    assert!(a.ack(5, &[]).recovered);
    assert_eq!((a.state(), a.timer()), (State::Open, None));
    assert!(a.reasons.iter().all(|reason| *reason == Resend::Rto));
}

#[test]
fn a_timeout_does_not_take_what_was_just_sent_for_lost() {
    let mut a = Sender::new();
    a.send(2);
    a.wait(RTT - 2 * MS);
    a.ack(2, &[]);
    a.send(1);
    // The application goes on sending, so that no probe is due before the timer of the first is.
    while a.timer().unwrap().1 > 20 * MS {
        a.wait(15 * MS);
        a.send(1);
    }
    a.recovery.tlp.sampled = false;
    assert_eq!(a.expire(false), Action::RtoExpired);
    let board = a.recovery.scoreboard();
    assert!(board.lost() >= MSS && board.in_flight() >= 3 * MSS, "{} lost, {} not", board.lost(), board.in_flight());
    assert_eq!(a.resend()[0], 2);
}

#[test]
fn with_timestamps_a_retransmission_is_measured() {
    let mut a = Sender::new();
    a.send(1);
    let action = a.expire(false);
    a.probe_is(action, 1);
    a.expire(false);
    assert_eq!(a.resend(), [1]);
    let at = a.now;
    a.wait(RTT);
    let outcome = a.ack_echoing(2, &[], Some(at.plus_us(999)));
    assert_eq!((outcome.rtt_us, a.rtt.backoff(), outcome.spurious), (Some(RTT), 0, false));
}

#[test]
fn an_echo_of_the_original_undoes_a_timeout() {
    let mut a = Sender::new();
    let sent_at = a.now;
    a.send(10);
    let action = a.expire(false);
    a.probe_is(action, 10);
    a.expire(false);
    assert_eq!((a.resend(), a.cwnd()), (vec![1], 1));
    a.wait(10 * MS);
    let outcome = a.ack_echoing(3, &[], Some(sent_at.plus_us(999)));
    assert!(outcome.spurious && outcome.recovered);
    assert_eq!((a.state(), a.cwnd(), a.rtt.backoff()), (State::Open, 10, 0));
    assert_eq!((a.recovery.scoreboard().lost(), a.recovery.in_flight()), (0, 8 * MSS), "nothing more is sent again");
    a.wait(MS);
    assert!(!a.ack_echoing(11, &[], Some(sent_at.plus_us(9_999))).losses);
    assert_eq!(a.timer(), None);
}

#[test]
fn an_echo_of_the_retransmission_undoes_nothing() {
    let mut a = Sender::new();
    a.send(10);
    a.wait(RTT);
    a.ack(1, &[(2, 4)]);
    a.resend();
    let at = a.now;
    a.wait(RTT);
    assert!(!a.ack_echoing(5, &[], Some(at)).spurious);
    assert_eq!((a.state(), a.cwnd()), (State::Recovery, 7));
}

#[test]
fn duplicates_of_all_that_was_sent_again_undo_a_recovery() {
    let mut a = Sender::new();
    a.send(10);
    a.wait(RTT);
    a.ack(1, &[(3, 10)]);
    let mut resent = a.resend();
    a.wait(MS);
    a.ack(2, &[(3, 10)]);
    resent.extend(a.resend());
    assert_eq!(resent, [1, 2]);
    assert!(!a.ack(11, &[]).spurious);
    assert_eq!((a.state(), a.cwnd()), (State::Open, 7));
    assert!(!a.ack(11, &[(1, 1)]).spurious);
    assert!(a.ack(11, &[(2, 2)]).spurious);
    assert_eq!(a.cwnd(), 10);
    assert!(!a.ack(11, &[(2, 2)]).spurious, "once");
}

#[test]
fn congestion_marks_reduce_once_a_window_and_are_not_undone() {
    let mut a = Sender::new();
    a.ece = true;
    a.send(10);
    a.wait(RTT);
    assert!(a.ack(2, &[]).reduced);
    assert_eq!(a.cwnd(), 7);
    for next in 3..=11 {
        assert!(!a.ack(next, &[]).reduced);
    }
    a.ece = false;
    a.send(7);
    a.wait(RTT);
    assert!(a.ack(11, &[(12, 14)]).reduced, "the mark was of another window");
    assert_eq!(a.resend(), [11]);
    let cwnd = a.cwnd();
    a.ece = true;
    assert!(!a.ack(11, &[(12, 15)]).reduced, "the loss has reduced it already");
    a.ack(18, &[]);
    assert!(!a.ack(18, &[(11, 11)]).spurious);
    assert_eq!(a.cwnd(), cwnd);
}

#[test]
fn a_loss_in_a_window_that_was_reduced_for_a_mark_reduces_no_more() {
    let mut a = Sender::new();
    a.send(10);
    a.wait(RTT);
    a.ece = true;
    assert!(a.ack(2, &[]).reduced);
    let outcome = a.ack(2, &[(3, 6)]);
    assert_eq!((outcome.losses, outcome.reduced, a.state(), a.cwnd()), (true, false, State::Recovery, 7));
    assert_eq!(a.resend(), [2]);
}

#[test]
fn without_sack_three_duplicates_are_proof() {
    let mut a = Sender::without_sack();
    a.send(10);
    a.wait(RTT);
    assert!(!a.ack(1, &[]).losses);
    assert!(!a.ack(1, &[]).losses);
    assert_eq!(a.recovery.quota(&a.cc), 2 * MSS, "limited transmit");
    assert!(a.ack(1, &[]).losses);
    assert_eq!((a.state(), a.cwnd(), a.resend()), (State::Recovery, 5, vec![1]));
    for _ in 0..6 {
        a.ack(1, &[]);
    }
    a.wait(RTT);
    // 1 to 3 are acknowledged: 4 is the next hole.
    assert!(a.ack(4, &[]).losses);
    assert_eq!((a.state(), a.resend()), (State::Recovery, vec![4]));
    a.wait(RTT);
    assert!(a.ack(11, &[]).recovered);
    assert_eq!((a.state(), a.cwnd()), (State::Open, 5));
    assert_eq!(a.reasons, [Resend::DupAcks, Resend::PartialAck]);
    // What the retransmissions themselves caused begins no recovery.
    a.send(5);
    for _ in 0..5 {
        assert!(!a.ack(11, &[]).losses);
    }
}

#[test]
fn without_sack_there_is_no_probe() {
    let mut a = Sender::without_sack();
    a.send(3);
    assert_eq!(a.timer().unwrap().0, Timer::Rto);
    assert_eq!(a.expire(true), Action::RtoExpired);
    assert_eq!(a.recovery.scoreboard().lost(), 3 * MSS);
}

#[test]
fn a_peer_that_drops_what_it_held_gets_it_again() {
    let mut a = Sender::new();
    a.send(5);
    a.wait(RTT);
    a.ack(1, &[(2, 5)]);
    assert_eq!(a.resend(), [1]);
    a.wait(RTT);
    // 1 arrived, and 2 to 5 are gone.
    a.ack(2, &[]);
    assert_eq!(a.timer().unwrap().0, Timer::Rto);
    assert_eq!(a.expire(false), Action::RtoExpired);
    let mut resent = a.resend();
    for _ in 0..5 {
        a.wait(RTT);
        a.ack(resent.last().unwrap() + 1, &[]);
        resent.extend(a.resend());
    }
    assert_eq!((resent, a.timer()), (vec![2, 3, 4, 5], None));
}

#[test]
fn a_retransmission_may_be_in_smaller_segments() {
    let mut a = Sender::new();
    a.send(5);
    a.wait(RTT);
    a.ack(1, &[(2, 5)]);
    let mut lens = Vec::new();
    a.cc.set_mss(400);
    while let Some((seq, len)) = a.recovery.next_retransmission() {
        let len = len.min(400);
        lens.push((seq - a.iss, len));
        a.recovery.on_retransmitted(a.now, seq, seq + len);
    }
    assert_eq!(lens, [(0, 400), (400, 400), (800, 200)]);
    a.wait(RTT);
    a.ack(6, &[]);
    assert_eq!((a.state(), a.timer()), (State::Open, None));
}

#[test]
fn it_is_of_bounded_size() {
    assert!(size_of::<Recovery>() <= 296, "{}", size_of::<Recovery>());
}

proptest! {
    /// Whatever a peer says, numbers stay sound, a timer runs while anything is outstanding, and everything can be acknowledged.
    #[test]
    fn a_hostile_peer_breaks_nothing(
        sack: bool,
        steps in prop::collection::vec((0u8..10, 0u32..12_000, prop::collection::vec((0u32..14_000, 0u32..5_000), 0..4), any::<bool>()), 1..200),
    ) {
        let mut a = Sender::with(Congestion::Cubic(Cubic::new(MSS as u16)), sack);
        for (step, at, blocks, flag) in steps {
            a.wait(at * 4);
            match step {
                0..=2 => while a.recovery.quota(&a.cc) >= MSS && a.recovery.scoreboard().outstanding() < 100 * MSS {
                    a.send(1);
                },
                3 => {
                    let action = a.recovery.on_timer(a.now, flag, &mut a.rtt, &mut a.cc);
                    if let Action::ProbeLast(seq, len) = action {
                        a.recovery.on_retransmitted(a.now, seq, seq + len);
                    }
                }
                4..=5 => {
                    a.resend();
                }
                _ => {
                    let board = a.recovery.scoreboard();
                    let (una, outstanding) = (board.una(), board.outstanding());
                    let ack = if step == 9 { una + at % (outstanding + 1) } else { una };
                    let blocks: Vec<_> = blocks.iter().map(|&(l, len)| (una - 1_000 + l, una - 1_000 + l + len)).collect();
                    let echo = flag.then(|| Stamp(a.now.0.wrapping_sub(at * 30)));
                    let info = AckInfo { now: a.now, ack, blocks: &blocks, echo, is_duplicate: ack == una, ece: at == 7 };
                    a.recovery.on_ack(&info, &mut a.rtt, &mut a.cc);
                }
            }
            let board = a.recovery.scoreboard();
            let sum = |of: fn(&Sent) -> bool| board.iter().filter(|sent| of(sent)).map(Sent::len).sum::<u32>();
            prop_assert_eq!((board.sacked(), board.lost()), (sum(|s| s.sacked), sum(|s| s.lost)));
            prop_assert!(board.iter().all(|s| !(s.lost && s.sacked) && (s.reason.is_some() || !(s.resent || s.lost))));
            prop_assert_eq!(a.timer().is_some(), !board.is_empty());
            prop_assert_eq!(a.state() == State::Open && board.lost() > 0, false);
            prop_assert!(a.cc.cwnd() >= MSS);
        }
        let next = a.recovery.scoreboard().nxt();
        let info = AckInfo { now: a.now, ack: next, blocks: &[], echo: None, is_duplicate: false, ece: false };
        a.recovery.on_ack(&info, &mut a.rtt, &mut a.cc);
        prop_assert_eq!((a.state(), a.timer()), (State::Open, None));
        prop_assert_eq!(a.recovery.in_flight(), 0);
    }
}
