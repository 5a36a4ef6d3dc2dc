//! What a script is run against: something that takes and sends IP packets, with an application above it.

use std::{fmt, net::IpAddr, time::Duration};

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// RFC 791.
    Ipv4,
    /// RFC 8200.
    Ipv6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Ipv4 { "ipv4" } else { "ipv6" })
    }
}

/// One of a script's connections. They differ in the script's port.
pub(super) type Flow = u16;

/// The port that a target listens on.
pub(super) const LISTEN_PORT: u16 = 8080;
/// The script's port of flow 0 towards a target that listens; that of flow n is n above.
pub(super) const CLIENT_PORT: u16 = 40000;
/// The script's port of flow 0 when the target connects.
pub(super) const SERVER_PORT: u16 = 9000;

/// A packet that the target sent, and when.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: Duration,
    pub(super) packet: Vec<u8>,
}

/// How a connection ended for the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Graceful,
    Reset,
    Refused,
    Timeout,
    Unreachable,
    Aborted,
}

impl End {
    const NAMES: [(&str, Self); 6] = [
        ("graceful", Self::Graceful),
        ("reset", Self::Reset),
        ("refused", Self::Refused),
        ("timeout", Self::Timeout),
        ("unreachable", Self::Unreachable),
        ("aborted", Self::Aborted),
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, end)| *end)
    }
}

/// An option of one connection that the application sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AppOption {
    Nodelay(bool),
    /// Everything that is written waits until it fills segments.
    Cork(bool),
    Keepalive {
        idle_s: u32,
        interval_s: u32,
        probes: u32,
    },
    UserTimeout {
        ms: u32,
    },
    Linger {
        s: u16,
    },
    HopLimit(u8),
}

/// What the application has of a connection and has not consumed.
#[derive(Clone, Default, Debug)]
pub(super) struct Unread {
    pub(super) bytes: Vec<u8>,
    /// The peer's FIN follows these bytes.
    pub(super) eof: bool,
}

/// What a script runs against.
///
/// A target sends nothing and its clock stands still (or does not matter) outside of [`Target::run_until`]. Application calls never wait.
pub(super) trait Target {
    /// Its address and the script's.
    fn addresses(&self) -> (IpAddr, IpAddr);
    /// How far its times may be off.
    fn tolerance(&self) -> Duration;
    /// Since the script's begin.
    fn now(&self) -> Duration;
    /// An IP packet arrives.
    fn inject(&mut self, packet: &[u8]);
    /// Goes on until something was sent, at the latest until `until`.
    fn run_until(&mut self, until: Duration, sent: &mut Vec<Sent>);

    /// Listens on [`LISTEN_PORT`].
    fn listen(&mut self, backlog: u32) -> anyhow::Result<()>;
    /// Begins to connect to the script's port of this flow.
    fn connect(&mut self, flow: Flow) -> anyhow::Result<()>;
    /// The listener has given out this flow's connection.
    fn accepted(&mut self, flow: Flow) -> bool;
    /// What the application asked for is established.
    fn connected(&mut self, flow: Flow) -> bool;
    /// Queues bytes to be sent; the target sends what it can, and the rest when it may.
    fn write(&mut self, flow: Flow, bytes: Vec<u8>) -> anyhow::Result<()>;
    /// What was received and not consumed.
    fn unread(&mut self, flow: Flow) -> Unread;
    /// Consumes so many of the unread bytes.
    fn consume(&mut self, flow: Flow, bytes: usize);
    /// No more will be written.
    fn close(&mut self, flow: Flow) -> anyhow::Result<()>;
    /// No more will be written or read.
    fn release(&mut self, flow: Flow) -> anyhow::Result<()>;
    /// Ends it at once.
    fn abort(&mut self, flow: Flow) -> anyhow::Result<()>;
    /// Sets an option; on a flow that does not exist yet, for when it does.
    fn set(&mut self, flow: Flow, option: AppOption) -> anyhow::Result<()>;
    /// How the connection has ended, if it has.
    fn ended(&mut self, flow: Flow) -> Option<End>;
    /// The connection's state as RFC 9293 names it, in lower case; `closed` when there is none.
    fn state(&mut self, flow: Flow) -> Option<String>;
    /// A counter's value, or a drop's with `drop.` before its name. None when the target has none of that name.
    fn counter(&mut self, name: &str) -> Option<u64>;

    /// What has gone wrong inside, whatever the script expects.
    fn broken(&self) -> Option<&str> {
        None
    }
    /// The last look, after the script.
    ///
    /// # Errors
    /// What was left behind.
    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }
}
