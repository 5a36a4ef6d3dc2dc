//! What a received segment says (RFC 9293 section 3.1), read once.
//!
//! ```text
//!    0 source port  2 destination port  4 sequence number  8 acknowledgment number
//!   12 data offset (4 bits), reserved (4)  13 flags  14 window  16 checksum  18 urgent pointer  20 options ... payload
//! ```
//! The net layer has seen to it that the header lies within the packet and that the checksum is right.

use super::seq::Seq;
use crate::drops::Drop;
use arrayvec::ArrayVec;

pub(super) const HEADER_LEN: usize = 20;
/// SACK blocks that fit beside nothing else (RFC 2018 section 3).
pub(super) const SACK_BLOCKS_MAX: usize = 4;

/// A segment's flags.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags(pub(super) u8);

impl Flags {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const SYN: u8 = 0x02;
    pub(super) const RST: u8 = 0x04;
    pub(super) const PSH: u8 = 0x08;
    pub(super) const ACK: u8 = 0x10;
    pub(super) const ECE: u8 = 0x40;
    pub(super) const CWR: u8 = 0x80;

    #[inline]
    pub(super) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// Edges of one block of a SACK option: its first number, and the one after its last.
pub(super) type Block = (Seq, Seq);

/// A segment's header and the options that any segment may carry.
#[derive(Default)]
pub(super) struct Segment {
    pub(super) seq: Seq,
    /// Meaningless without the ACK flag.
    pub(super) ack: Seq,
    pub(super) flags: Flags,
    /// As it stands there, not scaled.
    pub(super) window: u16,
    /// Where the payload begins, from the transport header.
    pub(super) payload_at: usize,
    pub(super) payload_len: u32,
    /// TSval and TSecr (RFC 7323 section 3.2).
    pub(super) timestamps: Option<(u32, u32)>,
    pub(super) blocks: ArrayVec<Block, SACK_BLOCKS_MAX>,
    /// The packet had met congestion (RFC 3168 section 5).
    pub(super) ce: bool,
}

impl Segment {
    /// Sequence numbers that it takes: payload, SYN and FIN.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.payload_len + u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN))
    }
    /// The number after its last.
    #[inline]
    pub(super) fn end(&self) -> Seq {
        self.seq + self.len()
    }

    /// Reads a header of `transport_len` bytes with its payload into a fresh segment; `header` has at least the first 20 bytes.
    #[inline]
    pub(super) fn read(&mut self, header: &[u8], transport_len: usize, traffic_class: u8) -> Result<(), Drop> {
        let fixed: &[u8; HEADER_LEN] = header.first_chunk().ok_or(Drop::HeadersSplit)?;
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let payload_at = usize::from(fixed[12] >> 4) * 4;
        self.seq = Seq(word(4));
        self.ack = Seq(word(8));
        // rfc9293 3.1: reserved bits are ignored; so is the urgent pointer (see ARCHITECTURE.md).
        self.flags = Flags(fixed[13]);
        // rfc9293 3.1 MUST-1: unsigned.
        self.window = u16::from_be_bytes([fixed[14], fixed[15]]);
        self.payload_at = payload_at;
        self.payload_len = (transport_len - payload_at) as u32;
        self.ce = traffic_class & 3 == 3;
        // Nearly every segment of an open connection has timestamps alone, laid out as RFC 7323 appendix A recommends.
        if payload_at == TIMESTAMPS_ALIGNED_LEN + HEADER_LEN
            && let Some(aligned) = header[HEADER_LEN..].first_chunk::<TIMESTAMPS_ALIGNED_LEN>()
            && aligned[..4] == TIMESTAMPS_ALIGNED
        {
            let word = |at: usize| u32::from_be_bytes([aligned[at], aligned[at + 1], aligned[at + 2], aligned[at + 3]]);
            self.timestamps = Some((word(4), word(8)));
        } else if payload_at > HEADER_LEN {
            let options = header.get(HEADER_LEN..payload_at).ok_or(Drop::HeadersSplit)?;
            return self.parse_options(options);
        }
        Ok(())
    }

    fn parse_options(&mut self, options: &[u8]) -> Result<(), Drop> {
        for option in Options(options) {
            match option.ok_or(Drop::TcpOptionsMalformed)? {
                (kind::TIMESTAMPS, body) => {
                    let body: &[u8; 8] = body.try_into().map_err(|_| Drop::TcpOptionsMalformed)?;
                    let word = |at: usize| u32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
                    self.timestamps = Some((word(0), word(4)));
                }
                (kind::SACK, body) => {
                    if !body.len().is_multiple_of(8) {
                        return Err(Drop::TcpOptionsMalformed);
                    }
                    for block in body.chunks_exact(8).take(SACK_BLOCKS_MAX) {
                        let word = |at: usize| {
                            Seq(u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]))
                        };
                        let _ = self.blocks.try_push((word(0), word(4)));
                    }
                }
                // rfc9293 3.1 MUST-6; rfc7323 2.2 c: options that are not known are ignored, and so are here those that only a SYN may have.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Option kinds (IANA).
pub(super) mod kind {
    pub(crate) const END: u8 = 0;
    pub(crate) const NO_OPERATION: u8 = 1;
    pub(crate) const MSS: u8 = 2;
    pub(crate) const WINDOW_SCALE: u8 = 3;
    pub(crate) const SACK_PERMITTED: u8 = 4;
    pub(crate) const SACK: u8 = 5;
    pub(crate) const TIMESTAMPS: u8 = 8;
}

/// Timestamps with two no-operations before them, so that their words are aligned.
pub(super) const TIMESTAMPS_ALIGNED: [u8; 4] = [kind::NO_OPERATION, kind::NO_OPERATION, kind::TIMESTAMPS, 10];
pub(super) const TIMESTAMPS_ALIGNED_LEN: usize = 12;

/// Kind and body of each option; `None` once for a malformed one, then nothing.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Option<(u8, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // rfc9293 3.1 MUST-4, 3.2 MUST-64: byte by byte, so that an option may begin at any; two kinds are a byte alone.
            let (&kind, rest) = self.0.split_first()?;
            match kind {
                kind::END => {
                    self.0 = &[];
                    return None;
                }
                kind::NO_OPERATION => self.0 = rest,
                _ => {
                    // rfc9293 3.1 MUST-5, MUST-68: every other option has a length, whether it is known or not.
                    // rfc9293 3.1 MUST-7: a length that cannot be ends the segment, by name.
                    let body = rest.first().filter(|len| **len >= 2).and_then(|len| self.0.get(2..usize::from(*len)));
                    let Some(body) = body else {
                        self.0 = &[];
                        return Some(None);
                    };
                    self.0 = &self.0[2 + body.len()..];
                    return Some(Some((kind, body)));
                }
            }
        }
    }
}

/// What only a SYN says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SynOptions {
    /// The largest segment that the peer takes, without IP and TCP options.
    pub(super) mss: Option<u16>,
    /// The peer's window scale.
    pub(super) wscale: Option<u8>,
    pub(super) sack_permitted: bool,
}

/// rfc7323 2.3 h: a scale above 14 is taken as 14.
const WSCALE_MAX: u8 = 14;

impl SynOptions {
    /// Reads the options of a SYN whose [`Segment`] has been parsed, so none is malformed.
    pub(super) fn parse(header: &[u8], segment: &Segment) -> Self {
        let mut syn = Self { mss: None, wscale: None, sack_permitted: false };
        let options = header.get(HEADER_LEN..segment.payload_at).unwrap_or_default();
        for (kind, body) in Options(options).flatten() {
            match (kind, body) {
                (kind::MSS, &[high, low]) => syn.mss = Some(u16::from_be_bytes([high, low])),
                (kind::WINDOW_SCALE, &[scale]) => syn.wscale = Some(scale.min(WSCALE_MAX)),
                (kind::SACK_PERMITTED, &[]) => syn.sack_permitted = true,
                _ => {}
            }
        }
        syn
    }
}

#[cfg(any(test, fuzzing))]
impl Segment {
    /// The same, into a new one.
    pub(super) fn parse(header: &[u8], transport_len: usize, traffic_class: u8) -> Result<Self, Drop> {
        let mut segment = Self::default();
        segment.read(header, transport_len, traffic_class).map(|()| segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 80, 0x30, 0x39, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0x10, 1, 0, 0, 0, 0, 0];
        bytes.extend(options);
        bytes[12] = ((bytes.len() / 4) as u8) << 4;
        bytes
    }
    fn parse(options: &[u8]) -> Result<Segment, Drop> {
        let header = header(options);
        Segment::parse(&header, header.len() + 5, 0)
    }

    #[test]
    fn fields_are_where_the_rfc_puts_them() {
        let segment = parse(&[]).unwrap();
        assert_eq!((segment.seq, segment.ack, segment.window), (Seq(7), Seq(9), 256));
        assert_eq!((segment.payload_at, segment.payload_len, segment.len()), (20, 5, 5));
        assert!(segment.flags.has(Flags::ACK) && !segment.flags.has(Flags::SYN));
    }

    #[test]
    fn options_are_read_or_the_segment_is_malformed() {
        let timestamps = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(parse(&timestamps).unwrap().timestamps, Some((1, 2)));
        let unaligned = [8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0];
        assert_eq!(parse(&unaligned).unwrap().timestamps, Some((1, 2)));
        let sack = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(parse(&sack).unwrap().blocks[..], [(Seq(1), Seq(2))]);
        let unknown = [253, 4, 9, 9];
        assert_eq!(parse(&unknown).unwrap().timestamps, None);
        assert_eq!(parse(&[0, 8, 3, 3]).unwrap().timestamps, None, "nothing after the end");
        for malformed in
            [[8, 0, 0, 0], [8, 1, 0, 0], [1, 1, 1, 8], [8, 3, 0, 0], [8, 11, 0, 0], [5, 4, 0, 0], [253, 9, 0, 0]]
        {
            assert_eq!(parse(&malformed).err(), Some(Drop::TcpOptionsMalformed), "{malformed:?}");
        }
        assert_eq!(Segment::parse(&header(&timestamps)[..24], 40, 0).err(), Some(Drop::HeadersSplit));
    }

    #[test]
    fn a_syn_says_more() {
        let bytes = header(&[2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 15, 0, 0]);
        let segment = Segment::parse(&bytes, bytes.len(), 0).unwrap();
        let syn = SynOptions::parse(&bytes, &segment);
        assert_eq!(syn, SynOptions { mss: Some(1460), wscale: Some(14), sack_permitted: true });
        let bytes = header(&[2, 3, 5, 0]);
        let segment = Segment::parse(&bytes, bytes.len(), 0).unwrap();
        assert_eq!(SynOptions::parse(&bytes, &segment).mss, None, "of another length it is not that option");
    }

    proptest! {
        #[test]
        fn no_options_panic(words in proptest::collection::vec(any::<u32>(), 0..10)) {
            let options: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            let bytes = header(&options);
            if let Ok(segment) = Segment::parse(&bytes, bytes.len(), 0) {
                SynOptions::parse(&bytes, &segment);
            }
        }
    }
}
