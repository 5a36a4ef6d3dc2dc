//! Our engine as a server: frames from a pool of DPDK's, as a worker has them.
//!
//! ```text
//!   packet -> frame -> handle_burst -> poll_event -> the application turns the request into the response, in its frame
//!                                                                                                 |
//!   packet <- frame <- poll_transmit <- flush <---------------------------------- send, consume --'
//! ```
//!
//! What a device does is measured apart ([`Device`]): it puts the request's bytes into a frame, and gives back the one that was sent. Around the engine stands what smoltcp
//! does as well: an IPv4 header is read and one is written, by the code below; Ethernet, neighbours and routes are left out on both sides.

use super::peer::{MESSAGE, NoServer, SERVER, Server};
use anyhow::Context;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};
use weirgate_dataplane::{
    limits::packet_bytes,
    net::{Answer, Cidr, EthernetAddress, Interface, InterfaceIndex, Packet, PortIndex, Topology, protocol},
    outbox::Outbox,
    port::{
        Frame, Offloads, Pool,
        dpdk::{Eal, EalOptions, Memory, WorkerThread},
    },
    tcp::{ConnectionOptions, Event, Listen, Segments, Tcp, TcpOptions},
    time::Instant,
};

const IP: usize = 20;

/// DPDK's memory. One in a process.
pub(crate) struct Frames {
    pub(crate) pool: Pool,
    // Ends before EAL does.
    _thread: WorkerThread,
    _eal: Eal,
}

impl Frames {
    pub(crate) fn start(core: usize, frames: u32, room: usize) -> anyhow::Result<Self> {
        let bytes = packet_bytes(1, frames, room);
        let cpus = vec![core as u16];
        let mut eal =
            Eal::start(&EalOptions { memory: Memory::Huge, bytes, cpus, single_file_segments: false, verbose: false })?;
        let pool = eal.pool("tcp", frames, room)?.into_pool();
        let thread = WorkerThread::enter(core as u16).context("the core to measure on")?;
        Ok(Self { pool, _thread: thread, _eal: eal })
    }
}

pub(super) struct Ours {
    tcp: Tcp,
    out: Outbox,
    burst: Segments,
}

impl Ours {
    pub(super) fn new(pool: Pool, seed: u64) -> Self {
        let offloads = Offloads { l4_checksum: true, ipv4_checksum: true, ..Offloads::default() };
        // All connections may have a response under way at once.
        let options = TcpOptions { queued_frames_max: pool.capacity(), ..TcpOptions::new(seed, pool.capacity()) };
        let mut tcp = Tcp::new(Arc::new(topology(SERVER.0, offloads)), options);
        let port = SERVER.1;
        tcp.listen(Listen { address: None, ports: port..=port, options: ConnectionOptions::default() })
            .expect("nobody else listens");
        Self { tcp, out: Outbox::new(pool, 1, true), burst: Segments::new() }
    }

    /// The application: a response for each request, in the request's frame.
    fn answer(&mut self) {
        while let Some(event) = self.tcp.poll_event() {
            let Event::Received { id, mut frame } = event else { continue };
            let len = frame.len();
            self.tcp.consume(id, len as u32);
            if len == MESSAGE {
                frame.head_mut().fill(b'r');
                if let Err(frame) = self.tcp.send(id, frame, &mut self.out) {
                    self.out.consume(frame);
                }
            } else {
                self.out.consume(frame);
            }
        }
    }
}

impl Server for Ours {
    fn turn(&mut self, now: Instant, arrived: &[&[u8]], send: &mut impl FnMut(&[u8])) {
        for bytes in arrived {
            let Some(mut frame) = self.out.pool.alloc() else { continue };
            let packet = frame.append_slice(bytes).ok().and_then(|()| packet(&frame));
            match packet {
                Some(packet) => self.burst.push((packet, frame)),
                None => self.out.consume(frame),
            }
        }
        self.tcp.handle_burst(now, &mut self.burst, &mut self.out);
        self.tcp.handle_timers(now, &mut self.out);
        self.answer();
        self.tcp.flush(now, &mut self.out);
        while let Some((answer, mut frame)) = self.tcp.poll_transmit() {
            put_header(&answer, &mut frame);
            send(frame.head());
            self.out.consume(frame);
        }
        self.out.free_discards();
    }
}

/// What a device does with a request and a response, and nothing else: takes a frame from the pool, puts the request's bytes into it, and gives a
/// frame back when it has sent it. The responses cost nothing.
pub(super) struct Device {
    out: Outbox,
    responses: NoServer,
}

impl Device {
    pub(super) fn new(pool: Pool) -> Self {
        Self { out: Outbox::new(pool, 1, true), responses: NoServer::new() }
    }
}

impl Server for Device {
    fn turn(&mut self, now: Instant, arrived: &[&[u8]], send: &mut impl FnMut(&[u8])) {
        for bytes in arrived {
            let Some(mut frame) = self.out.pool.alloc() else { continue };
            let _ = frame.append_slice(bytes);
            self.out.consume(frame);
        }
        self.responses.turn(now, arrived, send);
        self.out.free_discards();
    }
}

/// An interface of ours.
pub(super) fn topology(address: [u8; 4], offloads: Offloads) -> Topology {
    let interface = Interface {
        port: PortIndex(0),
        vlan: None,
        mac: EthernetAddress([2, 0, 0, 0, 0, 1]),
        mtu: 1_500,
        offloads,
        addresses: vec![Cidr { address: IpAddr::from(address), prefix: 8 }],
    };
    Topology::new(vec![interface], Vec::new()).expect("one interface with one address")
}

/// What an IPv4 header without options says.
#[inline]
pub(super) fn packet(frame: &Frame) -> Option<Packet> {
    let header: &[u8; IP] = frame.head().first_chunk()?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if header[0] != 0x45 || header[9] != protocol::TCP || fragment != 0 || total < IP || total > frame.len() {
        return None;
    }
    let address = |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
    Some(Packet {
        interface: InterfaceIndex(0),
        source: address(12),
        destination: address(16),
        protocol: protocol::TCP,
        protocol_at: 9,
        hop_limit: header[8],
        traffic_class: header[1],
        group: false,
        network_at: 0,
        transport_at: IP,
        transport_len: total - IP,
    })
}

/// Puts an IPv4 header before a segment; its checksum is the device's to compute.
#[inline]
pub(super) fn put_header(answer: &Answer, frame: &mut Frame) {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (answer.source, answer.destination) else {
        unreachable!("all clients are IPv4")
    };
    let total = ((IP + frame.len()) as u16).to_be_bytes();
    let header = frame.prepend(IP).expect("each frame has room for it").first_chunk_mut().expect("just prepended");
    *header = [
        0x45,
        answer.traffic_class,
        total[0],
        total[1],
        0,
        0,
        0x40,
        0,
        answer.hop_limit,
        protocol::TCP,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
}
