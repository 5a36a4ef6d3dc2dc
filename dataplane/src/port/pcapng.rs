//! Captures: what passes a port, in a file that Wireshark and tcpdump open. tcpdump cannot see a DPDK port; this can.
//!
//! Format: draft-ietf-opsawg-pcapng, sections 4.1 (section header), 4.2 (interface description), 4.3 (enhanced packet) and 4.5 (statistics), with
//! nanosecond timestamps (`if_tsresol` 9) and the direction in `epb_flags`. Writing blocks the loop: it is for looking at
//! things, and the data plane says so when it is switched on.

use super::{Burst, Capabilities, Frame, FrameQueue, Port};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

/// Which way a frame went, as `epb_flags` has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// It came in.
    Received = 1,
    /// It went out.
    Sent = 2,
}

/// The blocks' numbers: an enhanced packet, and an interface's statistics (section 4.5).
pub const PACKET: u32 = 6;
/// See [`PACKET`].
pub const STATISTICS: u32 = 5;

/// A frame, or its first bytes.
pub struct Packet<'a> {
    /// The interface's number.
    pub interface: u32,
    /// When, in nanoseconds of 1970.
    pub ns: u64,
    /// Which way.
    pub direction: Direction,
    /// The frame's length.
    pub len: u32,
    /// Frames that are missing before it.
    pub lost: u64,
    /// What was kept of it.
    pub bytes: &'a [u8],
}

/// Writes a capture of one or more interfaces.
pub struct Writer<W: Write> {
    to: W,
    interfaces: u32,
}

/// Bytes of a frame that are kept: all of any frame.
const SNAP_LEN: u32 = 65_535;

impl<W: Write> Writer<W> {
    /// Begins a capture.
    pub fn new(mut to: W) -> io::Result<Self> {
        let mut body = Vec::with_capacity(16);
        body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes()); // byte-order magic
        body.extend_from_slice(&1_u16.to_le_bytes()); // version 1.0
        body.extend_from_slice(&0_u16.to_le_bytes());
        body.extend_from_slice(&u64::MAX.to_le_bytes()); // section length: not known
        block(&mut to, 0x0a0d_0d0a, &body)?;
        Ok(Self { to, interfaces: 0 })
    }

    /// Describes one more Ethernet interface and gives its number.
    pub fn interface(&mut self, name: &str) -> io::Result<u32> {
        let mut body = Vec::with_capacity(32 + name.len());
        body.extend_from_slice(&1_u16.to_le_bytes()); // LINKTYPE_ETHERNET
        body.extend_from_slice(&0_u16.to_le_bytes());
        body.extend_from_slice(&SNAP_LEN.to_le_bytes());
        option(&mut body, 2, name.as_bytes()); // if_name
        option(&mut body, 9, &[9]); // if_tsresol: 10^-9 s
        option(&mut body, 0, &[]);
        block(&mut self.to, 1, &body)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes one frame that passed `interface` at `ns` nanoseconds since 1970 (or since the simulation began).
    pub fn frame(&mut self, interface: u32, ns: u64, direction: Direction, frame: &Frame) -> io::Result<()> {
        self.bytes(interface, ns, direction, &frame.to_vec())
    }

    /// The same for bytes that are not in a frame.
    pub fn bytes(&mut self, interface: u32, ns: u64, direction: Direction, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.packet(&Packet { interface, ns, direction, len, lost: 0, bytes })
    }

    /// The same for a frame of which there may be only the first bytes.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let Packet { interface, ns, direction, len, lost, bytes } = *packet;
        let kept = &bytes[..bytes.len().min(SNAP_LEN as usize)];
        let mut body = Vec::with_capacity(40 + kept.len());
        body.extend_from_slice(&interface.to_le_bytes());
        body.extend_from_slice(&((ns >> 32) as u32).to_le_bytes());
        body.extend_from_slice(&((ns & 0xffff_ffff) as u32).to_le_bytes());
        body.extend_from_slice(&u32::try_from(kept.len()).unwrap_or(SNAP_LEN).to_le_bytes());
        body.extend_from_slice(&len.to_le_bytes());
        body.extend_from_slice(kept);
        pad(&mut body);
        option(&mut body, 2, &(direction as u32).to_le_bytes()); // epb_flags
        if lost > 0 {
            option(&mut body, 4, &lost.to_le_bytes()); // epb_dropcount
        }
        option(&mut body, 0, &[]);
        block(&mut self.to, PACKET, &body)
    }

    /// Ends the capture: how many frames it holds and how many it should, and why it ended if that is worth a word.
    pub fn statistics(&mut self, ns: u64, frames: u64, lost: u64, why: Option<&str>) -> io::Result<()> {
        let mut body = Vec::with_capacity(64);
        body.extend_from_slice(&0_u32.to_le_bytes()); // the first interface
        body.extend_from_slice(&((ns >> 32) as u32).to_le_bytes());
        body.extend_from_slice(&((ns & 0xffff_ffff) as u32).to_le_bytes());
        if let Some(why) = why {
            option(&mut body, 1, why.as_bytes()); // opt_comment
        }
        option(&mut body, 7, &lost.to_le_bytes()); // isb_osdrop
        option(&mut body, 8, &frames.to_le_bytes()); // isb_usrdeliv
        option(&mut body, 0, &[]);
        block(&mut self.to, STATISTICS, &body)
    }

    /// Where it goes.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.to
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn block(to: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + 12).map_err(io::Error::other)?.to_le_bytes();
    to.write_all(&kind.to_le_bytes())?;
    to.write_all(&length)?;
    to.write_all(body)?;
    to.write_all(&length)
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A capture that several queues write to, each from its own thread. Clones are the same capture. A write that fails ends
/// the capture and not the traffic.
pub struct Capture<W: Write> {
    writer: Arc<Mutex<Option<Writer<W>>>>,
    /// Nanoseconds since 1970.
    clock: fn() -> u64,
}

impl<W: Write> Clone for Capture<W> {
    fn clone(&self) -> Self {
        Self { writer: Arc::clone(&self.writer), clock: self.clock }
    }
}

impl<W: Write> Capture<W> {
    /// Begins a capture.
    pub fn new(to: W, clock: fn() -> u64) -> io::Result<Self> {
        Ok(Self { writer: Arc::new(Mutex::new(Some(Writer::new(to)?))), clock })
    }

    /// Does something with the writer, if it still works.
    fn with(&self, write: impl FnOnce(&mut Writer<W>, u64) -> io::Result<()>) {
        let Ok(mut guard) = self.writer.lock() else { return };
        if let Some(writer) = &mut *guard
            && write(writer, (self.clock)()).is_err()
        {
            *guard = None;
        }
    }
}

/// A port whose frames are captured as they pass.
pub struct CapturedPort<P, W: Write> {
    port: P,
    capture: Capture<W>,
    interface: u32,
}

impl<P: Port, W: Write> CapturedPort<P, W> {
    /// Captures a queue under a name of its own.
    pub fn new(port: P, name: &str, capture: Capture<W>) -> Self {
        let mut interface = 0;
        capture.with(|writer, _| {
            interface = writer.interface(name)?;
            Ok(())
        });
        Self { port, capture, interface }
    }
}

impl<P: Port, W: Write> Port for CapturedPort<P, W> {
    fn rx_burst(&mut self, burst: &mut Burst) {
        let before = burst.len();
        self.port.rx_burst(burst);
        if burst.len() > before {
            for frame in &burst[before..] {
                self.capture.with(|writer, now| writer.frame(self.interface, now, Direction::Received, frame));
            }
        } else {
            self.capture.with(|writer, _| writer.flush());
        }
    }

    /// A sent frame is the device's, so the bytes are taken before; frames that the device refused are offered again later.
    fn tx_burst(&mut self, queue: &mut FrameQueue) {
        let offered: Vec<Vec<u8>> = queue.iter().map(Frame::to_vec).collect();
        let before = queue.len();
        self.port.tx_burst(queue);
        for bytes in &offered[..before - queue.len()] {
            self.capture.with(|writer, now| writer.bytes(self.interface, now, Direction::Sent, bytes));
        }
    }

    fn capabilities(&self) -> &Capabilities {
        self.port.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{Pool, SimPort};

    /// Splits a capture into its blocks (type, body), checking each frame of lengths.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |b: &[u8], at: usize| u32::from_le_bytes(b[at..at + 4].try_into().unwrap());
        let mut found = Vec::new();
        while !file.is_empty() {
            let length = word(file, 4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(word(file, length - 4) as usize, length, "the length stands at both ends");
            found.push((word(file, 0), file[8..length - 4].to_vec()));
            file = &file[length..];
        }
        found
    }

    #[test]
    fn a_captured_port_records_both_directions() {
        let pool = Pool::heap(4);
        let mut file = Vec::new();
        let mut sim = SimPort::new(Capabilities::plain("p0", [2; 6], 1500));
        let mut frame = pool.alloc().unwrap();
        frame.append_slice(b"frame").unwrap();
        sim.arrive(frame);
        sim.tx_room = 1;
        {
            let capture = Capture::new(&mut file, || 0x1_0000_0007).unwrap();
            let mut port = CapturedPort::new(sim, "p0/0", capture);
            let mut burst = Burst::new();
            port.rx_burst(&mut burst);
            let mut queue = FrameQueue::default();
            burst.drain(..).for_each(|f| queue.push(f).unwrap());
            queue.push(pool.alloc().unwrap()).unwrap();
            port.tx_burst(&mut queue);
            assert_eq!(queue.len(), 1, "the device had room for one");
        }
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|b| b.0).collect();
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 6, 6], "section, interface, received, sent; the refused frame is not there");
        let packet = &blocks[2].1;
        assert_eq!(packet[..20], [0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(&packet[20..28], b"frame\0\0\0");
        assert_eq!(packet[28..36], [2, 0, 4, 0, 1, 0, 0, 0], "received");
        assert_eq!(blocks[3].1[32], 2, "sent");
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let before = writer.get_mut().len();
        let packet = Packet { interface: 0, ns: 1, direction: Direction::Sent, len: 1_500, lost: 3, bytes: b"abcd" };
        writer.packet(&packet).unwrap();
        writer.statistics(2, 1, 4, Some("it broke")).unwrap();
        let blocks = blocks(&writer.get_mut()[before..]);
        let packet = &blocks[0].1;
        assert_eq!((&packet[12..20], &packet[20..24]), (&[4, 0, 0, 0, 0xdc, 5, 0, 0][..], &b"abcd"[..]));
        assert_eq!(packet[32..44], [4, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0], "epb_dropcount");
        let (kind, body) = &blocks[1];
        assert_eq!((*kind, &body[12..24]), (STATISTICS, &b"\x01\0\x08\0it broke"[..]));
        assert_eq!(body[24..48], [7, 0, 8, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    }
}
