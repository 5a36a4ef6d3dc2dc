//! RFC 5681 with byte counting (RFC 3465): the window that every other algorithm is compared with.

use super::{Acked, CongestionControl, Window};
use crate::tcp::{rtt::Rtt, stamp::Stamp};

/// rfc3465 2.3: segments by which one acknowledgement may open the window in slow start; one after a timeout.
const L: u32 = 2;

/// Slow start, and one segment a round trip after it.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct NewReno {
    window: Window,
    /// Bytes acknowledged that have not moved the window yet.
    acked: u32,
    after_rto: bool,
}

impl NewReno {
    /// With the initial window for this segment size.
    pub(in crate::tcp) fn new(mss: u16) -> Self {
        Self { window: Window::new(mss), acked: 0, after_rto: false }
    }
}

impl CongestionControl for NewReno {
    #[inline]
    fn on_ack(&mut self, ack: &Acked, _rtt: &Rtt) {
        self.window.untouched = false;
        if !ack.cwnd_limited {
            return;
        }
        if self.window.is_slow_start() {
            let limit = if self.after_rto { 1 } else { L };
            self.window.grow(ack.bytes.min(limit * self.window.mss()));
            return;
        }
        self.after_rto = false;
        // rfc5681 3.1 i, k; rfc3465 2.1: in congestion avoidance a segment for each window of bytes.
        self.acked += ack.bytes.min(self.window.cwnd);
        if self.acked >= self.window.cwnd {
            self.acked -= self.window.cwnd;
            self.window.grow(self.window.mss());
        }
    }
    fn remember(&mut self) {
        self.window.remember();
    }
    fn on_loss(&mut self, _now: Stamp, flight: u32) {
        let ssthresh = self.window.reduced(flight, 1, 2);
        self.window.cut(ssthresh);
        self.acked = 0;
    }
    fn on_rto(&mut self, _now: Stamp, flight: u32, again: bool) {
        // rfc5681 3.1: a segment that times out once more leaves the threshold.
        if !again {
            self.window.ssthresh = self.window.reduced(flight, 1, 2);
        }
        self.window.lose();
        self.acked = 0;
        self.after_rto = true;
    }
    fn on_ecn(&mut self, _now: Stamp, flight: u32) {
        self.window.cut_for_mark(flight, 1, 2);
        self.acked = 0;
    }
    fn on_idle(&mut self, _now: Stamp, idle_us: u32, rtt: &Rtt) {
        self.window.restart(idle_us, rtt);
    }
    fn on_spurious(&mut self, _now: Stamp) {
        self.window.restore();
        self.after_rto = false;
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
