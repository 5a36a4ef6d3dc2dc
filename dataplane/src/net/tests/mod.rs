//! Conversations with a gateway's net layer. The peer is this code; every frame that it hears or says is written out.
//!
//! ```text
//!   send!(gw, FRAME)                the peer sends; the frame serves its purpose
//!   send!(gw, FRAME => Reason)      the peer sends; the frame ends early, for this reason
//!   recv!(gw, FRAME, FRAME)         the peer receives exactly these
//!   recv!(gw)                       the peer receives nothing
//! ```
//! After each step every frame is accounted for: received + made = sent + consumed + dropped + handed up + held.

use super::*;
use crate::{
    limits::HEADROOM,
    port::{Offloads, Pool, RxMeta},
};
use fuzz::topology;
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::*;

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It was consumed, or went out again as its own answer.
    Served,
    /// It ended early.
    Dropped(Drop),
    /// The transport got it.
    Up(Packet),
    /// The transport got what it says about one of our packets.
    Error(IcmpError),
}

macro_rules! send {
    ($gw:expr, $frame:expr) => {
        assert_eq!($gw.hear(&$frame), Fate::Served)
    };
    ($gw:expr, $frame:expr => $reason:ident) => {
        assert_eq!($gw.hear(&$frame), Fate::Dropped(Drop::$reason))
    };
}
macro_rules! recv {
    ($gw:expr $(, $frame:expr)*) => {{
        let wanted: Vec<Vec<u8>> = vec![$($frame),*];
        assert_eq!(hex(&$gw.said()), hex(&wanted), "what the peer receives (left) is not what it should (right)")
    }};
}

// After the macros, which they use.
mod arp;
mod drops;
mod ethernet;
mod icmp;
mod icmp_errors;
mod ipv4;
mod ipv6;
mod nd;
mod neighbors;
mod properties;
mod report;
mod seeds;
mod send;
mod transport;
mod wire;
mod workers;

/// One gateway: a port with an untagged interface and VLAN 7.
struct Gateway {
    net: Net,
    out: Outbox,
    now: Instant,
    /// Frames that came in, went out, and were handed up.
    rx: u64,
    tx: u64,
    up: u64,
}

impl Gateway {
    fn new() -> Self {
        Self::with(Offloads::default())
    }

    fn with(offloads: Offloads) -> Self {
        Self::of(topology(offloads), 1)
    }

    fn of(topology: Topology, seed: u64) -> Self {
        Self {
            net: Net::new(Arc::new(topology), false, seed),
            out: Outbox::new(Pool::heap(4_096), 1, false),
            now: Instant::ZERO + Duration::from_secs(1_000),
            rx: 0,
            tx: 0,
            up: 0,
        }
    }

    /// One that has met both peers, and so answers them without asking first.
    fn among_friends() -> Self {
        let mut gw = Self::new();
        gw.meet();
        gw
    }

    fn meet(&mut self) {
        send!(self, arp_from_peer(REQUEST, PEER4, US4));
        send!(self, from_peer6(&solicitation(PEER6, US6, US6, Some(PEER_MAC))));
        send!(self, from_peer6(&solicitation(PEER_LOCAL, us_local(), us_local(), Some(PEER_MAC))));
        assert_eq!(self.said().len(), 3);
    }

    fn hear(&mut self, bytes: &[u8]) -> Fate {
        let frame = self.frame(bytes, &[]);
        self.hear_frame(frame)
    }

    /// The same bytes in several buffers, cut at these offsets.
    fn hear_chained(&mut self, bytes: &[u8], cuts: &[usize]) -> Fate {
        let frame = self.frame(bytes, cuts);
        self.hear_frame(frame)
    }

    /// The same bytes, with the device's opinion.
    fn hear_with(&mut self, bytes: &[u8], ip_checksum: Checksum, l4_checksum: Checksum) -> Fate {
        let mut frame = self.frame(bytes, &[]);
        frame.set_rx_meta(RxMeta { ip_checksum, l4_checksum, rss_hash: None });
        self.hear_frame(frame)
    }

    fn frame(&self, bytes: &[u8], cuts: &[usize]) -> Frame {
        frame(&self.out.pool, bytes, cuts)
    }

    fn hear_frame(&mut self, frame: Frame) -> Fate {
        let before: Vec<u64> = self.drops();
        self.rx += 1;
        let output = self.net.handle(self.now, PortIndex(0), frame, &mut self.out);
        self.up += u64::from(output.is_some());
        self.account();
        let ended = Drop::ALL.iter().zip(before).find(|(drop, before)| self.out.counters.drops(**drop) > *before);
        match (output, ended) {
            (Some(Output::Packet(packet, frame)), None) => {
                assert_eq!(frame.len(), packet.end(), "what is handed up ends where the packet ends");
                Fate::Up(packet)
            }
            (Some(Output::Error(error, _)), None) => Fate::Error(error),
            (None, Some((drop, _))) => Fate::Dropped(*drop),
            (None, None) => Fate::Served,
            (Some(_), Some(_)) => panic!("handed up and dropped"),
        }
    }

    /// The transport sends `payload` from our address to `to`.
    fn transport_sends(&mut self, source: impl Into<IpAddr>, to: impl Into<IpAddr>, payload: &[u8]) {
        let frame = self.made(payload, &[]);
        self.transport_sends_frame(source, to, frame);
    }

    fn made(&mut self, payload: &[u8], cuts: &[usize]) -> Frame {
        self.out.counters.count(Counter::MadeFrames);
        self.frame(payload, cuts)
    }

    fn transport_sends_frame(&mut self, source: impl Into<IpAddr>, to: impl Into<IpAddr>, frame: Frame) {
        let answer = Answer {
            interface: InterfaceIndex(0),
            source: source.into(),
            destination: to.into(),
            protocol: protocol::UDP,
            traffic_class: 0,
            hop_limit: 64,
        };
        self.net.send(self.now, &answer, frame, &mut self.out);
        self.account();
    }

    /// Everything that went out since the last call.
    fn said(&mut self) -> Vec<Vec<u8>> {
        let frames: Vec<_> = std::iter::from_fn(|| self.out.queue(0).pop()).map(|f| f.to_vec()).collect();
        self.tx += frames.len() as u64;
        self.account();
        frames
    }

    /// Lets time pass; timers run exactly when they ask to.
    fn wait(&mut self, length: Duration) {
        let end = self.now + length;
        while self.net.next_deadline() <= end {
            self.now = self.now.max(self.net.next_deadline());
            self.net.handle_timers(self.now, &mut self.out);
            assert!(self.net.next_deadline() > self.now, "timers that are done do not ask again at once");
        }
        self.now = end;
        self.account();
    }

    /// What the other workers are told since the last call.
    fn notices(&mut self) -> Vec<Notice> {
        self.out.take_notices().collect()
    }

    fn told(&mut self, notices: Vec<Notice>) {
        notices.into_iter().for_each(|n| self.net.handle_notice(self.now, n, &mut self.out));
        self.account();
    }

    /// The neighbour's RFC 4861 state, or `-` when there is none.
    fn state(&self, address: impl Into<IpAddr>) -> &'static str {
        let address = address.into();
        self.net.inspect_neighbors().find(|(_, a, ..)| *a == address).map_or("-", |(.., state)| state)
    }

    fn mac_of(&self, address: impl Into<IpAddr>) -> Option<EthernetAddress> {
        let address = address.into();
        self.net.inspect_neighbors().find(|(_, a, ..)| *a == address).map(|(_, _, mac, _)| mac)
    }

    fn count(&self, counter: Counter) -> u64 {
        self.out.counters.counter(counter)
    }
    fn dropped(&self, drop: Drop) -> u64 {
        self.out.counters.drops(drop)
    }
    fn drops(&self) -> Vec<u64> {
        Drop::ALL.iter().map(|d| self.out.counters.drops(*d)).collect()
    }

    fn account(&mut self) {
        let ended = self.count(Counter::ConsumedFrames) + self.count(Counter::DroppedFrames) + self.tx + self.up;
        let held = (self.net.held() + self.out.backlog()) as u64;
        assert_eq!(self.rx + self.count(Counter::MadeFrames), ended + held, "every frame is accounted for");
    }
}

fn frame(pool: &Pool, bytes: &[u8], cuts: &[usize]) -> Frame {
    let mut starts = vec![0];
    starts.extend_from_slice(cuts);
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let mut pieces = starts.iter().zip(ends).map(|(&start, end)| {
        let mut piece = pool.alloc().expect("the pool is large enough");
        piece.append_slice(&bytes[start..end]).expect("a piece fits a buffer");
        piece
    });
    let mut frame = pieces.next().expect("there is a first piece");
    pieces.for_each(|piece| frame.chain(piece));
    frame
}

fn hex(frames: &[Vec<u8>]) -> Vec<String> {
    let line = |bytes: &Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    frames.iter().map(line).collect()
}
