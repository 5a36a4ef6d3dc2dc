//! What a worker counts. Plain integers in the loop; [`Counters::publish`] copies them to where others read them.
//!
//! One table serves everyone: counters first, then one for each [`Drop`], then gauges. A worker is the only writer of its
//! column, so a reader sees each value whole (64 bits, relaxed) but not all of them at one instant.

use crate::{
    drops::{Drop, named},
    exchange::Ended,
    http::{Refusal, Side},
    proxy_protocol::ProxyRefusal,
    tcp::End,
    tls::{TlsRefusal, TlsRefused},
};
use std::sync::atomic::{AtomicU64, Ordering};

named! {
    /// Things that only grow.
    Counter {
        /// Turns of the loop.
        Turns = "turns",
        /// Turns that moved at least one frame.
        BusyTurns = "busy_turns",
        /// Turns that took longer than 10 ms.
        StalledTurns = "stalled_turns",
        /// Frames taken from ports.
        RxFrames = "rx_frames",
        /// Bytes of these frames.
        RxBytes = "rx_bytes",
        /// Frames handed to ports.
        TxFrames = "tx_frames",
        /// Bytes of these frames.
        TxBytes = "tx_bytes",
        /// Frames that we made from nothing (requests, errors, announcements).
        MadeFrames = "made_frames",
        /// Frames that served their purpose here (answers to us, updates).
        ConsumedFrames = "consumed_frames",
        /// Frames that ended early, for any reason.
        DroppedFrames = "dropped_frames",
        /// Frames that could not be made because the pool was empty.
        PoolEmpty = "pool_empty",
        /// Receive and transmit checksums that the port did for us.
        ChecksumsOffloaded = "checksums_offloaded",
        /// Frames whose checksum the port called bad and we found right.
        ChecksumDisagreements = "checksum_disagreements",
        /// Frames whose queue was compared with the one that Toeplitz predicts.
        RssCheckedFrames = "rss_checked_frames",
        /// Frames among them that arrived on another queue than predicted.
        WrongQueueFrames = "wrong_queue_frames",
        /// ARP requests and neighbour solicitations answered.
        NeighborAnswers = "neighbor_answers",
        /// ARP requests and neighbour solicitations sent.
        NeighborSolicitations = "neighbor_solicitations",
        /// Neighbours whose hardware address changed.
        NeighborMoves = "neighbor_moves",
        /// Neighbours that did not answer and were forgotten.
        NeighborFailures = "neighbor_failures",
        /// New neighbours that were answered but not learned, because too many came at once.
        NeighborLearnLimited = "neighbor_learn_limited",
        /// Changes of a neighbour's address that were ignored because the last was under a second ago.
        NeighborMoveLimited = "neighbor_move_limited",
        /// Notices about neighbours that another worker had no room for.
        NoticesLost = "notices_lost",
        /// Claims of our addresses by other hosts.
        AddressConflicts = "address_conflicts",
        /// Echo requests answered.
        EchoAnswers = "echo_answers",
        /// ICMP errors sent.
        IcmpErrorsSent = "icmp_errors_sent",
        /// ICMP errors not sent because of the rate limit.
        IcmpErrorsLimited = "icmp_errors_limited",
        /// ICMP errors received and handed up.
        IcmpErrorsReceived = "icmp_errors_received",
        /// Multicast listener reports sent.
        ListenerReports = "listener_reports",
        /// TCP segments received.
        TcpRxSegments = "tcp_rx_segments",
        /// TCP segments sent, before a device cuts them.
        TcpTxSegments = "tcp_tx_segments",
        /// Of these: acknowledgments and nothing else.
        TcpTxAcks = "tcp_tx_acks",
        /// TCP segments, SYNs and SYN-ACKs sent again, for any reason.
        TcpResent = "tcp_resent",
        /// Of these: segments later than which others arrived (RFC 8985).
        TcpResentRack = "tcp_resent_rack",
        /// The same, of what had been sent again before.
        TcpResentRackAgain = "tcp_resent_rack_again",
        /// The last of a flight, for want of an answer (RFC 8985).
        TcpResentTailProbe = "tcp_resent_tail_probe",
        /// After a timeout (RFC 6298).
        TcpResentTimeout = "tcp_resent_timeout",
        /// After three duplicate acknowledgments, for peers without SACK (RFC 5681).
        TcpResentDuplicates = "tcp_resent_duplicates",
        /// The next hole, for peers without SACK (RFC 6582).
        TcpResentPartial = "tcp_resent_partial",
        /// In smaller pieces: the path carries less than was thought.
        TcpResentPathMtu = "tcp_resent_path_mtu",
        /// Probes for the loss of a flight's last segments (RFC 8985).
        TcpTailProbes = "tcp_tail_probes",
        /// Probes of a closed window.
        TcpWindowProbes = "tcp_window_probes",
        /// Keepalive probes.
        TcpKeepaliveProbes = "tcp_keepalive_probes",
        /// Segments that came out of order and were held.
        TcpOutOfOrder = "tcp_out_of_order",
        /// SYNs that made a half-open connection.
        TcpPassiveOpens = "tcp_passive_opens",
        /// Connections that peers have opened.
        TcpAccepted = "tcp_accepted",
        /// Connections that we have opened.
        TcpConnected = "tcp_connected",
        /// Half-open connections that were given up.
        TcpHalfOpenTimedOut = "tcp_half_open_timed_out",
        /// SYNs answered with a cookie.
        TcpCookiesSent = "tcp_cookies_sent",
        /// Cookies that came back and became connections.
        TcpCookiesAccepted = "tcp_cookies_accepted",
        /// Handshakes that found no room for a connection.
        TcpConnectionsFull = "tcp_connections_full",
        /// Connections in TIME-WAIT that made room for others.
        TcpTimeWaitsForgotten = "tcp_time_waits_forgotten",
        /// What waited behind a hole that nobody filled, while frames were short (RFC 2018 section 8), a connection's each.
        TcpHolesForgotten = "tcp_holes_forgotten",
        /// Resets sent.
        TcpResetsSent = "tcp_resets_sent",
        /// Resets received and believed.
        TcpResetsReceived = "tcp_resets_received",
        /// Challenge acknowledgments sent (RFC 5961).
        TcpChallenges = "tcp_challenges",
        /// Challenge acknowledgments not sent, because the last was under half a second ago.
        TcpChallengesLimited = "tcp_challenges_limited",
        /// ICMP errors about a connection that quote what is not under way.
        TcpIcmpIgnored = "tcp_icmp_ignored",
        /// ICMP errors about a connection that say nothing to act on.
        TcpIcmpSoft = "tcp_icmp_soft",
        /// Requests whose head was read.
        HttpRequests = "http_requests",
        /// Final answers to clients with a status of 2xx.
        Http2xx = "http_2xx",
        /// The same with 3xx.
        Http3xx = "http_3xx",
        /// The same with 4xx, ours among them.
        Http4xx = "http_4xx",
        /// The same with 5xx, ours among them.
        Http5xx = "http_5xx",
        /// Informational answers passed on, and 100s of our own.
        Http1xx = "http_1xx",
        /// Requests sent once more, because a connection that was kept turned out to be closed.
        HttpReplays = "http_replays",
        /// Requests that went out on a connection that was kept.
        UpstreamReused = "upstream_reused",
        /// Connections to endpoints that were begun.
        UpstreamConnects = "upstream_connects",
        /// Other endpoints tried, because one could not be connected to.
        UpstreamReconnects = "upstream_reconnects",
        /// Kept connections that their endpoint closed, or said something on without being asked.
        UpstreamIdleEnds = "upstream_idle_ends",
        /// Connections passed on as they are.
        TcpProxied = "tcp_proxied",
        /// Probes of endpoints that were begun.
        HealthProbes = "health_probes",
        /// Of these: endpoints that were found ill.
        HealthProbesFailed = "health_probes_failed",
        /// TLS handshakes that came to a connection, on either side.
        TlsHandshakes = "tls_handshakes",
        /// Of these, sessions that went on from an earlier one.
        TlsResumed = "tls_resumed",
        /// Connections that were cut off because too many handshakes wait.
        TlsHandshakesShed = "tls_handshakes_shed",
        /// Clients whose TLS handshake took too long.
        TlsHandshakeTimeouts = "tls_handshake_timeouts",
    }
}

named! {
    /// Things that go up and down.
    Gauge {
        /// Frames of the worker's pool that are in use: in rings, waiting, or in hand.
        FramesInUse = "frames_in_use",
        /// Frames that the worker's pool has.
        FramesCapacity = "frames_capacity",
        /// Frames that the worker holds: waiting for a neighbour or for room in a transmit ring.
        FramesHeld = "frames_held",
        /// Neighbours in the table.
        Neighbors = "neighbors",
        /// TCP connections that are open, or being opened by us.
        TcpConnections = "tcp_connections",
        /// TCP connections that are half-open.
        TcpHalfOpen = "tcp_half_open",
        /// TCP connections in TIME-WAIT.
        TcpTimeWait = "tcp_time_wait",
        /// Bytes of out-of-order data that TCP holds in copies, with what is kept about them.
        TcpHeldBytes = "tcp_held_bytes",
        /// Buffers of the worker's pool that hold out-of-order data.
        TcpHeldBuffers = "tcp_held_buffers",
        /// Stretches of out-of-order data that were given up although they had been acknowledged selectively.
        TcpReneged = "tcp_reneged",
        /// The longest way that the flow table ever had to walk for a place. Some tens are much.
        TcpProbeMax = "tcp_probe_max",
        /// Frames that TCP holds: unacknowledged or out of order.
        TcpHeldFrames = "tcp_held_frames",
        /// The longest turn so far, in microseconds.
        TurnUsMax = "turn_us_max",
        /// When the last turn began, in nanoseconds of the worker's clock.
        TurnStartedNs = "turn_started_ns",
    }
}

/// Cells in one worker's column.
pub const CELLS: usize = GAUGES_AT + Gauge::COUNT;
const ENDS_AT: usize = Counter::COUNT + Drop::COUNT;
const HTTP_ENDS_AT: usize = ENDS_AT + End::COUNT;
const REFUSED_AT: usize = HTTP_ENDS_AT + Ended::COUNT;
const UPSTREAM_REFUSED_AT: usize = REFUSED_AT + Refusal::COUNT;
const PROXY_REFUSED_AT: usize = UPSTREAM_REFUSED_AT + Refusal::COUNT;
const TLS_REFUSED_AT: usize = PROXY_REFUSED_AT + ProxyRefusal::COUNT;
const GAUGES_AT: usize = TLS_REFUSED_AT + TlsRefused::COUNT;

/// Name, sentence and kind of each cell, in order.
pub fn table() -> impl Iterator<Item = (String, &'static str, Kind)> {
    let counters = Counter::ALL.iter().map(|c| (c.name().to_owned(), c.help(), Kind::Counter));
    let drops = Drop::ALL.iter().map(|d| (format!("drop.{}", d.name()), d.help(), Kind::Drop));
    let ends = End::ALL.iter().map(|e| (format!("tcp_end.{}", e.name()), e.help(), Kind::End));
    let exchanges = Ended::ALL.iter().map(|e| (format!("http_end.{}", e.name()), e.help(), Kind::End));
    let refused = Refusal::ALL.iter().map(|r| (format!("http_refused.{}", r.name()), r.help(), Kind::Drop));
    let upstream = Refusal::ALL.iter().map(|r| (format!("upstream_refused.{}", r.name()), r.help(), Kind::Drop));
    let proxy = ProxyRefusal::ALL.iter().map(|r| (format!("refused.{}", r.name()), r.help(), Kind::Drop));
    let tls = TlsRefused::ALL.iter().map(|r| (format!("tls_refused.{}", r.name()), r.help(), Kind::Drop));
    let gauges = Gauge::ALL.iter().map(|g| (g.name().to_owned(), g.help(), Kind::Gauge));
    counters
        .chain(drops)
        .chain(ends)
        .chain(exchanges)
        .chain(refused)
        .chain(upstream)
        .chain(proxy)
        .chain(tls)
        .chain(gauges)
}

/// What a cell is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Only grows, and names an early end.
    Drop,
    /// Only grows, and names how a connection ended.
    End,
    /// Goes up and down.
    Gauge,
}

/// One worker's own counts.
#[derive(Debug)]
pub struct Counters {
    cells: [u64; CELLS],
}

impl Default for Counters {
    fn default() -> Self {
        Self { cells: [0; CELLS] }
    }
}

impl Counters {
    /// Adds `n` to a counter.
    pub fn add(&mut self, counter: Counter, n: u64) {
        self.cells[counter as usize] += n;
    }
    /// Adds one to a counter.
    pub fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }
    /// Counts one early end of a frame.
    pub fn count_drop(&mut self, drop: Drop) {
        self.cells[Counter::COUNT + drop as usize] += 1;
        self.count(Counter::DroppedFrames);
    }
    /// Counts the end of a TCP connection.
    pub fn count_end(&mut self, end: End) {
        self.cells[ENDS_AT + end as usize] += 1;
    }
    /// Counts the end of an exchange.
    pub fn count_exchange(&mut self, ended: Ended) {
        self.cells[HTTP_ENDS_AT + ended as usize] += 1;
    }
    /// How many exchanges have ended so.
    pub fn exchanges(&self, ended: Ended) -> u64 {
        self.cells[HTTP_ENDS_AT + ended as usize]
    }
    /// Counts a message that was refused: a client's request, or an upstream's response.
    pub fn count_refusal(&mut self, side: Side, refusal: Refusal) {
        let at = if side == Side::Server { REFUSED_AT } else { UPSTREAM_REFUSED_AT };
        self.cells[at + refusal as usize] += 1;
    }
    /// How many were refused so.
    pub fn refusals(&self, side: Side, refusal: Refusal) -> u64 {
        let at = if side == Side::Server { REFUSED_AT } else { UPSTREAM_REFUSED_AT };
        self.cells[at + refusal as usize]
    }
    /// Counts a PROXY header that was refused.
    pub fn count_proxy_refusal(&mut self, refusal: ProxyRefusal) {
        self.cells[PROXY_REFUSED_AT + refusal as usize] += 1;
    }
    /// Counts a TLS connection that was refused.
    pub fn count_tls_refusal(&mut self, refusal: TlsRefusal) {
        self.cells[TLS_REFUSED_AT + TlsRefused::from(refusal) as usize] += 1;
    }
    /// How many TLS connections were refused so.
    pub fn tls_refusals(&self, refused: TlsRefused) -> u64 {
        self.cells[TLS_REFUSED_AT + refused as usize]
    }
    /// How many TCP connections have ended so.
    pub fn ends(&self, end: End) -> u64 {
        self.cells[ENDS_AT + end as usize]
    }
    /// Sets a gauge.
    pub fn set(&mut self, gauge: Gauge, value: u64) {
        self.cells[GAUGES_AT + gauge as usize] = value;
    }
    /// A counter's value.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.cells[counter as usize]
    }
    /// How often this was the reason of an early end.
    pub fn drops(&self, drop: Drop) -> u64 {
        self.cells[Counter::COUNT + drop as usize]
    }
    /// A gauge's value.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.cells[GAUGES_AT + gauge as usize]
    }
    /// Copies everything to `cells`, which this worker alone writes.
    pub fn publish(&self, cells: &[AtomicU64]) {
        for (cell, &value) in cells.iter().zip(&self.cells) {
            cell.store(value, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_has_its_own_place_and_name() {
        let names: std::collections::BTreeSet<_> = table().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), CELLS);
        let mut counters = Counters::default();
        counters.add(Counter::RxFrames, 7);
        counters.count_drop(Drop::Runt);
        counters.set(Gauge::Neighbors, 3);
        let cells: Vec<AtomicU64> = (0..CELLS).map(|_| AtomicU64::new(0)).collect();
        counters.publish(&cells);
        let value = |name: &str| {
            let index = table().position(|(n, ..)| n == name).unwrap();
            cells[index].load(Ordering::Relaxed)
        };
        assert_eq!((value("rx_frames"), value("drop.runt"), value("dropped_frames"), value("neighbors")), (7, 1, 1, 3));
    }
}
