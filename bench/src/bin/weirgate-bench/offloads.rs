//! Sends the same packets with checksums by the device or by us, for whoever captures them to compare; and one long TCP segment for the
//! device to cut.

use anyhow::{Context, ensure};
use clap::Args;
use std::net::IpAddr;
use weirgate_dataplane::{
    limits::{FRAME_ROOM, packet_bytes},
    net::checksum::Sum,
    port::{
        Frame, FrameQueue, L4, Offloads, Pool, Port, TxOffload,
        dpdk::{Device, Eal, EalOptions, Memory, WorkerThread},
    },
    snapshot::{InterfaceConfig, PortConfig},
};

#[derive(Args)]
pub(crate) struct Options {
    /// The port, such as 0000:01:00.0.
    #[arg(long)]
    device: String,
    /// Leave checksums to the device, and cut a TCP segment there.
    #[arg(long)]
    offloads: bool,
    #[arg(long, default_value_t = 0)]
    core: u16,
}

const FRAMES: u32 = 4_096;
const ETHERNET: usize = 14;
/// Payload of the long segment, and what fits each piece.
const LONG: usize = 4_000;
const PIECE: u16 = 1_000;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let config = PortConfig {
        name: "offloads".into(),
        device: options.device.parse().map_err(anyhow::Error::msg)?,
        mtu: 1500,
        offloads: options.offloads,
        untagged: InterfaceConfig::default(),
        vlans: Vec::new(),
    };
    let bytes = packet_bytes(1, FRAMES, FRAME_ROOM);
    let cpus = vec![options.core];
    let mut eal =
        Eal::start(&EalOptions { memory: Memory::Huge, bytes, cpus, single_file_segments: false, verbose: false })?;
    let pool = eal.pool("offloads", FRAMES, FRAME_ROOM)?;
    let device = Device::open(&config, 0, std::slice::from_ref(&pool), false)?;
    let entered = WorkerThread::enter(options.core)?;
    super::echo::wait_for_link(&device)?;
    let mut port = device.queues().remove(0);
    let sent = send_all(&mut port, &pool.into_pool(), options.offloads);
    // The device reads the frames in its own time; closing it at once would drop them.
    #[allow(clippy::disallowed_methods)] // waits for a device, outside any loop that is measured
    std::thread::sleep(std::time::Duration::from_secs(1));
    drop((port, entered));
    drop(device);
    println!("sent {} frames", sent?);
    Ok(())
}

fn send_all(port: &mut impl Port, pool: &Pool, offloads: bool) -> anyhow::Result<usize> {
    let has = port.capabilities().offloads;
    let wanted = Offloads { segments: true, ipv4_checksum: offloads, l4_checksum: offloads, tso: offloads };
    ensure!(has == wanted, "the device offers {has:?}, this wants {wanted:?}");
    let addresses: [(IpAddr, IpAddr); 2] =
        [("10.77.0.10".parse()?, "10.77.0.1".parse()?), ("fd77::10".parse()?, "fd77::1".parse()?)];
    let mac = port.capabilities().mac;
    let mut queue = FrameQueue::default();
    for (source, destination) in addresses {
        for l4 in [L4::Udp, L4::Tcp] {
            for len in [0, 1, 17, 512, 1_000] {
                let packet = Packet { source, destination, l4, mac };
                let frame = packet.build(pool, len, offloads, 0)?;
                ensure!(queue.push(frame).is_ok(), "the queue is full");
            }
        }
    }
    if offloads {
        let packet = Packet { source: addresses[0].0, destination: addresses[0].1, l4: L4::Tcp, mac };
        ensure!(queue.push(packet.build(pool, LONG, true, PIECE)?).is_ok(), "the queue is full");
    }
    let count = queue.len();
    while !queue.is_empty() {
        port.tx_burst(&mut queue);
    }
    Ok(count)
}

struct Packet {
    source: IpAddr,
    destination: IpAddr,
    l4: L4,
    mac: [u8; 6],
}

impl Packet {
    fn build(&self, pool: &Pool, payload_len: usize, offload: bool, tso_segment: u16) -> anyhow::Result<Frame> {
        let l4_len = if self.l4 == L4::Tcp { 20 } else { 8 };
        let l3_len = if self.source.is_ipv4() { 20 } else { 40 };
        let payload: Vec<u8> = (0..payload_len).map(|i| (i * 7) as u8).collect();
        let mut transport = self.transport(l4_len, payload_len);
        // A device that cuts wants the length left out of the pseudo-header: each piece has its own.
        let covered = if tso_segment > 0 { 0 } else { l4_len + payload_len };
        let pseudo =
            Sum::pseudo_header(self.source, self.destination, if self.l4 == L4::Tcp { 6 } else { 17 }, covered as u32);
        let at = if self.l4 == L4::Tcp { 16 } else { 6 };
        let sum = if offload { pseudo.partial() } else { pseudo.add(&transport).add(&payload).checksum() };
        transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());

        let mut head = vec![0xff; 6]; // everybody: the other end's address need not be known
        head.extend_from_slice(&self.mac);
        head.extend_from_slice(&self.network(l4_len + payload_len, offload));
        head.extend_from_slice(&transport);
        let mut frame = pool.alloc().context("no frames")?;
        frame.append_slice(&head).ok().context("room")?;
        for piece in payload.chunks(1_500) {
            let mut part = pool.alloc().context("no frames")?;
            part.append_slice(piece).ok().context("room")?;
            frame.chain(part);
        }
        if offload {
            frame.set_tx_offload(TxOffload {
                l2_len: ETHERNET as u8,
                l3_len,
                l4_len: l4_len as u8,
                ipv6: self.source.is_ipv6(),
                ip_checksum: self.source.is_ipv4(),
                l4_checksum: Some(self.l4),
                tso_segment,
            });
        }
        Ok(frame)
    }

    /// EtherType and IP header; the IPv4 checksum is zero where the device fills it in.
    fn network(&self, len: usize, offload: bool) -> Vec<u8> {
        let protocol = if self.l4 == L4::Tcp { 6 } else { 17 };
        match (self.source, self.destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                let total = ((len + 20) as u16).to_be_bytes();
                let mut ip = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
                ip.extend_from_slice(&s.octets());
                ip.extend_from_slice(&d.octets());
                if !offload {
                    let sum = Sum::default().add(&ip).checksum().to_be_bytes();
                    ip[10..12].copy_from_slice(&sum);
                }
                [vec![8, 0], ip].concat()
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                let length = (len as u16).to_be_bytes();
                let fixed = vec![0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], protocol, 64];
                [fixed, s.octets().to_vec(), d.octets().to_vec()].concat()
            }
            _ => unreachable!("both addresses are of one family"),
        }
    }

    /// The transport header with a zero checksum: ports 7777 to 9, and for TCP an ACK.
    fn transport(&self, l4_len: usize, payload_len: usize) -> Vec<u8> {
        let mut header = vec![0; l4_len];
        header[..4].copy_from_slice(&[0x1e, 0x61, 0, 9]);
        match self.l4 {
            L4::Tcp => header[4..16].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x10, 0]),
            L4::Udp => header[4..6].copy_from_slice(&((l4_len + payload_len) as u16).to_be_bytes()),
        }
        header
    }
}
