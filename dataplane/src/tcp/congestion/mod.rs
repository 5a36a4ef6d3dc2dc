//! How much may be in flight: congestion control, without objects on the heap and without virtual calls, since a million idle connections
//! each keep one.
//!
//! ```text
//!                     remember, on_loss, on_rto, on_ecn      what `recovery` found out
//!   recovery  ------> on_ack, on_spurious             ------> cwnd, ssthresh
//!   connection -----> on_idle, on_syn_lost, set_mss   ------> pacing_rate
//! ```
//! `recovery` decides when a loss is a loss and spreads the reduction over a round trip (RFC 6937); here only the windows change.
//! Everything counts bytes (RFC 3465): a peer that acknowledges every byte alone gains nothing by it.

mod cubic;
mod hystart;
mod newreno;
#[cfg(test)]
mod tests;

use super::{rtt::Rtt, seq::Seq, stamp::Stamp};
use crate::limits::CWND_MAX;
pub(super) use cubic::Cubic;
pub(super) use newreno::NewReno;

/// What an acknowledgement that advances SND.UNA says about the path.
pub(super) struct Acked {
    pub(super) now: Stamp,
    /// SND.UNA after it.
    pub(super) una: Seq,
    /// SND.NXT.
    pub(super) nxt: Seq,
    /// Bytes that it says arrived, of which nothing had been said before.
    pub(super) bytes: u32,
    /// The round trip that it measured.
    pub(super) rtt_us: Option<u32>,
    /// The window was full when these bytes were sent. A window that is not used says nothing about the path and must not grow
    /// (RFC 9438 section 5.8, RFC 7661).
    pub(super) cwnd_limited: bool,
}

/// What every algorithm answers. Flight sizes and windows are bytes.
pub(super) trait CongestionControl {
    /// New data was acknowledged, outside of fast recovery.
    fn on_ack(&mut self, ack: &Acked, rtt: &Rtt);
    /// Keeps the windows as they are, for [`on_spurious`](Self::on_spurious): a reduction follows that may turn out to be an error.
    fn remember(&mut self);
    /// A segment was lost, the first of its window of data; or a retransmission was lost.
    fn on_loss(&mut self, now: Stamp, flight: u32);
    /// The retransmission timer expired; `again` for a segment for which it had expired before.
    fn on_rto(&mut self, now: Stamp, flight: u32, again: bool);
    /// The peer reports congestion that a router marked (RFC 3168), the first time in this window of data.
    fn on_ecn(&mut self, now: Stamp, flight: u32);
    /// Data will be sent after `idle_us` in which nothing was in flight.
    fn on_idle(&mut self, now: Stamp, idle_us: u32, rtt: &Rtt);
    /// Nothing had been lost since [`remember`](Self::remember).
    fn on_spurious(&mut self, now: Stamp);
    /// The SYN or SYN-ACK was lost, and nothing has been sent since.
    fn on_syn_lost(&mut self);
    /// The largest segment is now this long: its payload, without options.
    fn set_mss(&mut self, mss: u16);
    /// Bytes that may be in flight.
    fn cwnd(&self) -> u32;
    /// Below it the window is in slow start.
    fn ssthresh(&self) -> u32;
    /// The largest segment, bytes.
    fn mss(&self) -> u32;
    /// Bytes a second at which to send; `None` leaves it to the acknowledgements.
    fn pacing_rate(&self) -> Option<u64>;
}

/// A connection's congestion control.
#[derive(Clone, Debug)]
pub(super) enum Congestion {
    /// RFC 9438 with HyStart++ (RFC 9406).
    Cubic(Cubic),
    /// RFC 5681.
    NewReno(NewReno),
}

macro_rules! dispatch {
    ($self:ident, $it:ident => $call:expr) => {
        match $self {
            Congestion::Cubic($it) => $call,
            Congestion::NewReno($it) => $call,
        }
    };
}

impl CongestionControl for Congestion {
    #[inline]
    fn on_ack(&mut self, ack: &Acked, rtt: &Rtt) {
        dispatch!(self, it => it.on_ack(ack, rtt));
    }
    fn remember(&mut self) {
        dispatch!(self, it => it.remember());
    }
    fn on_loss(&mut self, now: Stamp, flight: u32) {
        dispatch!(self, it => it.on_loss(now, flight));
    }
    fn on_rto(&mut self, now: Stamp, flight: u32, again: bool) {
        dispatch!(self, it => it.on_rto(now, flight, again));
    }
    fn on_ecn(&mut self, now: Stamp, flight: u32) {
        dispatch!(self, it => it.on_ecn(now, flight));
    }
    fn on_idle(&mut self, now: Stamp, idle_us: u32, rtt: &Rtt) {
        dispatch!(self, it => it.on_idle(now, idle_us, rtt));
    }
    fn on_spurious(&mut self, now: Stamp) {
        dispatch!(self, it => it.on_spurious(now));
    }
    fn on_syn_lost(&mut self) {
        dispatch!(self, it => it.on_syn_lost());
    }
    fn set_mss(&mut self, mss: u16) {
        dispatch!(self, it => it.set_mss(mss));
    }
    #[inline]
    fn cwnd(&self) -> u32 {
        dispatch!(self, it => it.cwnd())
    }
    #[inline]
    fn ssthresh(&self) -> u32 {
        dispatch!(self, it => it.ssthresh())
    }
    #[inline]
    fn mss(&self) -> u32 {
        dispatch!(self, it => it.mss())
    }
    fn pacing_rate(&self) -> Option<u64> {
        dispatch!(self, it => it.pacing_rate())
    }
}

/// The windows, and what all algorithms do with them alike.
#[derive(Clone, Debug)]
struct Window {
    cwnd: u32,
    ssthresh: u32,
    /// As remembered; 0 when nothing is.
    prior_cwnd: u32,
    prior_ssthresh: u32,
    mss: u16,
    /// Nothing was acknowledged yet: the initial window follows the segment size.
    untouched: bool,
}

impl Window {
    fn new(mss: u16) -> Self {
        // rfc5681 3.1 f: ssthresh begins arbitrarily high.
        let ssthresh = CWND_MAX;
        Self { cwnd: initial_window(mss), ssthresh, prior_cwnd: 0, prior_ssthresh: 0, mss, untouched: true }
    }

    fn mss(&self) -> u32 {
        u32::from(self.mss)
    }

    #[inline]
    // rfc9293 3.8.2 MUST-19; rfc9438 4.10 a: slow start up to here, congestion avoidance beyond.
    fn is_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    #[inline]
    fn grow(&mut self, bytes: u32) {
        self.cwnd = self.cwnd.saturating_add(bytes).min(CWND_MAX);
    }

    fn remember(&mut self) {
        (self.prior_cwnd, self.prior_ssthresh) = (self.cwnd, self.ssthresh);
    }

    /// Back to what was remembered; says whether anything was.
    fn restore(&mut self) -> bool {
        if self.prior_cwnd == 0 {
            return false;
        }
        self.cwnd = self.cwnd.max(self.prior_cwnd);
        self.ssthresh = self.prior_ssthresh;
        self.prior_cwnd = 0;
        true
    }

    /// rfc9438 4.6 e; rfc3168 6.1.2: a router's mark lowers the window down to a single segment; the threshold stays at two.
    fn cut_for_mark(&mut self, flight: u32, numerator: u64, denominator: u64) {
        let least = (u64::from(flight.min(self.cwnd)) * numerator / denominator) as u32;
        self.cut(self.reduced(flight, numerator, denominator));
        self.cwnd = self.cwnd.min(least.max(self.mss()));
    }

    /// rfc5681 3.1 equation 4: from what is in flight, not from a window that nothing filled; two segments at least.
    fn reduced(&self, flight: u32, numerator: u64, denominator: u64) -> u32 {
        // rfc5681 3.2 h: what limited transmit added beyond the window does not count.
        let flight = u64::from(flight.min(self.cwnd));
        ((flight * numerator / denominator) as u32).max(2 * self.mss())
    }

    /// After a loss: the window is the threshold; never more than it was.
    // rfc5681 3.1 g, 3.2 l, 4.3 c; rfc9438 4.6 a: at once, so that a recovery ends there.
    fn cut(&mut self, ssthresh: u32) {
        self.ssthresh = ssthresh;
        self.cwnd = self.cwnd.min(ssthresh).max(self.mss());
        self.untouched = false;
    }

    /// rfc5681 3.1 n: after a timeout the loss window, one segment.
    fn lose(&mut self) {
        self.cwnd = self.mss();
        self.untouched = false;
    }

    /// rfc5681 4.1 a: after an idle time longer than the timeout no more than the restart window. The threshold remembers what the
    /// path had carried (rfc2861 3).
    fn restart(&mut self, idle_us: u32, rtt: &Rtt) {
        let restart_window = initial_window(self.mss);
        if idle_us > rtt.rto_us() && self.cwnd > restart_window {
            self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
            self.cwnd = restart_window;
        }
    }

    /// rfc5681 3.1 d: after a lost SYN one segment.
    fn on_syn_lost(&mut self) {
        self.lose();
    }

    fn set_mss(&mut self, mss: u16) {
        let mss = mss.max(1);
        // rfc5681 3.1 e: as many segments as before, if they are smaller now.
        let as_many = (u64::from(self.cwnd) * u64::from(mss) / u64::from(self.mss)) as u32;
        self.mss = mss;
        self.cwnd = if self.untouched { initial_window(mss) } else { self.cwnd.min(as_many).max(self.mss()) };
    }
}

/// rfc6928 2: min(10*MSS, max(2*MSS, 14600)).
fn initial_window(mss: u16) -> u32 {
    let mss = u32::from(mss);
    (10 * mss).min((2 * mss).max(14_600))
}
