//! The windows against figures by hand, and CUBIC against its RFC's formulas in double precision.

use super::*;

const MSS: u16 = 1_000;
const RTT_US: u32 = 100_000;

/// A path without queue: each round trip the whole window is sent and acknowledged, a segment at a time, evenly spread.
struct Path<C> {
    cc: C,
    rtt: Rtt,
    rtt_us: u32,
    now: Stamp,
    una: Seq,
    cwnd_limited: bool,
}

impl<C: CongestionControl> Path<C> {
    fn new(cc: C) -> Self {
        Self::with_rtt(cc, RTT_US)
    }
    fn with_rtt(cc: C, rtt_us: u32) -> Self {
        let mut rtt = Rtt::new();
        rtt.sample(rtt_us, Stamp(0));
        Self { cc, rtt, rtt_us, now: Stamp(0), una: Seq(0), cwnd_limited: true }
    }
    fn ack(&mut self, bytes: u32) {
        self.una += bytes;
        let nxt = self.una + self.cc.cwnd();
        let (now, una, rtt_us) = (self.now, self.una, Some(self.rtt_us));
        self.cc.on_ack(&Acked { now, una, nxt, bytes, rtt_us, cwnd_limited: self.cwnd_limited }, &self.rtt);
    }
    fn round(&mut self) {
        let acks = (self.cc.cwnd() / self.cc.mss()).max(1);
        let start = self.now;
        for ack in 1..=acks {
            self.now = start.plus_us((u64::from(self.rtt_us) * u64::from(ack) / u64::from(acks)) as u32);
            self.ack(self.cc.mss());
        }
    }
    fn lose(&mut self) {
        let cwnd = self.cc.cwnd();
        self.cc.remember();
        self.cc.on_loss(self.now, cwnd);
    }
    fn segments(&self) -> u32 {
        self.cc.cwnd() / self.cc.mss()
    }
}

fn both(mss: u16) -> [Congestion; 2] {
    [Congestion::Cubic(Cubic::new(mss)), Congestion::NewReno(NewReno::new(mss))]
}

#[test]
fn they_are_small() {
    assert_eq!((size_of::<Congestion>(), size_of::<Cubic>()), (56, 56));
}

#[test]
fn the_initial_window_is_that_of_rfc_6928() {
    for (mss, window) in [(536, 5_360), (1_448, 14_480), (1_460, 14_600), (4_000, 14_600), (8_948, 17_896)] {
        for mut cc in both(1_000) {
            cc.set_mss(mss);
            assert_eq!(cc.cwnd(), window, "MSS {mss}");
            assert!(cc.ssthresh() > cc.cwnd());
            cc.on_syn_lost();
            assert_eq!(cc.cwnd(), u32::from(mss), "one segment after a lost SYN");
        }
    }
}

#[test]
fn slow_start_doubles_each_round_trip() {
    for cc in both(MSS) {
        let mut path = Path::new(cc);
        for segments in [20, 40, 80, 160] {
            path.round();
            assert_eq!(path.segments(), segments);
        }
    }
}

#[test]
fn one_acknowledgement_opens_the_window_by_few_segments() {
    for (cc, segments) in both(MSS).into_iter().zip([10 + 8, 10 + 2]) {
        let mut path = Path::new(cc);
        path.ack(50_000);
        assert_eq!(path.segments(), segments);
    }
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    for cc in both(MSS) {
        let mut path = Path::new(cc);
        path.cwnd_limited = false;
        for _ in 0..20 {
            path.round();
        }
        assert_eq!(path.segments(), 10);
        path.cwnd_limited = true;
        path.round();
        path.lose();
        let cwnd = path.cc.cwnd();
        path.cwnd_limited = false;
        for _ in 0..20 {
            path.round();
        }
        assert_eq!(path.cc.cwnd(), cwnd);
    }
}

#[test]
fn a_loss_takes_what_the_rfcs_say() {
    let expected = [(70_000, 700), (50_000, 500)];
    for (mut cc, (after_loss, thousandths)) in both(MSS).into_iter().zip(expected) {
        let mut path = Path::new(cc.clone());
        while path.cc.cwnd() < 100_000 {
            path.ack(1_000);
        }
        cc = path.cc;
        let mut lost = cc.clone();
        lost.on_loss(Stamp(0), 100_000);
        assert_eq!((lost.cwnd(), lost.ssthresh()), (after_loss, after_loss));
        let mut timed_out = cc.clone();
        timed_out.on_rto(Stamp(0), 40_000, false);
        assert_eq!((timed_out.cwnd(), timed_out.ssthresh()), (1_000, 40 * thousandths), "from what was in flight");
        timed_out.on_rto(Stamp(0), 1_000, true);
        assert_eq!((timed_out.cwnd(), timed_out.ssthresh()), (1_000, 40 * thousandths), "not twice for one segment");
        cc.on_loss(Stamp(0), 1_500);
        assert_eq!(cc.ssthresh(), 2_000, "two segments at least");
    }
}

#[test]
fn reno_adds_one_segment_a_round_trip() {
    let mut path = Path::new(NewReno::new(MSS));
    path.lose();
    for segments in 6..40 {
        path.round();
        assert!(path.segments().abs_diff(segments) <= 1, "{} at {segments}", path.segments());
    }
}

#[test]
fn what_was_no_loss_is_undone() {
    for cc in both(MSS) {
        let mut path = Path::new(cc);
        path.round();
        path.lose();
        for _ in 0..10 {
            path.round();
        }
        let (cwnd, ssthresh) = (path.cc.cwnd(), path.cc.ssthresh());
        path.cc.remember();
        path.cc.on_rto(path.now, cwnd, false);
        path.round();
        path.cc.on_spurious(path.now);
        assert_eq!((path.cc.cwnd(), path.cc.ssthresh()), (cwnd, ssthresh));
        path.cc.on_spurious(path.now);
        assert_eq!(path.cc.cwnd(), cwnd, "once");
    }
}

#[test]
fn an_undone_loss_leaves_cubic_on_its_curve() {
    for rounds in [5, 90] {
        let mut steady = Path::new(Cubic::new(MSS));
        while steady.segments() < 500 {
            steady.round();
        }
        steady.lose();
        for _ in 0..rounds {
            steady.round();
        }
        let mut disturbed = Path { cc: steady.cc.clone(), rtt: steady.rtt.clone(), ..steady };
        disturbed.lose();
        disturbed.cc.on_spurious(disturbed.now);
        for _ in 0..20 {
            steady.round();
            disturbed.round();
        }
        let (a, b) = (steady.segments(), disturbed.segments());
        assert!(a.abs_diff(b) <= a / 50, "{b} instead of {a} after {rounds} rounds");
    }
}

#[test]
fn after_idling_longer_than_the_timeout_the_window_restarts() {
    for cc in both(MSS) {
        let mut path = Path::new(cc);
        for _ in 0..4 {
            path.round();
        }
        let rto_us = path.rtt.rto_us();
        path.cc.on_idle(path.now, rto_us, &path.rtt);
        assert_eq!(path.segments(), 160);
        path.cc.on_idle(path.now, rto_us + 1, &path.rtt);
        assert_eq!(path.segments(), 10);
        assert!(path.cc.ssthresh() >= 120_000, "what the path has carried is remembered");
    }
}

/// RFC 9438 sections 4.2 to 4.7 in segments and seconds, written as the RFC does.
struct Model {
    cwnd: f64,
    cwnd_prior: f64,
    w_max: f64,
    w_est: f64,
    k: f64,
    t_epoch: Option<f64>,
}

impl Model {
    fn lose(&mut self) {
        self.cwnd_prior = self.cwnd;
        self.w_max = if self.cwnd < self.w_max { self.cwnd * (1.0 + 0.7) / 2.0 } else { self.cwnd };
        self.cwnd *= 0.7;
        self.w_est = self.cwnd;
        self.k = ((self.w_max - self.cwnd) / 0.4).cbrt();
        self.t_epoch = None;
    }
    fn ack(&mut self, now: f64, rtt: f64) {
        let t = now - *self.t_epoch.get_or_insert(now);
        let w_cubic = |t: f64| 0.4 * (t - self.k).powi(3) + self.w_max;
        let target = w_cubic(t + rtt).clamp(self.cwnd, 1.5 * self.cwnd);
        let alpha = if self.w_est >= self.cwnd_prior { 1.0 } else { 3.0 * (1.0 - 0.7) / (1.0 + 0.7) };
        self.w_est += alpha / self.cwnd;
        if w_cubic(t) < self.w_est {
            self.cwnd = self.cwnd.max(self.w_est);
        } else {
            self.cwnd += (target - self.cwnd) / self.cwnd;
        }
    }
}

#[test]
fn cubic_follows_the_formulas_of_its_rfc() {
    for (rtt_us, segments, rounds) in
        [(100_000, 1_000, 150), (100_000, 100, 150), (5_000, 40, 300), (1_000, 3_000, 2_000)]
    {
        let mut path = Path::with_rtt(Cubic::new(MSS), rtt_us);
        while path.segments() < segments {
            path.round();
        }
        let cwnd = f64::from(path.cc.cwnd()) / 1e3;
        let mut model = Model { cwnd, cwnd_prior: 0.0, w_max: 0.0, w_est: 0.0, k: 0.0, t_epoch: None };
        let began = path.now;
        let seconds = |now: Stamp| f64::from(now.since(began)) / 1e6;
        for epoch in 0..3 {
            path.lose();
            model.lose();
            // The last epoch ends before the window is back where it was: fast convergence comes next.
            for _ in 0..rounds / (epoch + 1) {
                let acks = path.segments();
                let start = path.now;
                for ack in 1..=acks {
                    path.now = start.plus_us((u64::from(rtt_us) * u64::from(ack) / u64::from(acks)) as u32);
                    path.ack(1_000);
                    model.ack(seconds(path.now), f64::from(rtt_us) / 1e6);
                }
                let cwnd = f64::from(path.cc.cwnd()) / 1e3;
                let off = (cwnd - model.cwnd).abs() / model.cwnd;
                assert!(off < 0.002, "{cwnd} is not {} at {rtt_us} us, {segments} segments", model.cwnd);
            }
        }
    }
}

#[test]
fn cubic_is_back_where_it_lost_after_k() {
    let mut path = Path::new(Cubic::new(MSS));
    while path.segments() < 1_000 {
        path.round();
    }
    let w_max = path.segments();
    path.lose();
    // K = cbrt(W_max * 0.3 / 0.4), seconds; the first acknowledgement begins the epoch.
    let k = (f64::from(w_max) * 0.75).cbrt();
    let rounds = (k * 1e6 / f64::from(RTT_US)) as u32;
    for _ in 0..rounds {
        path.round();
    }
    assert!(path.segments().abs_diff(w_max) <= 2, "{} is not {w_max}", path.segments());
}

#[test]
fn hystart_leaves_slow_start_when_round_trips_grow() {
    let mut path = Path::new(Cubic::new(MSS));
    for _ in 0..3 {
        path.round();
    }
    // 12.5 % more is the threshold.
    path.rtt_us = 112_000;
    path.round();
    assert!(path.segments() > 150, "jitter changes nothing");
    path.rtt_us = 127_000;
    path.round();
    let before = path.segments();
    path.round();
    assert!(
        (before..=before / 4 * 5 + 9).contains(&path.segments()),
        "a quarter as fast: {before} {}",
        path.segments()
    );
    for _ in 0..5 {
        path.round();
    }
    assert!(path.cc.ssthresh() <= path.cc.cwnd(), "after five rounds it is congestion avoidance");
}

#[test]
fn hystart_goes_on_when_the_growth_was_jitter() {
    let mut path = Path::new(Cubic::new(MSS));
    for rtt_us in [100_000, 100_000, 130_000, 130_000, 100_000] {
        path.rtt_us = rtt_us;
        path.round();
    }
    let before = path.segments();
    path.round();
    assert!(path.segments() >= before * 2 - 9 && path.cc.ssthresh() > 1 << 29);
}

#[test]
fn marks_lower_the_window_to_one_segment_and_losses_to_two() {
    for mut cc in both(MSS) {
        for _ in 0..9 {
            let flight = cc.cwnd() / 1_000 * 1_000;
            cc.on_ecn(Stamp(0), flight);
        }
        assert_eq!((cc.cwnd(), cc.ssthresh()), (1_000, 2_000));
    }
    for mut cc in both(MSS) {
        for _ in 0..9 {
            let cwnd = cc.cwnd();
            cc.on_loss(Stamp(0), cwnd);
        }
        assert_eq!((cc.cwnd(), cc.ssthresh()), (2_000, 2_000));
    }
}

#[test]
fn smaller_segments_are_as_many_as_before() {
    for cc in both(MSS) {
        let mut path = Path::new(cc);
        path.round();
        path.cc.set_mss(500);
        assert_eq!((path.cc.cwnd(), path.segments()), (10_000, 20));
        path.cc.set_mss(1_000);
        assert_eq!(path.cc.cwnd(), 10_000, "larger ones bring no window");
    }
}

#[test]
fn a_loss_that_is_undone_too_late_changes_nothing() {
    let mut path = Path::new(Cubic::new(MSS));
    path.round();
    path.lose();
    while path.cc.cwnd() <= 20_000 {
        path.round();
    }
    let windows = (path.cc.cwnd(), path.cc.ssthresh());
    path.cc.on_spurious(path.now);
    assert_eq!((path.cc.cwnd(), path.cc.ssthresh()), windows);
}
