//! What a touched connection sends: lost segments first, then new data as far as cwnd and the peer's window allow, a FIN, an acknowledgment.

use super::{
    Tcp,
    connection::{Hot, Marks, State},
    emit::{self, Options},
    listen::timestamp,
    segment::{Flags, SACK_BLOCKS_MAX},
    seq::Seq,
    stamp::Stamp,
};
use crate::{
    counters::Counter,
    limits::{TSO_MAX, TX_BACKLOG_SPARED},
    outbox::Outbox,
    port::Frame,
    time::Instant,
};

/// Bytes of options that a SACK block takes, with what comes before the first.
const SACK_ROOM: u32 = 4 + 8;

impl Tcp {
    /// Sends everything that is due of a connection.
    #[inline(always)]
    pub(super) fn transmit(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let hot = &self.connections.hot[i];
        if hot.state < State::Established {
            // The first SYN; its timer sends the others.
            if hot.state == State::SynSent && self.connections.cold[i].retries == 0 {
                self.handle_syn_timer(now, i, out);
            }
            // In a simultaneous open: what lies outside the window is answered here, too.
            let hot = &self.connections.hot[i];
            if hot.state == State::SynReceived && hot.marks.has(Marks::ACK_NOW) {
                self.send_ack(now, i, out);
            }
            return;
        }
        self.open_window(i);
        if self.connections.hot[i].marks.has(Marks::LONE) {
            self.send_lone(now, i, out);
        }
        if self.connections.hot[i].flight.get().is_some() {
            self.resend_lost(now, i, out);
            self.send_new(now, i, out);
            self.arm_transmit(now, i);
        }
        let marks = self.connections.hot[i].marks;
        // rfc9293 3.10.7.4 MUST-58, MUST-59: one acknowledgment for all that came in this turn, unless data has carried it.
        if marks.has(Marks::ACK_NOW) || marks.has(Marks::WINDOW_UPDATE) {
            self.send_ack(now, i, out);
        }
    }

    /// Whether the port takes another segment with data. If not, the connection's turn comes again: what its port cannot take now would be lost,
    /// and congestion control would take that for the network's word.
    #[inline(always)]
    pub(super) fn has_room(&mut self, i: usize, out: &Outbox) -> bool {
        let port = self.topology.interface(self.connections.hot[i].interface).port;
        let has_room = out.room(port) > self.transmits.len() + TX_BACKLOG_SPARED;
        if !has_room {
            self.touch(i);
        }
        has_room
    }

    /// Lost segments go first.
    // rfc9293 3.8.6 SHLD-16: whatever has become of the peer's window meanwhile.
    fn resend_lost(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        loop {
            let (hot, cold) = (&self.connections.hot[i], &self.connections.cold[i]);
            let Some(index) = hot.flight.get() else { return };
            let recovery = &mut self.flights.at_mut(index).recovery;
            let Some((seq, len)) = recovery.next_retransmission() else { return };
            // rfc8985 9.3 a: what is lost waits until congestion control lets it go.
            if recovery.quota(&cold.congestion) < len.min(u32::from(hot.mss)) {
                return;
            }
            if !self.has_room(i, out) || !self.resend(now, i, seq, seq + len, out) {
                return;
            }
        }
    }

    /// Sends a range again, as much of it as one segment holds. `false`: no frame could be had.
    pub(super) fn resend(&mut self, now: Instant, i: usize, seq: Seq, end: Seq, out: &mut Outbox) -> bool {
        let hot = &self.connections.hot[i];
        let Some(index) = hot.flight.get() else { return false };
        let flight = self.flights.at(index);
        let data_end = flight.queued_end;
        let mut len = (end.min(data_end) - seq.min(data_end)).min(u32::from(hot.mss));
        // rfc9293 3.8.6 MAY-7: a peer that has taken its window back is not sent again what lies beyond it, but for the oldest segment, which
        // asks whether it is still closed.
        let open = (hot.snd_una + hot.snd_wnd).since(seq);
        if open < len {
            if seq != hot.snd_una {
                return false;
            }
            len = if open > 0 { open } else { len };
        }
        let segments = self.topology.interface(hot.interface).offloads.segments;
        let frame = if len > 0 { flight.queue.gather(seq, len, segments, out) } else { out.make() };
        let Some(frame) = frame else { return false };
        let sent = seq + frame.len() as u32;
        let fin = hot.marks.has(Marks::FIN_SENT) && sent == data_end && (open == 0 || open > len);
        let end = sent + u32::from(fin);
        let flight = self.flights.at_mut(index);
        let reason = flight.recovery.on_retransmitted(Stamp::of(now), seq, end);
        self.connections.cold[i].resent_segments += 1;
        out.counters.count(Counter::TcpResent);
        out.counters.count(reason.counter());
        let flags = Flags::PSH | if fin { Flags::FIN } else { 0 };
        self.emit_data(now, i, seq, flags, frame, false, out);
        true
    }

    /// New data, and the FIN behind it.
    fn send_new(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        loop {
            let (hot, cold) = (&self.connections.hot[i], &self.connections.cold[i]);
            let Some(index) = hot.flight.get() else { return };
            let flight = self.flights.at(index);
            let unsent = flight.queued_end.since(hot.snd_nxt);
            let fin_due = hot.marks.has(Marks::CLOSED) && !hot.marks.has(Marks::FIN_SENT);
            if unsent == 0 && !fin_due {
                self.flights.at_mut(index).recovery.on_app_limited();
                return;
            }
            if !flight.recovery.may_send_new() {
                return;
            }
            // rfc7323 2.4 a, d; rfc9293 3.8.6 SHLD-15: the latest window limits what is new; nothing if it has shrunk below what is under way.
            let window = (hot.snd_una + hot.snd_wnd).since(hot.snd_nxt);
            let offloads = self.topology.interface(hot.interface).offloads;
            let (mss, quota) = (u32::from(hot.mss), flight.recovery.quota(&cold.congestion));
            let outstanding = hot.snd_nxt != hot.snd_una;
            let largest = if offloads.tso && offloads.l4_checksum { TSO_MAX } else { mss };
            // rfc9293 3.9.1.2 SHLD-27, SHLD-28: however it was written, as much as fits.
            let len = unsent.min(window).min(largest);
            // rfc5681 2 a, 3.1 a: within cwnd, by whole segments; the first always fits.
            let len = if quota >= len.min(mss) {
                len.min(quota.max(mss))
            } else if outstanding {
                return;
            } else {
                len.min(mss)
            };
            let len = if len > mss && len < unsent { len - len % mss } else { len };
            let last = len == unsent;
            let fin = fin_due && last && window > len;
            if !fin && !worth_sending(hot, len, unsent, mss, cold.snd_wnd_max) {
                return;
            }
            if !self.has_room(i, out) {
                return;
            }
            let (hot, flight) = (&self.connections.hot[i], self.flights.at(index));
            let frame =
                if len > 0 { flight.queue.gather(hot.snd_nxt, len, offloads.segments, out) } else { out.make() };
            let Some(frame) = frame else { return };
            let len = frame.len() as u32;
            let fin = fin && len == unsent;
            self.note_sent(now, i, index, len, fin);
            // rfc9293 3.9.1.2 MUST-61: the last that there is to send says PSH.
            let flags = if len == unsent { Flags::PSH } else { 0 } | if fin { Flags::FIN } else { 0 };
            let seq = self.connections.hot[i].snd_nxt - len - u32::from(fin);
            self.emit_data(now, i, seq, flags, frame, true, out);
        }
    }

    /// rfc8985 7.3: a segment of new data, whatever cwnd says, to learn what became of those before it.
    pub(super) fn probe_new(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let hot = &self.connections.hot[i];
        let Some(index) = hot.flight.get() else { return };
        let flight = self.flights.at(index);
        let unsent = flight.queued_end.since(hot.snd_nxt);
        let window = (hot.snd_una + hot.snd_wnd).since(hot.snd_nxt);
        let len = unsent.min(window).min(u32::from(hot.mss));
        let segments = self.topology.interface(hot.interface).offloads.segments;
        let Some(frame) = flight.queue.gather(hot.snd_nxt, len, segments, out) else { return };
        let (seq, len) = (hot.snd_nxt, frame.len() as u32);
        self.note_sent(now, i, index, len, false);
        self.emit_data(now, i, seq, Flags::PSH, frame, true, out);
    }

    /// One byte from `snd_nxt` on, or the FIN, beyond the peer's window. `snd_nxt` stays: only an acknowledgment moves it.
    pub(super) fn probe_window(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let hot = &mut self.connections.hot[i];
        let Some(index) = hot.flight.get() else { return };
        let flight = self.flights.at(index);
        if (hot.snd_una + hot.snd_wnd).after(hot.snd_nxt) {
            // The window is open, but too little fits to be worth it, or no frame could be had: now it goes as it is.
            return self.probe_new_or_fin(now, i, out);
        }
        let seq = hot.snd_nxt;
        if flight.queued_end == seq {
            // Only the FIN is left: ask with a number that was acknowledged, as a keepalive does.
            return self.send_bare_ack(now, i, seq - 1, out);
        }
        let Some(frame) = flight.queue.gather(seq, 1, false, out) else { return };
        hot.marks.set(Marks::PROBED);
        self.emit_data(now, i, seq, Flags::PSH, frame, false, out);
    }

    fn probe_new_or_fin(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let hot = &mut self.connections.hot[i];
        hot.marks.clear(Marks::PERSIST | Marks::TRANSMIT_ARMED);
        self.probe_new(now, i, out);
        self.connections.cold[i].retries = 0;
        self.arm_transmit(now, i);
    }

    /// New numbers are under way.
    fn note_sent(&mut self, now: Instant, i: usize, index: usize, len: u32, fin: bool) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let flight = self.flights.at_mut(index);
        let stamp = Stamp::of(now);
        let count = len + u32::from(fin);
        if hot.snd_nxt == hot.snd_una {
            cold.stalled_at = now;
            cold.restart(now);
        }
        cold.sent_at = now;
        // By segments, also where a device will do the cutting: they are lost one by one.
        let mut left = count;
        while left > 0 {
            let segment = left.min(u32::from(hot.mss) + u32::from(fin && left == u32::from(hot.mss) + 1));
            flight.recovery.on_sent(stamp, segment, &cold.congestion);
            left -= segment;
        }
        hot.snd_nxt += count;
        hot.marks.clear(Marks::PROBED);
        if fin {
            hot.marks.set(Marks::FIN_SENT);
            hot.state = match hot.state {
                State::CloseWait => State::LastAck,
                _ => State::FinWait1,
            };
        }
    }

    /// A segment with data or a FIN leaves. Acknowledgment and window travel with it.
    #[allow(clippy::too_many_arguments)] // what a segment is made of
    #[inline(always)]
    pub(super) fn emit_data(
        &mut self,
        now: Instant,
        i: usize,
        seq: Seq,
        flags: u8,
        mut frame: Frame,
        fresh: bool,
        out: &mut Outbox,
    ) {
        let hot = &mut self.connections.hot[i];
        let mut options = Options::default();
        // rfc7323 3.2 b, d: in each segment, and with ACK in each there is something to echo.
        if hot.marks.has(Marks::TIMESTAMPS) {
            options.timestamps(timestamp(now).wrapping_add(hot.ts_offset), hot.ts_recent);
        }
        let len = frame.len() as u32;
        let mut flags = flags;
        let mut ecn = 0;
        if hot.marks.has(Marks::ECN) {
            if hot.marks.has(Marks::ECE) {
                flags |= Flags::ECE;
            }
            // rfc3168 6.1.5: what is sent again is not ECN-capable; 6.1.2: CWR on the first new data.
            if fresh && len > 0 {
                ecn = ECT0;
                if hot.marks.has(Marks::CWR) {
                    hot.marks.clear(Marks::CWR);
                    flags |= Flags::CWR;
                }
            }
        }
        let mss = u32::from(hot.mss);
        let mut withheld = false;
        if hot.marks.has(Marks::SACK) && (hot.assembler.is_some() || hot.marks.has(Marks::DSACK)) {
            if len + SACK_ROOM <= mss {
                let fit = ((mss - len - 4) / 8).min(SACK_BLOCKS_MAX as u32) as usize;
                self.put_sack(i, fit, &mut options);
            } else {
                withheld = hot.marks.has(Marks::ACK_NOW);
            }
        }
        let hot = &mut self.connections.hot[i];
        let header = hot.header(seq, flags);
        note_acknowledged(hot);
        // What a full segment has no room for, an acknowledgment by itself will say.
        hot.marks.put(Marks::ACK_NOW, withheld);
        let offloads = self.topology.interface(hot.interface).offloads;
        let cut = (len > mss).then_some(hot.mss);
        let (traffic_class, hop_limit) = (hot.traffic_class, hot.hop_limit);
        emit::emit(&hot.key, &header, &options, cut, &mut frame, offloads, out);
        out.counters.count(Counter::TcpTxSegments);
        self.transmits.push_back((emit::Route::new(&hot.key, hot.interface, traffic_class | ecn, hop_limit), frame));
    }

    /// An acknowledgment by itself.
    pub(super) fn send_ack(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        // A probe's byte is not under way for good, so our number is the one before it.
        let seq = self.connections.hot[i].snd_nxt;
        self.send_bare_ack(now, i, seq, out);
    }

    /// The same with another number (a keepalive's).
    pub(super) fn send_bare_ack(&mut self, now: Instant, i: usize, seq: Seq, out: &mut Outbox) {
        let Some(mut frame) = out.make() else { return };
        let mut options = Options::default();
        let hot = &self.connections.hot[i];
        // rfc7323 3.2 b, d: the same here.
        if hot.marks.has(Marks::TIMESTAMPS) {
            options.timestamps(timestamp(now).wrapping_add(hot.ts_offset), hot.ts_recent);
        }
        // rfc2018 4 e: every one while anything is out of order.
        if hot.assembler.is_some() || hot.marks.has(Marks::DSACK) {
            self.put_sack(i, SACK_BLOCKS_MAX, &mut options);
        }
        let hot = &mut self.connections.hot[i];
        let flags = if hot.marks.has(Marks::ECE) { Flags::ECE } else { 0 };
        let header = hot.header(seq, flags);
        note_acknowledged(hot);
        let (key, interface) = (hot.key, hot.interface);
        let (traffic_class, hop_limit) = (hot.traffic_class, hot.hop_limit);
        let offloads = self.topology.interface(interface).offloads;
        emit::emit(&key, &header, &options, None, &mut frame, offloads, out);
        out.counters.count(Counter::TcpTxSegments);
        out.counters.count(Counter::TcpTxAcks);
        self.transmits.push_back((emit::Route::new(&key, interface, traffic_class, hop_limit), frame));
    }

    /// What has come out of order, and what has come twice.
    // rfc2018 4 a, c, g: whenever there is something to report, in as many blocks as fit.
    #[cold]
    fn put_sack(&mut self, i: usize, fit: usize, options: &mut Options) {
        let (hot, cold) = (&mut self.connections.hot[i], &self.connections.cold[i]);
        // rfc2018 4 b: only for a peer that has permitted it.
        if !hot.marks.has(Marks::SACK) {
            return;
        }
        let mut blocks = arrayvec::ArrayVec::<_, SACK_BLOCKS_MAX>::new();
        // rfc2883 4: the duplicate's block comes first, once.
        if hot.marks.has(Marks::DSACK) {
            hot.marks.clear(Marks::DSACK);
            blocks.push(cold.dsack);
        }
        // rfc2018 4 f, h: then the newest, then those before it.
        for block in self.assemblers.sack_blocks(hot.assembler, cold.newest_held) {
            if blocks.len() < fit {
                blocks.push(block);
            }
        }
        options.sack(&blocks);
    }
}

/// rfc3168 5: ECN-capable.
const ECT0: u8 = 2;

/// Whatever was to be acknowledged has been.
#[inline]
fn note_acknowledged(hot: &mut Hot) {
    hot.last_ack_sent = hot.rcv_nxt;
    hot.marks.clear(Marks::ACK_NOW | Marks::ACK_DELAYED | Marks::WINDOW_UPDATE);
}

/// rfc9293 3.8.6.2.1 MUST-38: a full segment; or all there is, unless Nagle holds it back; or half of the largest window that the peer has
/// ever opened. Otherwise more is waited for; with nothing under way the persist timer sends it all the same.
#[inline]
fn worth_sending(hot: &Hot, len: u32, unsent: u32, mss: u32, snd_wnd_max: u32) -> bool {
    if len == 0 {
        return false;
    }
    if len >= mss || (len >= snd_wnd_max / 2 && len < unsent) {
        return true;
    }
    // rfc9293 3.7.4: Nagle, where it is on. A FIN waits for nothing.
    let held_back = hot.marks.has(Marks::NAGLE) && hot.snd_nxt != hot.snd_una && !hot.marks.has(Marks::CLOSED);
    len == unsent && !held_back
}
