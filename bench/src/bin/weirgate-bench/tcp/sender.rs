//! Our engine as a bulk sender, polled in the loop that is also the path.

use super::{
    ours::{packet, put_header, topology},
    peer::BURST,
};
use std::{net::SocketAddr, sync::Arc};
use weirgate_dataplane::{
    limits::FRAME_ROOM,
    net::checksum::Sum,
    outbox::Outbox,
    port::{Offloads, Pool},
    tcp::{Connect, ConnectionId, ConnectionOptions, Event, Segments, Tcp, TcpOptions},
    time::Instant,
};

pub(super) struct Sender {
    tcp: Tcp,
    out: Outbox,
    burst: Segments,
}

/// For all flows: what is unacknowledged, of several bandwidth-delay products each.
const FRAMES: usize = 1 << 18;

impl Sender {
    /// From an address of ours, with nobody to send to yet. The kernel at the other end is no device: we compute checksums.
    pub(super) fn new(address: [u8; 4]) -> Self {
        let options = TcpOptions { connections_max: 1_024, ..TcpOptions::new(1, FRAMES) };
        let tcp = Tcp::new(Arc::new(topology(address, Offloads::default())), options);
        Self { tcp, out: Outbox::new(Pool::heap(FRAMES), 1, true), burst: Segments::new() }
    }

    /// Begins to send to somebody, for ever.
    pub(super) fn connect(&mut self, now: Instant, remote: SocketAddr) {
        let options = ConnectionOptions::default();
        self.tcp
            .connect(now, &Connect { local: None, local_port: None, remote, options }, |_| true)
            .expect("a way to a peer on the link");
    }

    /// Takes a packet for the next turn, which must come when there are [`BURST`] of them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        if let Some(mut frame) = self.out.make()
            && frame.append_slice(bytes).is_ok()
            && let Some(packet) = packet(&frame)
        {
            self.burst.push((packet, frame));
        }
        self.burst.len() == BURST
    }

    pub(super) fn turn(&mut self, now: Instant, mut send: impl FnMut(&[u8])) {
        self.tcp.handle_burst(now, &mut self.burst, &mut self.out);
        self.tcp.handle_timers(now, &mut self.out);
        while let Some(event) = self.tcp.poll_event() {
            match event {
                Event::Connected { id } | Event::Writable { id } => self.fill(id),
                Event::Received { frame, .. } => self.out.consume(frame),
                _ => {}
            }
        }
        self.tcp.flush(now, &mut self.out);
        while let Some((answer, mut frame)) = self.tcp.poll_transmit() {
            put_header(&answer, &mut frame);
            let header = &mut frame.head_mut()[..20];
            let checksum = Sum::default().add(header).checksum();
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            send(frame.head());
            self.out.consume(frame);
        }
        self.out.free_discards();
    }

    /// As much as there is room for.
    fn fill(&mut self, id: ConnectionId) {
        while let Some(mut frame) = self.out.pool.alloc() {
            frame.append_slice(&[0x55; FRAME_ROOM]).expect("a fresh frame has that much room");
            if let Err(frame) = self.tcp.send(id, frame, &mut self.out) {
                self.out.consume(frame);
                return;
            }
        }
    }
}
