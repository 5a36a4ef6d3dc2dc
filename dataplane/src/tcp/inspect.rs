//! What can be seen of a connection, as `ss -ti` shows it.

use super::{
    Tcp,
    congestion::CongestionControl,
    connection::{ConnectionId, Marks, State},
    lone::Lone,
    stamp::Stamp,
    table::FlowKey,
};
use crate::{drops::Drop, time::Instant};
use std::net::SocketAddr;

/// One connection, at one moment. Bytes, microseconds and segments.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// Its name; none while half-open or in TIME-WAIT.
    pub id: Option<ConnectionId>,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// As RFC 9293 names it.
    pub state: &'static str,
    /// Congestion window.
    pub cwnd: u32,
    /// Slow start threshold.
    pub ssthresh: u32,
    /// Payload of a full segment.
    pub mss: u16,
    /// The largest packet that the path carries, as far as is known.
    pub path_mtu: u16,
    /// Smoothed round trip, once there is a sample.
    pub srtt_us: Option<u32>,
    /// Its variation.
    pub rttvar_us: u32,
    /// The least round trip of late.
    pub min_rtt_us: u32,
    /// Retransmission timeout.
    pub rto_us: u32,
    /// How often it was doubled since the last acknowledgment.
    pub backoff: u8,
    /// `open`, `recovery` or `loss`.
    pub recovery: &'static str,
    /// Bytes under way that the peer holds out of order.
    pub sacked: u32,
    /// Bytes under way that count as lost.
    pub lost: u32,
    /// Bytes per second at which congestion control wants to send, where it has a word on that.
    pub pacing_rate: Option<u64>,
    /// Segments that were sent again, since the beginning.
    pub resent_segments: u32,
    /// Sent and not acknowledged.
    pub unacked: u32,
    /// Queued and not sent.
    pub unsent: u32,
    /// What the peer still takes.
    pub snd_wnd: u32,
    /// What we still take.
    pub rcv_wnd: u32,
    /// What the window may grow to at present.
    pub rcv_buffer: u32,
    /// Given to the application and not consumed.
    pub unconsumed: u32,
    /// Held out of order.
    pub out_of_order: u32,
    /// Bytes per second, as acknowledgments came in.
    pub delivery_rate: u32,
    /// Bytes that the peer has acknowledged.
    pub acked_bytes: u64,
    /// Bytes that came in order.
    pub received_bytes: u64,
    /// Timestamps, SACK, ECN are on.
    pub timestamps: bool,
    /// See above.
    pub sack: bool,
    /// See above.
    pub ecn: bool,
    /// Shifts of the windows that we send to, and receive into.
    pub wscale: (u8, u8),
    /// Timers that run: name and microseconds to go.
    pub timers: Vec<(&'static str, u64)>,
    /// Since it was opened.
    pub age_us: u64,
    /// Why its last segment was dropped, if one was.
    pub last_drop: Option<Drop>,
}

impl Tcp {
    /// Every connection, half-open ones and those in TIME-WAIT too. For looking at, not for the path.
    pub fn conns(&self, now: Instant) -> impl Iterator<Item = ConnectionReport> + '_ {
        (0..self.places()).filter_map(move |place| self.conn_at(now, place)).chain(self.conns_apart(now))
    }

    /// Places of open connections, for [`Self::conn_at`].
    pub fn places(&self) -> usize {
        self.connections.hot.len()
    }
    /// The connection at a place, if one is open there.
    pub fn conn_at(&self, now: Instant, place: usize) -> Option<ConnectionReport> {
        (self.connections.hot[place].state != State::Closed).then(|| self.report(now, place))
    }
    /// Connections that are being opened or that wait for their last segments to vanish.
    pub fn conns_apart(&self, now: Instant) -> impl Iterator<Item = ConnectionReport> + '_ {
        let half_open = self.half_open.iter().map(|record| bare(&record.key, "SYN-RECEIVED"));
        half_open.chain(self.time_waits.iter().map(move |record| {
            let us = record.until.since(now).as_us();
            ConnectionReport { timers: vec![("time_wait", us)], ..bare(&record.key, "TIME-WAIT") }
        }))
    }

    /// Both ends of a connection: ours and the peer's.
    pub fn ends(&self, id: ConnectionId) -> Option<(SocketAddr, SocketAddr)> {
        let key = &self.connections.hot[self.connections.find(id)?].key;
        Some((SocketAddr::new(key.local(), key.local_port()), SocketAddr::new(key.remote(), key.remote_port())))
    }

    /// Whether everything that was queued was sent, acknowledged or not.
    pub fn has_sent_all(&self, id: ConnectionId) -> bool {
        let Some(i) = self.connections.find(id) else { return false };
        let hot = &self.connections.hot[i];
        match hot.flight.get() {
            Some(flight) => hot.snd_nxt == self.flights.at(flight).queued_end,
            None => !matches!(self.connections.cold[i].lone, Lone::Waits(_)),
        }
    }

    /// Whether the peer has acknowledged everything that was queued, our close included.
    pub fn is_acknowledged(&self, id: ConnectionId) -> bool {
        let Some(i) = self.connections.find(id) else { return true };
        self.connections.hot[i].flight.is_none() && matches!(self.connections.cold[i].lone, Lone::Nothing)
    }

    /// Bytes that came and were not consumed, those of events that wait included.
    pub fn unconsumed(&self, id: ConnectionId) -> u32 {
        self.connections.find(id).map_or(0, |i| self.connections.hot[i].rcv_unconsumed)
    }

    /// One connection.
    pub fn conn(&self, now: Instant, id: ConnectionId) -> Option<ConnectionReport> {
        self.connections.find(id).map(|i| self.report(now, i))
    }

    fn report(&self, now: Instant, i: usize) -> ConnectionReport {
        let (hot, cold) = (&self.connections.hot[i], &self.connections.cold[i]);
        let recovery = hot.flight.get().map(|f| &self.flights.at(f).recovery);
        let lone = if let Lone::Waits(frame) = &cold.lone { frame.len() as u32 } else { hot.snd_nxt - hot.snd_una };
        let end = hot.flight.get().map_or(hot.snd_una + lone, |f| self.flights.at(f).queued_end);
        ConnectionReport {
            id: Some(self.connections.id(i as u32)),
            cwnd: cold.congestion.cwnd(),
            ssthresh: cold.congestion.ssthresh(),
            mss: hot.mss,
            path_mtu: cold.path_mtu,
            srtt_us: cold.rtt.srtt_us(),
            rttvar_us: cold.rtt.rttvar_us(),
            min_rtt_us: cold.rtt.min_us(),
            rto_us: cold.rtt.rto_us(),
            backoff: cold.rtt.backoff(),
            recovery: recovery.map_or("open", |recovery| recovery.state().name()),
            sacked: recovery.map_or(0, |recovery| recovery.scoreboard().sacked()),
            lost: recovery.map_or(0, |recovery| recovery.scoreboard().lost()),
            pacing_rate: cold.congestion.pacing_rate(),
            resent_segments: cold.resent_segments,
            unacked: hot.snd_nxt - hot.snd_una,
            unsent: end.since(hot.snd_nxt),
            snd_wnd: (hot.snd_una + hot.snd_wnd).since(hot.snd_nxt),
            rcv_wnd: hot.rcv_adv.since(hot.rcv_nxt),
            rcv_buffer: hot.rcv_buffer,
            unconsumed: hot.rcv_unconsumed,
            out_of_order: self.assemblers.bytes_of(hot.assembler),
            delivery_rate: cold.delivery_rate,
            acked_bytes: cold.acked_bytes,
            received_bytes: cold.received_bytes,
            timestamps: hot.marks.has(Marks::TIMESTAMPS),
            sack: hot.marks.has(Marks::SACK),
            ecn: hot.marks.has(Marks::ECN),
            wscale: (hot.snd_wscale, hot.rcv_wscale),
            timers: self.timers_of(now, i),
            age_us: now.since(cold.opened_at).as_us(),
            last_drop: cold.last_drop,
            ..bare(&hot.key, hot.state.name())
        }
    }

    fn timers_of(&self, now: Instant, i: usize) -> Vec<(&'static str, u64)> {
        use super::timers::Timer;
        let due = |timer: &Timer| self.deadline(now, i, *timer).map(|at| (timer.name(), at.since(now).as_us()));
        Timer::ALL.iter().filter_map(due).collect()
    }

    /// What must hold of every connection at any time; for tests. An error says what does not.
    pub fn check(&self, now: Instant) -> Result<(), String> {
        let records = self.connections.len() - self.unread + self.half_open.len() + self.time_waits.len();
        if self.table.len() != records {
            return Err(format!("{} flows in the table, {records} records", self.table.len()));
        }
        if self.wheel.len() > self.connections.len() {
            return Err(format!("{} timers for {} connections", self.wheel.len(), self.connections.len()));
        }
        let mut queued = 0;
        for (i, hot) in self.connections.hot.iter().enumerate() {
            if hot.state == State::Closed {
                if self.wheel.is_armed(i as u32) {
                    return Err(format!("a timer for a dead connection, {:?}", hot.key));
                }
                continue;
            }
            let wrong = |what: &str| Err(format!("{:?} in {}: {what}", hot.key, hot.state.name()));
            if !hot.snd_una.up_to(hot.snd_nxt) {
                return wrong("snd_una is after snd_nxt");
            }
            let cold = &self.connections.cold[i];
            if hot.state.is_synchronized() && hot.snd_nxt.after(cold.snd_limit + 1) {
                return wrong("more was sent than any window allowed");
            }
            if hot.rcv_adv.before(hot.rcv_nxt) {
                return wrong("the announced window lies before what came");
            }
            let is_lone = !matches!(cold.lone, Lone::Nothing);
            if is_lone != hot.marks.has(Marks::LONE) || (is_lone && !hot.flight.is_none()) {
                return wrong("a lone segment that is not alone, or not marked");
            }
            queued += usize::from(matches!(cold.lone, Lone::Waits(_)));
            if let Some(index) = hot.flight.get() {
                let flight = self.flights.at(index);
                queued += flight.queue.frames();
                if flight.queued_end.before(hot.snd_una) && hot.state.sends() {
                    return wrong("more was acknowledged than queued");
                }
                let outstanding = hot.snd_nxt != hot.snd_una;
                if outstanding && !hot.marks.has(Marks::TOUCHED) && !hot.marks.has(Marks::TRANSMIT_ARMED) {
                    return wrong("bytes are under way and no timer runs");
                }
            }
            let stamp = Stamp::of(now);
            if hot.marks.has(Marks::TRANSMIT_ARMED)
                && !hot.marks.has(Marks::TOUCHED)
                && hot.transmit_at.is_after(stamp)
                && !self.wheel.is_armed(i as u32)
            {
                return wrong("a timer that no wheel has");
            }
        }
        if queued != self.queued_frames {
            return Err(format!("{queued} frames are queued, {} counted", self.queued_frames));
        }
        Ok(())
    }
}

/// What is known of a connection that is hardly one.
fn bare(key: &FlowKey, state: &'static str) -> ConnectionReport {
    ConnectionReport {
        id: None,
        local: SocketAddr::new(key.local(), key.local_port()),
        remote: SocketAddr::new(key.remote(), key.remote_port()),
        state,
        cwnd: 0,
        ssthresh: 0,
        mss: 0,
        path_mtu: 0,
        srtt_us: None,
        rttvar_us: 0,
        min_rtt_us: 0,
        rto_us: 0,
        backoff: 0,
        recovery: "open",
        sacked: 0,
        lost: 0,
        pacing_rate: None,
        resent_segments: 0,
        unacked: 0,
        unsent: 0,
        snd_wnd: 0,
        rcv_wnd: 0,
        rcv_buffer: 0,
        unconsumed: 0,
        out_of_order: 0,
        delivery_rate: 0,
        acked_bytes: 0,
        received_bytes: 0,
        timestamps: false,
        sack: false,
        ecn: false,
        wscale: (0, 0),
        timers: Vec::new(),
        age_us: 0,
        last_drop: None,
    }
}
