//! TCP segments (RFC 9293 section 3.1) as bytes and as fields.

use super::{ip, protocol, read::read16};
use std::{fmt, net::IpAddr};

/// Flag bits.
pub mod flag {
    /// The sender has sent everything.
    pub const FIN: u8 = 0x01;
    /// The sender's first number.
    pub const SYN: u8 = 0x02;
    /// The connection is over.
    pub const RST: u8 = 0x04;
    /// Nothing more waits.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// RFC 3168.
    pub const ECE: u8 = 0x40;
    /// RFC 3168.
    pub const CWR: u8 = 0x80;
}

/// A segment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tcp<'a> {
    /// Source and destination.
    pub ports: (u16, u16),
    /// The first number.
    pub seq: u32,
    /// The next number that is expected.
    pub ack: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    /// As it stands there.
    pub window: u16,
    /// Padded to a multiple of four.
    pub options: &'a [u8],
    /// The text.
    pub payload: &'a [u8],
}

impl<'a> Tcp<'a> {
    /// Reads a transport message, checksum aside. `None`: its lengths make no sense.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let header = message.first_chunk::<20>()?;
        let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let payload_at = usize::from(header[12] >> 4) * 4;
        Some(Self {
            ports: (read16(message, 0)?, read16(message, 2)?),
            seq: word(4),
            ack: word(8),
            flags: header[13],
            window: read16(message, 14)?,
            options: message.get(20..payload_at)?,
            payload: message.get(payload_at..)?,
        })
    }

    /// Whether any of these flags is set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
    /// The numbers that it takes.
    #[allow(clippy::cast_possible_truncation)] // a packet has at most 65,535 bytes
    pub fn len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN))
    }
    /// It takes none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The number after its last.
    pub fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len())
    }
    /// Kind and body of each option; `None` where the list makes no sense.
    pub fn option_list(&self) -> Option<Vec<(u8, &'a [u8])>> {
        let (mut list, mut rest) = (Vec::new(), self.options);
        while let Some((&kind, after)) = rest.split_first() {
            match kind {
                0 => break,
                1 => rest = after,
                _ => {
                    let len = usize::from(*after.first()?);
                    list.push((kind, rest.get(2..len)?));
                    rest = &rest[len..];
                }
            }
        }
        Some(list)
    }
    /// The body of one option.
    pub fn option(&self, kind: u8) -> Option<&'a [u8]> {
        self.option_list()?.into_iter().find(|(k, _)| *k == kind).map(|(_, body)| body)
    }
    /// TSval and TSecr.
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        let body = self.option(8)?;
        let word = |at: usize| Some(u32::from_be_bytes(*body.get(at..at + 4)?.first_chunk()?));
        Some((word(0)?, word(4)?))
    }

    /// As a packet, not sealed.
    pub fn packet(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let mut message = Vec::with_capacity(20 + self.options.len() + self.payload.len());
        message.extend_from_slice(&self.ports.0.to_be_bytes());
        message.extend_from_slice(&self.ports.1.to_be_bytes());
        message.extend_from_slice(&self.seq.to_be_bytes());
        message.extend_from_slice(&self.ack.to_be_bytes());
        let words = u8::try_from(5 + self.options.len().div_ceil(4)).unwrap_or(15).min(15);
        message.extend_from_slice(&[words << 4, self.flags]);
        message.extend_from_slice(&self.window.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(self.options);
        message.resize(message.len().next_multiple_of(4), 0);
        message.extend_from_slice(self.payload);
        ip(source, destination, protocol::TCP, 64, &message)
    }
}

impl fmt::Display for Tcp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp {} > {} ", self.ports.0, self.ports.1)?;
        let letters = [(flag::SYN, 'S'), (flag::FIN, 'F'), (flag::RST, 'R'), (flag::PSH, 'P'), (flag::ACK, '.')];
        letters.iter().filter(|(bit, _)| self.has(*bit)).try_for_each(|(_, letter)| write!(f, "{letter}"))?;
        write!(f, " {}:{}({})", self.seq, self.end(), self.payload.len())?;
        if self.has(flag::ACK) {
            write!(f, " ack {}", self.ack)?;
        }
        write!(f, " win {}", self.window)?;
        for (kind, body) in self.option_list().unwrap_or_default() {
            match (kind, body) {
                (2, [a, b]) => write!(f, " mss {}", u16::from_be_bytes([*a, *b]))?,
                (3, [shift]) => write!(f, " wscale {shift}")?,
                (4, []) => write!(f, " sackOK")?,
                (5, blocks) => {
                    for block in blocks.chunks_exact(8) {
                        let word =
                            |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
                        write!(f, " sack {}:{}", word(0), word(4))?;
                    }
                }
                (8, _) => {
                    let (value, echo) = self.timestamps().unwrap_or_default();
                    write!(f, " ts {value} {echo}")?;
                }
                (kind, body) => write!(f, " option {kind} of {}", body.len())?,
            }
        }
        Ok(())
    }
}
