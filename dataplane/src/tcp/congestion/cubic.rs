//! CUBIC (RFC 9438). After a loss the window first returns quickly to where the loss was, lingers there, then looks for more:
//!
//! ```text
//!   cwnd                                        .
//!   W_max  |\            . . - - - - - - - . '       W_cubic(t) = C * (t - K)^3 + W_max      segments, seconds
//!          | \      . '                    ^         K: when the curve is back at W_max
//!   0.7    |  \ . '                        K
//!          +---+----------------------------------- t
//! ```
//! Where Reno would be faster (short round trips, small windows), W_est, an estimate of Reno's window, is the window instead.

use super::{Acked, CongestionControl, Window, hystart::HyStart};
use crate::{
    limits::CWND_MAX,
    tcp::{rtt::Rtt, stamp::Stamp},
};

/// rfc9438 5.1 a, b: how fast the curve rises, in segments/s^3.
const C: f64 = 0.4;
/// rfc9438 4.6 b: beta_cubic = 7/10.
const BETA: (u64, u64) = (7, 10);
/// rfc9438 4.7 a: (1 + beta) / 2 = 17/20 of the window, when a loss came earlier than the last: others want room.
const FAST_CONVERGENCE: (u64, u64) = (17, 20);
/// rfc9438 4.3 equation 4: 3 * (1 - beta) / (1 + beta): with it W_est takes as much as Reno, although it gives up less.
const ALPHA: f64 = 9.0 / 17.0;

/// A window along the cubic curve.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Cubic {
    window: Window,
    /// The window where the last loss was, bytes; 0 before the first.
    w_max: u32,
    prior_w_max: u32,
    /// cwnd just before the last reduction.
    cwnd_prior: u32,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The first slow start of a connection.
    // rfc9438 4.10 b: with HyStart++.
    HyStart(HyStart),
    /// Towards a threshold that a loss has set.
    SlowStart,
    /// Congestion avoidance.
    Avoidance(Epoch),
}

/// One congestion avoidance, from a reduction or the end of slow start to the next reduction.
#[derive(Clone, Debug)]
struct Epoch {
    /// K, seconds. Negative when the epoch begins behind the plateau.
    k: f32,
    /// Reno's window, bytes and 65,536ths of one.
    w_est: u32,
    w_est_frac: u16,
    /// 65,536ths of a byte of cwnd.
    cwnd_frac: u16,
    /// t: how long the window has been in use in this epoch; `NOT_BEGUN` before the first acknowledgement.
    t_us: u32,
    /// When `t_us` was counted last.
    at: Stamp,
}

const NOT_BEGUN: u32 = u32::MAX;

impl Cubic {
    /// With the initial window for this segment size.
    pub(in crate::tcp) fn new(mss: u16) -> Self {
        Self {
            window: Window::new(mss),
            w_max: 0,
            prior_w_max: 0,
            cwnd_prior: 0,
            stage: Stage::HyStart(HyStart::new()),
        }
    }

    fn segments(&self, bytes: u32) -> f64 {
        f64::from(bytes) / f64::from(self.window.mss)
    }

    /// rfc9438 4.2 equation 2, from this window; the cube root's sign carries a window beyond W_max on along the same curve.
    fn epoch(&self) -> Epoch {
        let k = ((self.segments(self.w_max) - self.segments(self.window.cwnd)) / C).cbrt();
        Epoch { k: k as f32, w_est: self.window.cwnd, w_est_frac: 0, cwnd_frac: 0, t_us: NOT_BEGUN, at: Stamp(0) }
    }

    /// Where slow start ends without a loss.
    fn begin_avoidance(&mut self) {
        // rfc9438 4.8 a: W_est begins with this window (`epoch`). 4.8, 4.10: the first epoch after a timeout or after HyStart++ has K = 0 and W_max = cwnd.
        self.w_max = self.window.cwnd;
        self.stage = Stage::Avoidance(self.epoch());
    }

    fn slow_start(&mut self, growth: Option<u32>) {
        match growth {
            Some(bytes) => self.window.grow(bytes),
            // rfc9406 4.2: this window is the threshold.
            None => self.window.ssthresh = self.window.cwnd,
        }
        if !self.window.is_slow_start() {
            self.begin_avoidance();
        }
    }

    fn avoid(&mut self, ack: &Acked, rtt: &Rtt) {
        let Stage::Avoidance(mut epoch) = self.stage.clone() else { return };
        if epoch.t_us == NOT_BEGUN {
            (epoch.t_us, epoch.at) = (0, ack.now);
        }
        // rfc9438 4.2 a, 4.6 c: t leaves out the time in which the window was not used.
        if ack.cwnd_limited {
            epoch.t_us = epoch.t_us.saturating_add(ack.now.since(epoch.at)).min(NOT_BEGUN - 1);
        }
        epoch.at = ack.now;
        if ack.cwnd_limited {
            self.grow(&mut epoch, ack.bytes, rtt.srtt_us().unwrap_or(0));
        }
        self.stage = Stage::Avoidance(epoch);
    }

    fn grow(&mut self, epoch: &mut Epoch, bytes: u32, srtt_us: u32) {
        let mss = f64::from(self.window.mss);
        let cwnd = f64::from(self.window.cwnd);
        let (bytes, w_max) = (f64::from(bytes), f64::from(self.w_max));
        let w_cubic = |us: f64| {
            let d = us / 1e6 - f64::from(epoch.k);
            C * d * d * d * mss + w_max
        };
        let t_us = f64::from(epoch.t_us);
        let (w_now, target) = (w_cubic(t_us), w_cubic(t_us + f64::from(srtt_us)).clamp(cwnd, cwnd * 1.5));
        // rfc9438 4.3 b: once W_est has reached the window before the loss, nothing is left to make up for.
        let alpha = if epoch.w_est < self.cwnd_prior { ALPHA } else { 1.0 };
        add(&mut epoch.w_est, &mut epoch.w_est_frac, alpha * mss * bytes / cwnd);
        if w_now < f64::from(epoch.w_est) {
            // rfc9438 4.3 a: the Reno-friendly region.
            self.window.cwnd = self.window.cwnd.max(epoch.w_est);
        } else {
            // rfc9438 4.4 a, 4.5 a: (target - cwnd) / cwnd for each segment that was acknowledged.
            add(&mut self.window.cwnd, &mut epoch.cwnd_frac, (target - cwnd) * bytes / cwnd);
        }
    }

    /// What a reduction leaves behind (rfc9438 4.6, 4.7).
    fn mark(&mut self) {
        let cwnd = self.window.cwnd;
        self.w_max =
            if cwnd < self.w_max { (u64::from(cwnd) * FAST_CONVERGENCE.0 / FAST_CONVERGENCE.1) as u32 } else { cwnd };
        self.cwnd_prior = cwnd;
    }
}

/// Adds bytes and their fraction.
fn add(bytes: &mut u32, frac: &mut u16, more: f64) {
    let sum = (more * 65_536.0) as u64 + u64::from(*frac);
    *frac = sum as u16;
    *bytes = (u64::from(*bytes) + (sum >> 16)).min(u64::from(CWND_MAX)) as u32;
}

impl CongestionControl for Cubic {
    #[inline]
    fn on_ack(&mut self, ack: &Acked, rtt: &Rtt) {
        self.window.untouched = false;
        let mss = self.window.mss();
        match &mut self.stage {
            Stage::HyStart(hystart) => {
                let growth = hystart.on_ack(ack, mss);
                if ack.cwnd_limited || growth.is_none() {
                    self.slow_start(growth);
                }
            }
            // rfc3465 2.3: one segment for each acknowledgement after a timeout, since it may cover what had arrived long before.
            Stage::SlowStart if ack.cwnd_limited => self.slow_start(Some(ack.bytes.min(mss))),
            Stage::SlowStart => {}
            Stage::Avoidance(_) => self.avoid(ack, rtt),
        }
    }
    fn remember(&mut self) {
        self.window.remember();
        self.prior_w_max = self.w_max;
    }
    fn on_loss(&mut self, _now: Stamp, flight: u32) {
        self.mark();
        let ssthresh = self.window.reduced(flight, BETA.0, BETA.1);
        self.window.cut(ssthresh);
        self.stage = Stage::Avoidance(self.epoch());
    }
    fn on_rto(&mut self, _now: Stamp, flight: u32, again: bool) {
        // rfc9438 4.8: with CUBIC's beta; rfc5681 3.1: a segment that times out once more leaves the threshold.
        if !again {
            self.mark();
            self.window.ssthresh = self.window.reduced(flight, BETA.0, BETA.1);
        }
        self.window.lose();
        self.stage = Stage::SlowStart;
    }
    fn on_ecn(&mut self, _now: Stamp, flight: u32) {
        self.mark();
        self.window.cut_for_mark(flight, BETA.0, BETA.1);
        self.stage = if self.window.is_slow_start() { Stage::SlowStart } else { Stage::Avoidance(self.epoch()) };
    }
    fn on_idle(&mut self, now: Stamp, idle_us: u32, rtt: &Rtt) {
        self.window.restart(idle_us, rtt);
        match &mut self.stage {
            Stage::Avoidance(_) if self.window.is_slow_start() => self.stage = Stage::SlowStart,
            // rfc9438 5.8: the curve stands still meanwhile.
            Stage::Avoidance(epoch) => epoch.at = now,
            Stage::HyStart(_) | Stage::SlowStart => {}
        }
    }
    fn on_spurious(&mut self, _now: Stamp) {
        // rfc9438 4.9.2 a: found so late that the window has grown past where it was: it stays.
        if self.window.cwnd > self.window.prior_cwnd {
            self.window.prior_cwnd = 0;
            return;
        }
        // rfc9438 4.9.1: as if nothing had been. K comes out so that the curve goes on where it was left.
        if self.window.restore() {
            self.w_max = self.prior_w_max;
            self.stage = if self.window.is_slow_start() {
                Stage::HyStart(HyStart::new())
            } else {
                Stage::Avoidance(self.epoch())
            };
        }
    }
    fn on_syn_lost(&mut self) {
        self.window.on_syn_lost();
    }
    fn set_mss(&mut self, mss: u16) {
        self.window.set_mss(mss);
    }
    #[inline]
    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }
    #[inline]
    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }
    #[inline]
    fn mss(&self) -> u32 {
        self.window.mss()
    }
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
}
