//! Receive-side scaling: which queue a NIC puts a flow on. Toeplitz over the addresses and ports, then the indirection table.
//!
//! Source: Microsoft, "RSS hashing types" and "Verifying the RSS hash calculation" (the test below has its vectors); the
//! same function is in every NIC that DPDK drives.

use std::net::IpAddr;

/// How a device spreads flows, read back from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rss {
    /// The secret key; 40 bytes on most devices.
    pub key: Vec<u8>,
    /// The indirection table: entry `hash % len` names the queue.
    pub reta: Vec<u16>,
    /// Flows whose ports are hashed too; others are hashed over addresses only.
    pub ports_hashed: PortsHashed,
}

/// For which packets the ports are part of the hash.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PortsHashed {
    /// TCP over either IP.
    pub tcp: bool,
    /// UDP over either IP.
    pub udp: bool,
}

/// What a device hashes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Source and destination port, where they are hashed.
    pub ports: Option<(u16, u16)>,
}

impl Rss {
    /// The queue that packets of this flow arrive on.
    pub fn queue(&self, flow: &Flow) -> u16 {
        let hash = flow.hash(&self.key);
        self.reta[hash as usize % self.reta.len()]
    }

    /// The flow of an Ethernet frame as the device sees it; `None` if it is not IP, a fragment, or cut short (such frames go to queue 0
    /// or are hashed in ways that differ between devices).
    pub fn flow(&self, frame: &[u8]) -> Option<Flow> {
        let mut at = 14;
        let mut ethertype = read16(frame, 12)?;
        if ethertype == 0x8100 {
            ethertype = read16(frame, 16)?;
            at = 18;
        }
        let packet = frame.get(at..)?;
        let (source, destination, protocol, transport) = match ethertype {
            0x0800 if read16(packet, 6)? & 0x3fff == 0 => {
                let header = usize::from(packet[0] & 0x0f) * 4;
                (
                    IpAddr::from(packet.get(12..16)?.first_chunk::<4>().copied()?),
                    IpAddr::from(packet.get(16..20)?.first_chunk::<4>().copied()?),
                    *packet.get(9)?,
                    packet.get(header..)?,
                )
            }
            0x86dd => (
                IpAddr::from(packet.get(8..24)?.first_chunk::<16>().copied()?),
                IpAddr::from(packet.get(24..40)?.first_chunk::<16>().copied()?),
                *packet.get(6)?,
                packet.get(40..)?,
            ),
            _ => return None,
        };
        let ports = match protocol {
            6 if self.ports_hashed.tcp => Some((read16(transport, 0)?, read16(transport, 2)?)),
            17 if self.ports_hashed.udp => Some((read16(transport, 0)?, read16(transport, 2)?)),
            0 | 43 | 44 | 60 => return None, // IPv6 extension headers: devices differ
            _ => None,
        };
        Some(Flow { source, destination, ports })
    }
}

impl Flow {
    /// The Toeplitz hash under `key`, over source address, destination address, source port, destination port.
    pub fn hash(&self, key: &[u8]) -> u32 {
        let mut toeplitz = Toeplitz::new(key);
        toeplitz.address(self.source);
        toeplitz.address(self.destination);
        if let Some((source, destination)) = self.ports {
            toeplitz.bytes(&source.to_be_bytes());
            toeplitz.bytes(&destination.to_be_bytes());
        }
        toeplitz.hash
    }
}

/// For each set bit of the input, the 32 bits of the key that begin at that bit's position are added (xor).
struct Toeplitz<'a> {
    hash: u32,
    window: u32,
    rest: std::slice::Iter<'a, u8>,
}

impl<'a> Toeplitz<'a> {
    fn new(key: &'a [u8]) -> Self {
        let mut rest = key.iter();
        let window = rest.by_ref().take(4).fold(0, |w, &b| w << 8 | u32::from(b));
        Self { hash: 0, window, rest }
    }
    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(a) => self.bytes(&a.octets()),
            IpAddr::V6(a) => self.bytes(&a.octets()),
        }
    }
    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let incoming = self.rest.next().copied().unwrap_or(0);
            for bit in (0..8).rev() {
                if byte >> bit & 1 == 1 {
                    self.hash ^= self.window;
                }
                self.window = self.window << 1 | u32::from(incoming >> bit & 1);
            }
        }
    }
}

fn read16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..at + 2)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of Microsoft's verification suite.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn hashes_are_those_of_the_verification_suite() {
        // destination, source, hash with ports, hash without
        let rows = [
            ("161.142.100.80:1766", "66.9.149.187:2794", 0x51ccc178, 0x323e8fc2),
            ("65.69.140.83:4739", "199.92.111.2:14230", 0xc626b0ea, 0xd718262a),
            ("12.22.207.184:38024", "24.19.198.95:12898", 0x5c2b394a, 0xd2d0a5de),
            ("209.142.163.6:2217", "38.27.205.30:48228", 0xafc7327f, 0x82989176),
            ("202.188.127.2:1303", "153.39.163.191:44251", 0x10e828a2, 0x5d1809c5),
            ("[3ffe:2501:200:3::1]:1766", "[3ffe:2501:200:1fff::7]:2794", 0x40207d3d, 0x2cc18cd5),
            ("[ff02::1]:4739", "[3ffe:501:8::260:97ff:fe40:efab]:14230", 0xdde51bbf, 0x0f0c461c),
            ("[fe80::200:f8ff:fe21:67cf]:38024", "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", 0x02d1feef, 0x4b61e985),
        ];
        for (destination, source, with_ports, without) in rows {
            let (d, s): (std::net::SocketAddr, std::net::SocketAddr) =
                (destination.parse().unwrap(), source.parse().unwrap());
            let mut flow = Flow { source: s.ip(), destination: d.ip(), ports: Some((s.port(), d.port())) };
            assert_eq!(flow.hash(&KEY), with_ports, "{source} -> {destination}");
            flow.ports = None;
            assert_eq!(flow.hash(&KEY), without, "{source} -> {destination}, addresses only");
        }
    }

    #[test]
    fn the_table_turns_a_hash_into_a_queue() {
        let rss =
            Rss { key: KEY.to_vec(), reta: (0..128).map(|i| i % 2).collect(), ports_hashed: PortsHashed::default() };
        let flow = Flow { source: [66, 9, 149, 187].into(), destination: [161, 142, 100, 80].into(), ports: None };
        assert_eq!(rss.queue(&flow), (0x323e8fc2 % 128) as u16 % 2);
    }
}
