//! The fuzz targets that need to see inside this layer; see [`crate::fuzz`].

use super::*;
use crate::{
    limits::EXTENSION_BYTES_MAX,
    port::{Offloads, Pool, RxMeta},
};
use checksum::Sum;
use std::net::Ipv6Addr;

const OUR_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0x10]);

/// 10.77.0.10 and fd77::10 untagged, 10.78.0.10 and fd78::10 in VLAN 7, default routes through 10.77.0.1 and fe80::1. The unit tests speak
/// with the same gateway, so their frames are good seeds here.
pub(super) fn topology(offloads: Offloads) -> Topology {
    let interface = |vlan, addresses: [&str; 2]| Interface {
        port: PortIndex(0),
        vlan,
        mac: OUR_MAC,
        mtu: 1500,
        offloads,
        addresses: addresses.iter().map(|a| a.parse().expect("a network")).collect(),
    };
    let route = |to: &str, via: &str| Route {
        to: to.parse().expect("a network"),
        interface: InterfaceIndex(0),
        via: Some(via.parse().expect("an address")),
    };
    let interfaces =
        vec![interface(None, ["10.77.0.10/24", "fd77::10/64"]), interface(Some(7), ["10.78.0.10/24", "fd78::10/64"])];
    Topology::new(interfaces, vec![route("0.0.0.0/0", "10.77.0.1"), route("2001:db8::/32", "fe80::1")])
        .expect("a sound topology")
}

/// The whole layer, twice: two workers hear and say what the input tells them to, at times that it names.
///
/// ```text
///   input:   setup  record record ...
///   record:  action  time  length (2)  bytes
///   action:  7..6 buffers   5 checksums made right   4..3 the device's word   2 which worker   1..0 = 2: it sends, else: it hears
/// ```
pub fn frame(data: &[u8]) {
    let Some((&setup, mut rest)) = data.split_first() else { return };
    let mut world = World::new(setup);
    while let Some((&[action, time, high, low], after)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(after.len()).min(1_600);
        let (bytes, after) = after.split_at(len);
        rest = after;
        world.pass(time);
        world.step(action, bytes);
    }
    world.end();
}

struct World {
    now: Instant,
    topology: Arc<Topology>,
    pool: Pool,
    workers: [Worker; 2],
}

struct Worker {
    net: Net,
    out: Outbox,
    rx: u64,
    tx: u64,
    up: u64,
}

impl World {
    fn new(setup: u8) -> Self {
        let offloads = Offloads { segments: setup & 1 != 0, ipv4_checksum: setup & 2 != 0, ..Offloads::default() };
        let topology = Arc::new(topology(offloads));
        // A pool that some inputs use up.
        let pool = Pool::heap(if setup & 4 != 0 { 8 } else { 512 });
        let worker = |index: u64| Worker {
            net: Net::new(Arc::clone(&topology), index == 0 && setup & 8 != 0, index),
            out: Outbox::new(pool.clone(), 1, false),
            rx: 0,
            tx: 0,
            up: 0,
        };
        let workers = [worker(0), worker(1)];
        Self { now: Instant::from_ns(1_000_000_000_000), topology, pool, workers }
    }

    /// Up to nine hours, in steps that grow; the timers run when they ask to, but not for ever.
    fn pass(&mut self, time: u8) {
        let end = self.now + Duration::from_ns(u64::from(time & 7) << (time >> 3).min(42));
        for _ in 0..64 {
            let due = self.workers.iter().map(|w| w.net.next_deadline()).min().unwrap_or(end);
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            for worker in &mut self.workers {
                worker.net.handle_timers(self.now, &mut worker.out);
                assert!(worker.net.next_deadline() > self.now, "timers that are done do not ask again at once");
            }
            self.settle();
        }
        self.now = end;
    }

    fn step(&mut self, action: u8, bytes: &[u8]) {
        let index = usize::from(action >> 2 & 1);
        let mut bytes = bytes.to_vec();
        if action & 0x20 != 0 {
            make_checksums_right(&self.topology, &mut bytes);
        }
        let Some(frame) = self.chained(&bytes, usize::from(action >> 6)) else { return };
        let worker = &mut self.workers[index];
        if action & 3 == 2 {
            worker.send(self.now, &bytes, frame);
        } else {
            worker.hear(self.now, frame, action >> 3 & 3);
        }
        self.settle();
    }

    /// The bytes in one buffer or a few; `None` when the pool is empty.
    fn chained(&self, bytes: &[u8], cuts: usize) -> Option<Frame> {
        let piece = |bytes: &[u8]| {
            let mut piece = self.pool.alloc()?;
            piece.append_slice(bytes).ok()?;
            Some(piece)
        };
        let step = bytes.len() / (cuts + 1);
        let mut frame = piece(&bytes[..step])?;
        for cut in 1..=cuts {
            let end = if cut == cuts { bytes.len() } else { step * (cut + 1) };
            frame.chain(piece(&bytes[step * cut..end])?);
        }
        if cuts == 0 {
            frame.append_slice(&bytes[step..]).ok()?;
        }
        Some(frame)
    }

    /// Tells each worker the other's news, takes what they send and looks at it, and counts.
    fn settle(&mut self) {
        let [a, b] = &mut self.workers;
        a.tell(self.now, b);
        b.tell(self.now, a);
        for worker in &mut self.workers {
            while let Some(frame) = worker.out.queue(0).pop() {
                worker.tx += 1;
                check_sent(&self.topology, &frame);
            }
            worker.account();
        }
    }

    fn end(self) {
        let Self { pool, workers, .. } = self;
        for mut worker in workers {
            worker.net.stop(&mut worker.out);
            worker.account();
            assert_eq!(worker.net.held(), 0);
            worker.out.take_notices();
        }
        assert_eq!(pool.in_use(), 0, "every buffer has come back");
    }
}

impl Worker {
    fn hear(&mut self, now: Instant, mut frame: Frame, word: u8) {
        let word = [Checksum::Unknown, Checksum::Good, Checksum::Bad, Checksum::Partial][usize::from(word)];
        frame.set_rx_meta(RxMeta { ip_checksum: word, l4_checksum: word, rss_hash: None });
        self.rx += 1;
        match self.net.handle(now, PortIndex(0), frame, &mut self.out) {
            Some(Output::Packet(packet, frame)) => {
                assert_eq!(frame.len(), packet.end());
                assert!(!packet.group && packet.source != packet.destination);
                let error = ErrorMessage::PortUnreachable;
                self.net.refuse(now, &packet, frame, error, Drop::UdpNoListener, &mut self.out);
            }
            Some(Output::Error(..)) => self.up += 1,
            None => {}
        }
    }

    /// The transport writes to whom the first bytes name.
    fn send(&mut self, now: Instant, bytes: &[u8], frame: Frame) {
        self.out.counters.count(Counter::MadeFrames);
        let host = bytes.first().copied().unwrap_or_default();
        let (source, destination): (IpAddr, IpAddr) = match host & 3 {
            0 => ([10, 77, 0, 10].into(), [10, 77, 0, host >> 2].into()),
            1 => ([10, 77, 0, 10].into(), [203, 0, 113, host].into()),
            2 => ("fd77::10".parse().expect("v6"), Ipv6Addr::from_bits(0xfd77 << 112 | u128::from(host >> 2)).into()),
            _ => ("fd77::10".parse().expect("v6"), Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(host >> 2)).into()),
        };
        let answer = Answer {
            interface: InterfaceIndex(0),
            source,
            destination,
            protocol: protocol::UDP,
            traffic_class: 0,
            hop_limit: 64,
        };
        self.net.send(now, &answer, frame, &mut self.out);
    }

    fn tell(&mut self, now: Instant, other: &mut Self) {
        for notice in self.out.take_notices() {
            other.net.handle_notice(now, notice, &mut other.out);
        }
    }

    fn account(&mut self) {
        let count = |counter| self.out.counters.counter(counter);
        let came = self.rx + count(Counter::MadeFrames);
        let went = count(Counter::ConsumedFrames) + count(Counter::DroppedFrames) + self.tx + self.up;
        assert_eq!(came, went + (self.net.held() + self.out.backlog()) as u64, "every frame is accounted for");
        let drops: u64 = Drop::ALL.iter().map(|d| self.out.counters.drops(*d)).sum();
        assert_eq!(drops, count(Counter::DroppedFrames));
        self.out.free_discards();
    }
}

/// Lets changed frames past the checksums, which a fuzzer does not guess.
fn make_checksums_right(topology: &Topology, bytes: &mut [u8]) {
    let pool = Pool::heap(1);
    let Some(mut frame) = pool.alloc() else { return };
    if frame.append_slice(bytes).is_err() {
        return;
    }
    let Ok(link) = ethernet::parse(topology, PortIndex(0), &frame) else { return };
    let at = link.header_len;
    let packet = match link.ethertype {
        ethertype::IPV4 => {
            let Some(&first) = bytes.get(at) else { return };
            let Some(header) = bytes.get_mut(at..at + usize::from(first & 15) * 4) else { return };
            if header.len() < ipv4::HEADER_LEN {
                return;
            }
            header[10..12].fill(0);
            let sum = Sum::default().add(header).checksum();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            ipv4::parse(topology, &link, &frame, true).ok()
        }
        ethertype::IPV6 => ipv6::parse(topology, &link, &frame).ok(),
        _ => None,
    };
    let Some(packet) = packet else { return };
    let at = match packet.protocol {
        protocol::ICMP | protocol::ICMPV6 => 2,
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => return,
    };
    let Some(message) = bytes.get_mut(packet.transport_at..packet.end()) else { return };
    if message.len() < at + 2 {
        return;
    }
    message[at..at + 2].fill(0);
    let sum = if packet.protocol == protocol::ICMP {
        Sum::default().add(message).checksum()
    } else {
        let len = packet.transport_len as u32;
        Sum::pseudo_header(packet.source, packet.destination, packet.protocol, len).add(message).checksum()
    };
    message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// What we send others must be able to read: from us, of the length that it says, with right checksums.
fn check_sent(topology: &Topology, frame: &Frame) {
    let bytes = frame.to_vec();
    assert_eq!(bytes[6..12], OUR_MAC.0);
    let at = if bytes[12..14] == [0x81, 0] { 18 } else { 14 };
    assert!(bytes.len() <= at + 1500);
    let (ethertype, packet) = (u16::from_be_bytes([bytes[at - 2], bytes[at - 1]]), &bytes[at..]);
    match ethertype {
        ethertype::ARP => assert_eq!(packet.len(), 28),
        ethertype::IPV4 => {
            assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
            let asked = frame.tx_offload().ip_checksum;
            assert_eq!(asked, topology.interface(InterfaceIndex(0)).offloads.ipv4_checksum);
            assert!(asked || Sum::default().add(&packet[..20]).is_valid());
            if packet[9] == protocol::ICMP {
                assert!(Sum::default().add(&packet[20..]).is_valid());
            }
        }
        ethertype::IPV6 => {
            assert_eq!(40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
            let message = if packet[6] == 0 { 48 } else { 40 };
            if packet[6] == protocol::ICMPV6 || packet[6] == 0 {
                let address = |at: usize| IpAddr::from(*packet[at..].first_chunk::<16>().expect("an address"));
                let len = (packet.len() - message) as u32;
                let pseudo = Sum::pseudo_header(address(8), address(24), protocol::ICMPV6, len);
                assert!(pseudo.add(&packet[message..]).is_valid());
            }
        }
        other => panic!("we sent EtherType {other:04x}"),
    }
}

/// A message that is taken names a sender's hardware that can be.
pub fn arp(data: &[u8]) {
    let Ok(message) = arp::parse(data) else { return };
    assert!(message.sender_mac.is_unicast() && message.sender_mac != EthernetAddress([0; 6]));
    assert_eq!(data[..6], [0, 1, 8, 0, 6, 4]);
}

/// A message that is taken came from this link, is about one host, and names no group's hardware address.
///
/// Input: hop limit, source (16), destination (16), message.
pub fn nd(data: &[u8]) {
    let Some((&[hop_limit], rest)) = data.split_first_chunk::<1>() else { return };
    let Some((source, rest)) = rest.split_first_chunk::<16>() else { return };
    let Some((destination, message)) = rest.split_first_chunk::<16>() else { return };
    let (source, destination) = (Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
    let packet = Packet {
        interface: InterfaceIndex(0),
        source: source.into(),
        destination: destination.into(),
        protocol: protocol::ICMPV6,
        protocol_at: 6,
        hop_limit,
        traffic_class: 0,
        group: destination.is_multicast(),
        network_at: 14,
        transport_at: 54,
        transport_len: message.len(),
    };
    let Ok(read) = nd::parse(&packet, message, source, destination) else { return };
    assert_eq!((hop_limit, message[1]), (255, 0));
    assert!(!read.target.is_multicast());
    assert!(read.mac.is_none_or(|mac| mac.is_unicast() && message.windows(6).any(|w| w == mac.as_bytes())));
    assert!(!(source.is_unspecified() && !read.advertisement && read.mac.is_some()));
}

/// An error that is taken quotes bytes that are there, and no path gets narrower than its family allows.
pub fn icmp_error(data: &[u8]) {
    for (read, least) in [(icmp::parse_error4(data), 68), (icmp::parse_error6(data), 1_280)] {
        let Some(error) = read else { continue };
        assert!(data.windows(8).any(|w| w == error.quote.transport));
        assert_eq!(error.quote.source.is_ipv4(), error.quote.destination.is_ipv4());
        if let Cause::TooBig { mtu } = error.cause {
            assert!((least..=9_000).contains(&mtu) || (mtu == 0 && least == 68));
        }
    }
}

/// A chain that is taken ends at a transport within the packet and within the bounds; a problem points into the packet.
///
/// Input: next header (the highest bit of the second byte: to a group), payload.
pub fn ipv6_extensions(data: &[u8]) {
    let Some((&[next, group], payload)) = data.split_first_chunk::<2>() else { return };
    let payload = &payload[..payload.len().min(1_460)];
    let to: Ipv6Addr = if group & 0x80 != 0 { "ff02::1" } else { "fd77::10" }.parse().expect("an address");
    let from: Ipv6Addr = "fd77::2".parse().expect("an address");
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next, 1]);
    bytes.extend([from.octets(), to.octets()].concat());
    bytes.extend(payload);
    let pool = Pool::heap(1);
    let mut frame = pool.alloc().expect("one buffer");
    frame.append_slice(&bytes).expect("it fits");
    let (interface, source) = (InterfaceIndex(0), EthernetAddress([2, 0, 0, 0, 0, 2]));
    let link = Link { interface, source, group: to.is_multicast(), ethertype: ethertype::IPV6, header_len: 0 };
    match ipv6::parse(&topology(Offloads::default()), &link, &frame) {
        Ok(packet) => {
            assert_eq!(packet.end(), bytes.len());
            assert!(packet.transport_at - 40 <= EXTENSION_BYTES_MAX);
            assert!(packet.protocol_at < packet.transport_at && bytes[packet.protocol_at] == packet.protocol);
            assert!(![0, 43, 44, 59, 60].contains(&packet.protocol));
        }
        Err(Refusal::Problem { pointer, .. }) => assert!((pointer as usize) < bytes.len()),
        Err(Refusal::Silent(_)) => {}
    }
    ipv6::may_carry_error(&bytes);
    ipv6::alerts_about_listeners(&bytes);
}
