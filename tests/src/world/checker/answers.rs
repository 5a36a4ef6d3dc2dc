//! Every answer has its question: each question that came in buys one answer, and nothing else does.

use super::sent::Said;
use crate::wire::{self, Mac, Tcp, ethertype, flag, protocol};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use weirgate_dataplane::{
    net::Topology,
    time::{Duration, Instant},
};

/// Questions not answered yet, and announcements that are still allowed.
pub struct Answers {
    /// By a hash of what the answer must repeat: how often it was asked.
    open: BTreeMap<u64, u32>,
    addresses: u64,
    workers: u64,
    announced: u64,
    /// Questions for our addresses by hosts that have none yet: answered to all.
    searches: u64,
    started: Instant,
}

/// Bytes of a packet that an error repeats, at most: RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4 c.
const QUOTED: [usize; 2] = [576 - 28, 1280 - 48];
/// rfc5227 2.4: between two defences of an address.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl Answers {
    /// Of a gateway that has just started.
    pub fn new(topology: &Topology, workers: usize) -> Self {
        let addresses = topology.interfaces().map(|(_, i)| i.addresses.len() as u64).sum();
        let (open, announced, searches) = Default::default();
        Self { open, addresses, workers: workers as u64, announced, searches, started: Instant::ZERO }
    }

    /// Old questions went with the tables.
    pub fn restart(&mut self, now: Instant) {
        self.open.clear();
        (self.announced, self.searches, self.started) = (0, 0, now);
    }

    /// A frame got into the gateway. Whether its checksums are right does not matter: wrong ones must buy no answer, but which
    /// these are is not for this to know.
    pub fn note_arrival(&mut self, frame: &[u8]) {
        let Some(link) = wire::link(frame) else { return };
        let payload = &frame[link.payload_at..];
        match link.ethertype {
            ethertype::ARP => self.note_arp(payload),
            ethertype::IPV4 | ethertype::IPV6 => self.note_packet(payload),
            _ => {}
        }
    }

    fn note_arp(&mut self, message: &[u8]) {
        if let Some(message) = message.first_chunk::<28>()
            && message[7] == 1
        {
            let address = |at: usize| IpAddr::V4(Ipv4Addr::from_octets([0, 1, 2, 3].map(|i| message[at + i])));
            self.ask(here(address(14), Some(Mac::from_bytes(&message[8..14])), address(24)));
        }
    }

    fn note_packet(&mut self, packet: &[u8]) {
        let Some(ip) = wire::ip_packet(packet) else { return };
        let quoted = ip.end.min(QUOTED[usize::from(ip.source.is_ipv6())]);
        self.ask(error(&packet[..quoted]));
        let message = &packet[ip.transport_at..ip.end];
        match (ip.protocol, message.first()) {
            (protocol::ICMP, Some(8)) | (protocol::ICMPV6, Some(128)) if message.len() >= 8 => {
                self.ask(echo(ip.destination, ip.source, &message[4..]));
            }
            (protocol::TCP, _) => {
                if let Some(segment) = Tcp::read(message)
                    && !segment.has(flag::RST)
                {
                    let (source, destination) = segment.ports;
                    let ends = (SocketAddr::new(ip.destination, destination), SocketAddr::new(ip.source, source));
                    // rfc9293 3.5.2: a refusal has the number that was acknowledged, or acknowledges what came.
                    let acknowledges = segment.has(flag::ACK);
                    let number = if acknowledges { segment.ack } else { segment.end() };
                    self.ask(refusal(ends.0, ends.1, acknowledges, number));
                }
            }
            (protocol::ICMPV6, Some(135)) if message.len() >= 24 => {
                let target = Ipv6Addr::from_octets(*message[8..].first_chunk().expect("just looked"));
                if ip.source.is_unspecified() {
                    self.searches += 1;
                } else {
                    self.ask(here(ip.source, None, target.into()));
                }
            }
            _ => {}
        }
    }

    fn ask(&mut self, key: u64) {
        *self.open.entry(key).or_default() += 1;
    }

    /// A frame left the gateway.
    pub fn note_sent(&mut self, now: Instant, said: &Said<'_>) -> Result<(), String> {
        let key = match *said {
            Said::Announcement => return self.announce(now),
            Said::Here { to, mac, target } => here(to, mac, target),
            Said::Echo { from, to, body } => echo(from, to, body),
            Said::Error(quote) => error(quote),
            Said::Segment { from, to, segment } if segment.has(flag::RST) => match segment.has(flag::ACK) {
                false => refusal(from, to, true, segment.seq),
                true if segment.seq == 0 => refusal(from, to, false, segment.ack),
                true => return Ok(()), // a connection's own, which needs no question
            },
            Said::Question | Said::Report | Said::Segment { .. } => return Ok(()),
        };
        match self.open.get_mut(&key) {
            Some(1) => self.open.remove(&key).map(|_| ()),
            Some(count) => {
                *count -= 1;
                Some(())
            }
            None => None,
        }
        .ok_or_else(|| "an answer that nobody asked for, or the second to one question".into())
    }

    /// rfc5227 2.3, 2.4: each address twice at the start, one more in ten seconds and worker to defend one.
    fn announce(&mut self, now: Instant) -> Result<(), String> {
        self.announced += 1;
        let defences = self.workers * (1 + now.since(self.started).as_ns() / DEFEND_INTERVAL.as_ns());
        let allowed = 2 * self.addresses + defences + self.searches;
        if self.announced <= allowed { Ok(()) } else { Err(format!("announcement {} of {allowed}", self.announced)) }
    }
}

fn here(to: IpAddr, mac: Option<Mac>, target: IpAddr) -> u64 {
    hash((0, to, mac, target))
}
fn echo(from: IpAddr, to: IpAddr, body: &[u8]) -> u64 {
    hash((1, from, to, body))
}
fn refusal(from: SocketAddr, to: SocketAddr, acknowledged: bool, number: u32) -> u64 {
    hash((3, from, to, acknowledged, number))
}
fn error(quote: &[u8]) -> u64 {
    hash((2, quote))
}
fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}
