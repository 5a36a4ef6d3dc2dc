//! An engine on the bench: segments go in without a network, and what it says is kept.

use crate::{
    net::{Cidr, Interface, InterfaceIndex, Packet, PortIndex, Topology, protocol},
    outbox::Outbox,
    port::{Frame, Offloads, Pool},
    tcp::{Event, Segments, Tcp, TcpOptions},
    time::{Duration, Instant},
};
use std::{net::IpAddr, sync::Arc};

/// Us.
pub(super) const LOCAL: [u8; 4] = [10, 77, 0, 10];
/// A peer; the last byte may differ.
pub(super) const REMOTE: [u8; 4] = [10, 77, 0, 2];

pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) tcp: Tcp,
    pub(super) out: Outbox,
    pub(super) pool: Pool,
    /// Segments that it sent: whom to, and their bytes.
    pub(super) sent: Vec<(IpAddr, Vec<u8>)>,
}

impl Bench {
    pub(super) fn new(frames: usize, device: u8, change: impl FnOnce(&mut TcpOptions)) -> Self {
        let interface = Interface {
            port: PortIndex(0),
            vlan: None,
            mac: crate::net::EthernetAddress([2, 0, 0, 0, 0, 0x10]),
            mtu: 1_500,
            offloads: Offloads { segments: device & 1 != 0, ..Offloads::default() },
            addresses: vec![Cidr { address: IpAddr::from(LOCAL), prefix: 24 }],
        };
        let topology = Arc::new(Topology::new(vec![interface], Vec::new()).expect("a sound topology"));
        let pool = Pool::heap(frames);
        let mut options = TcpOptions::new(7, frames);
        (options.connections_max, options.half_open_max, options.time_wait_max) = (16, 8, 4);
        change(&mut options);
        let out = Outbox::new(pool.clone(), 1, true);
        Self { now: Instant::from_ns(5_000_000_000), tcp: Tcp::new(topology, options), out, pool, sent: Vec::new() }
    }

    /// A segment as the net layer gives it; `None`: there is no frame for it.
    pub(super) fn packet(&self, from: [u8; 4], segment: &[u8]) -> Option<(Packet, Frame)> {
        let mut frame = self.out.pool.alloc()?;
        frame.append_slice(&segment[..segment.len().min(1_460)]).expect("there is room in a fresh frame");
        let packet = Packet {
            interface: InterfaceIndex(0),
            source: from.into(),
            destination: LOCAL.into(),
            protocol: protocol::TCP,
            protocol_at: 9,
            hop_limit: 64,
            traffic_class: 0,
            group: false,
            network_at: 0,
            transport_at: 0,
            transport_len: frame.len(),
        };
        Some((packet, frame))
    }

    /// A segment comes. `false`: there was no frame for it.
    pub(super) fn hear(&mut self, from: [u8; 4], segment: &[u8]) -> bool {
        let Some(packet) = self.packet(from, segment) else { return false };
        let mut burst = Segments::new();
        burst.push(packet);
        self.tcp.handle_burst(self.now, &mut burst, &mut self.out);
        true
    }

    /// The clock goes on, and timers are served when they are due.
    pub(super) fn pass(&mut self, time: Duration, mut event: impl FnMut(&mut Self, Event)) {
        let end = self.now + time;
        loop {
            let next = self.tcp.next_deadline().max(self.now);
            if next > end {
                break;
            }
            self.now = next;
            self.tcp.handle_timers(self.now, &mut self.out);
            self.settle(&mut event);
            // A deadline that has come is never in the future by less than the clock can say.
            self.now = self.now + Duration::from_us(50);
        }
        self.now = end.max(self.now);
    }

    /// Everything that has happened leads to what it leads to.
    pub(super) fn settle(&mut self, event: &mut impl FnMut(&mut Self, Event)) {
        for _ in 0..2 {
            while let Some(next) = self.tcp.poll_event() {
                event(self, next);
            }
            self.tcp.flush(self.now, &mut self.out);
        }
        while let Some(next) = self.tcp.poll_event() {
            event(self, next);
        }
        while let Some((answer, frame)) = self.tcp.poll_transmit() {
            self.sent.push((answer.destination, frame.to_vec()));
            self.out.consume(frame);
        }
        self.out.free_discards();
        self.tcp.check(self.now).expect("what always holds");
    }

    /// It stops, and nothing is left.
    pub(super) fn end(mut self) {
        self.tcp.stop(self.now, &mut self.out);
        while let Some(event) = self.tcp.poll_event() {
            if let Event::Received { frame, .. } = event {
                self.out.consume(frame);
            }
        }
        while let Some((_, frame)) = self.tcp.poll_transmit() {
            self.out.consume(frame);
        }
        self.out.free_discards();
        assert_eq!((self.tcp.held(), self.pool.in_use()), (0, 0), "all frames are back");
    }
}

/// The bytes of a segment.
pub(super) struct Text<'a> {
    pub(super) ports: (u16, u16),
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    /// A multiple of four.
    pub(super) options: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl Text<'_> {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + self.options.len() + self.payload.len());
        bytes.extend_from_slice(&self.ports.0.to_be_bytes());
        bytes.extend_from_slice(&self.ports.1.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.ack.to_be_bytes());
        bytes.extend_from_slice(&[((5 + self.options.len() / 4) as u8) << 4, self.flags]);
        bytes.extend_from_slice(&self.window.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.options);
        bytes.extend_from_slice(self.payload);
        bytes
    }
}
