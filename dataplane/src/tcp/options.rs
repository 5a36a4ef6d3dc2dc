//! What an application may choose, and what the engine is given at its start.

use crate::{
    limits::{TCP_CONNECTIONS_MAX, TCP_HALF_OPEN_MAX, TCP_TIME_WAIT_MAX, tcp_held_frames_max, tcp_queued_frames_max},
    net::HOP_LIMIT,
    time::Duration,
};
use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

/// How an engine is made.
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions {
    /// Keys its tables, sequence numbers and cookies.
    pub seed: u64,
    /// Full connections at most.
    pub connections_max: usize,
    /// Half-open connections that are remembered; beyond them, cookies.
    pub half_open_max: usize,
    /// Connections in TIME-WAIT that are remembered; beyond them the oldest is forgotten.
    pub time_wait_max: usize,
    /// Frames that all connections together may have queued to be sent, or unacknowledged.
    pub queued_frames_max: usize,
    /// Frames of theirs that may wait out of order or with the application.
    pub held_frames_max: usize,
    /// How the congestion window grows.
    pub congestion: CongestionChoice,
    /// Challenge acknowledgments of one connection are at least so far apart, in microseconds.
    // rfc5961 7: not by the operator (see ARCHITECTURE.md).
    pub challenge_interval_us: u32,
    /// Whether ECN is asked for and granted.
    // rfc9293 3.8.2 SHLD-8: both, unless somebody says otherwise.
    pub ecn: EcnChoice,
    /// How long a peer may take to close its side when the application has gone (FIN-WAIT-2 has no end of its own in RFC 9293).
    pub fin_wait: Duration,
}

impl TcpOptions {
    /// The usual bounds for a worker of one port and so many frames.
    pub fn new(seed: u64, frames: usize) -> Self {
        Self::with_ports(seed, frames, 1)
    }

    /// The same with more ports, whose rings need frames too.
    pub fn with_ports(seed: u64, frames: usize, ports: usize) -> Self {
        Self {
            seed,
            connections_max: TCP_CONNECTIONS_MAX as usize,
            half_open_max: TCP_HALF_OPEN_MAX,
            time_wait_max: TCP_TIME_WAIT_MAX,
            queued_frames_max: tcp_queued_frames_max(frames as u32, ports) as usize,
            held_frames_max: tcp_held_frames_max(frames as u32, ports) as usize,
            congestion: CongestionChoice::default(),
            challenge_interval_us: 500_000,
            ecn: EcnChoice::default(),
            fin_wait: Duration::from_secs(60),
        }
    }
}

/// What is done with explicit congestion notification (RFC 3168).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum EcnChoice {
    /// Neither asked for nor granted.
    Off,
    /// Granted to peers that ask for it.
    Grant,
    /// Granted, and asked for in our own SYNs.
    #[default]
    Ask,
}

/// A congestion control algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum CongestionChoice {
    /// RFC 9438.
    #[default]
    Cubic,
    /// RFC 5681 and 6582.
    NewReno,
}

/// What an application may choose for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionOptions {
    /// Hold small segments back while others are unacknowledged. Off: whoever answers requests has nothing to wait for.
    // rfc9293 3.7.4 MUST-17: it can be switched; SHLD-7 asks for it by default, see ARCHITECTURE.md.
    pub nagle: bool,
    /// Ask a silent peer whether it is still there. Off by default.
    // rfc9293 3.8.4 MUST-24: for each connection, at any time.
    pub keepalive: Option<Keepalive>,
    /// End the connection when the peer acknowledges nothing for so long (RFC 5482); `None`: [`GIVE_UP`].
    // rfc9293 3.8.3 MUST-21: R2 can be set.
    pub user_timeout: Option<Duration>,
    /// After `close`: how long the rest may take to be acknowledged. Zero: `close` resets. `None`: as long as it takes.
    pub linger: Option<Duration>,
    /// The class of its packets (RFC 2474), 0 to 63.
    // rfc9293 3.9.1.9 MUST-48: the application chooses.
    pub dscp: u8,
    /// TTL or hop limit of its packets.
    // rfc9293 3.9.2 MUST-49: it can be set.
    pub hop_limit: u8,
    /// Whether the application wants to hear of [`Event::Trouble`](super::Event::Trouble).
    // rfc9293 3.9.1.8 SHLD-20: it can do without.
    pub reports_trouble: bool,
}

/// rfc9293 3.8.3 SHLD-11: at least 100 s without an acknowledgment.
pub const GIVE_UP: Duration = Duration::from_secs(120);
/// rfc9293 3.8.3: a SYN is retried for at least 3 minutes.
pub const GIVE_UP_SYN: Duration = Duration::from_secs(180);

#[allow(clippy::derivable_impls)] // each default is a decision
impl Default for ConnectionOptions {
    fn default() -> Self {
        // rfc9293 3.8.4 MUST-25: keepalive is off unless it is asked for.
        Self {
            nagle: false,
            keepalive: None,
            user_timeout: None,
            linger: None,
            dscp: 0,
            hop_limit: HOP_LIMIT,
            reports_trouble: false,
        }
    }
}

/// Probes of a silent peer (RFC 9293 section 3.8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Silence before the first probe, in seconds.
    // rfc9293 3.8.4 MUST-27, MUST-28: it can be set; nothing below two hours unless the application says so.
    pub idle_s: u32,
    /// Seconds between probes.
    pub interval_s: u16,
    /// Unanswered probes that end the connection.
    pub probes: u8,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle_s: 7_200, interval_s: 75, probes: 9 }
    }
}

/// Where an application listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// One of our addresses, or all of them.
    pub address: Option<IpAddr>,
    /// One port or many.
    pub ports: RangeInclusive<u16>,
    /// What its connections begin with.
    pub options: ConnectionOptions,
}

/// Names a listener.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerId(pub(super) u16);

impl ListenerId {
    /// Its place: small numbers, used again. For tables beside the engine's.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Why nobody can listen there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenError {
    /// Another listener has the same address and one of these ports.
    InUse {
        /// The port.
        port: u16,
    },
    /// There are as many listeners as can be.
    TooMany,
    /// No ports, or port 0.
    NoPort,
}

/// Whom to connect to.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// Our address; `None`: the one that fits the way to the peer.
    pub local: Option<IpAddr>,
    /// Our port; `None`: one that nobody can foresee (RFC 6056).
    pub local_port: Option<u16>,
    /// The peer.
    pub remote: SocketAddr,
    /// What the connection begins with.
    pub options: ConnectionOptions,
}

/// Why a connection cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// No route to the peer, or no address of its family.
    NoRoute,
    /// The peer's address or port cannot be one.
    BadAddress,
    /// All ports towards this peer are in use.
    NoPort,
    /// This pair of addresses and ports is in use.
    InUse,
    /// There are as many connections as can be.
    TooMany,
}
