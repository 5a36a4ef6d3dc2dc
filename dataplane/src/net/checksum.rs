//! The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of all 16-bit words.

use crate::port::Frame;
use std::net::IpAddr;

/// A sum in progress, not folded. Words are added as they lie in memory, in the machine's own order; RFC 1071 section 2 (B) shows
/// that the byte order does not matter until the end.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sum(u64);

impl Sum {
    // A sum of bytes, not of two values of one type, which the trait would be about.
    #[allow(clippy::should_implement_trait)]
    /// Adds bytes that begin at an even offset of what is summed. An odd last byte is padded with zero.
    #[inline]
    pub fn add(mut self, bytes: &[u8]) -> Self {
        // Halves of 64-bit words into a 64-bit sum: 2^31 words before a carry is lost.
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.add_word(u64::from_ne_bytes(*word.first_chunk().expect("8 bytes")));
        }
        let mut rest = words.remainder();
        if let Some((four, after)) = rest.split_first_chunk::<4>() {
            self.0 += u64::from(u32::from_ne_bytes(*four));
            rest = after;
        }
        if let Some((two, after)) = rest.split_first_chunk::<2>() {
            self.0 += u64::from(u16::from_ne_bytes(*two));
            rest = after;
        }
        if let [last] = rest {
            self.0 += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        self
    }

    #[inline]
    fn add_word(&mut self, word: u64) {
        self.0 += (word >> 32) + (word & 0xffff_ffff);
    }

    /// Adds one word of the packet.
    #[inline]
    pub fn add_u16(mut self, word: u16) -> Self {
        self.0 += u64::from(word.to_be()); // as it lies in memory
        self
    }

    /// Adds another sum whose bytes began at an even offset.
    #[inline]
    pub fn join(mut self, other: Self) -> Self {
        // Both are far from the end of 64 bits: each has added fewer than 2^20 words of 32 bits.
        self.0 += other.0;
        self
    }

    /// Adds a word of eight bytes in the packet's order.
    #[inline]
    pub fn add_u64(mut self, word: u64) -> Self {
        self.add_word(word.to_be());
        self
    }

    /// Adds another sum whose bytes began at an odd offset.
    fn add_swapped(self, other: Self) -> Self {
        self.add_u16(u16::from_be(other.folded()).swap_bytes())
    }

    /// The header that TCP, UDP and ICMPv6 sum with their own (RFC 9293 section 3.1, RFC 8200 section 8.1).
    #[inline]
    pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: u32) -> Self {
        let addresses = match (source, destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => Self::default().add(&s.octets()).add(&d.octets()),
            (IpAddr::V6(s), IpAddr::V6(d)) => Self::default().add(&s.octets()).add(&d.octets()),
            _ => unreachable!("both addresses of a packet are of one family"),
        };
        addresses.add(&len.to_be_bytes()).add_u16(u16::from(protocol))
    }

    /// Adds a frame's bytes from `offset` on, through all segments.
    #[inline(always)]
    pub fn add_frame(mut self, frame: &Frame, offset: usize) -> Self {
        if frame.segment_count() == 1 {
            return self.add(&frame.head()[offset..]);
        }
        let mut skip = offset;
        let mut odd = false;
        for segment in frame.segments() {
            if skip >= segment.len() {
                skip -= segment.len();
                continue;
            }
            let bytes = &segment[std::mem::take(&mut skip)..];
            self = if odd { self.add_swapped(Self::default().add(bytes)) } else { self.add(bytes) };
            odd ^= bytes.len() % 2 == 1;
        }
        self
    }

    /// Down to 16 bits, in the machine's order.
    #[inline(always)]
    fn folded(self) -> u16 {
        // Each addition to itself, halves exchanged, leaves the folded sum in the upper half, its end-around carry included.
        let sum = self.0.wrapping_add(self.0.rotate_left(32)) >> 32;
        let sum = (sum as u32).wrapping_add((sum as u32).rotate_left(16)) >> 16;
        sum as u16
    }

    /// The value for the checksum field.
    #[inline]
    pub fn checksum(self) -> u16 {
        !u16::from_be(self.folded())
    }

    /// What a half-made checksum holds: the sum itself, not yet inverted.
    pub fn partial(self) -> u16 {
        u16::from_be(self.folded())
    }

    /// Whether bytes with their checksum among them are intact.
    #[inline]
    pub fn is_valid(self) -> bool {
        self.folded() == 0xffff
    }
}

/// The checksum after one word of what it covers has changed (RFC 1624 equation 3). Of bytes that are then all zero it is wrong: 0 for
/// 0xffff.
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum >> 16) + (sum & 0xffff);
    !((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Pool;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, word by word.
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_rfcs_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]; // RFC 1071 section 3
        assert_eq!(Sum::default().add(&bytes).checksum(), !0xddf2);
        assert_eq!(Sum::default().add(&[]).checksum(), 0xffff);
        assert!(Sum::default().add(&bytes).add_u16(!0xddf2).is_valid());
    }

    proptest! {
        #[test]
        fn fast_is_slow(bytes: Vec<u8>) {
            prop_assert_eq!(Sum::default().add(&bytes).checksum(), by_the_book(&bytes));
        }

        #[test]
        fn a_chain_sums_like_one_buffer(bytes in proptest::collection::vec(any::<u8>(), 1..300), a in 0usize..300, b in 0usize..300, skip in 0usize..300) {
            let (a, b, skip) = (a.min(bytes.len()), b.min(bytes.len()), skip.min(bytes.len()));
            let (a, b) = (a.min(b), a.max(b));
            let pool = Pool::heap(3);
            let piece = |bytes: &[u8]| { let mut f = pool.alloc().unwrap(); f.append_slice(bytes).unwrap(); f };
            let mut frame = piece(&bytes[..a]);
            frame.chain(piece(&bytes[a..b]));
            frame.chain(piece(&bytes[b..]));
            prop_assert_eq!(Sum::default().add_frame(&frame, skip).checksum(), by_the_book(&bytes[skip..]));
        }

        #[test]
        fn an_update_equals_summing_again(mut bytes in proptest::collection::vec(any::<u8>(), 4..64), new: u16) {
            bytes.truncate(bytes.len() / 2 * 2);
            // RFC 1624 section 3: ones' complement has two zeros; a sum of zero occurs only if all bytes are.
            prop_assume!(bytes[2..].iter().any(|&b| b != 0) && new != 0);
            let before = Sum::default().add(&bytes).checksum();
            let old = u16::from_be_bytes([bytes[0], bytes[1]]);
            bytes[..2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), Sum::default().add(&bytes).checksum());
        }
    }
}
