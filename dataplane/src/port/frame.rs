//! One concrete buffer for both worlds: an mbuf under DPDK, heap memory in the simulator.
//!
//! ```text
//!   |<- headroom ->|<------- bytes ------>|<- tailroom ->|
//!   +--------------+----------------------+--------------+
//!   |   prepend <--|--> trim_front        |--> append    |      and so on through next, next, ...
//!   +--------------+----------------------+--------------+
//! ```
//!
//! A frame owns its buffers; dropping it gives them back to their pool. [`Frame::share`] makes a second frame over the same
//! bytes by reference count; while bytes are shared they are read-only, so writing to them panics (a fault of ours,
//! never of the network's).

use super::heap::{HeapFrame, Pool};

/// An owned chain of buffers.
pub struct Frame(pub(super) Inner);

pub(super) enum Inner {
    Heap(HeapFrame),
    #[cfg(feature = "dpdk")]
    Mbuf(super::dpdk::Mbuf),
}

/// Runs one body on whichever kind of buffer it is.
macro_rules! either {
    ($frame:expr, $inner:ident => $body:expr) => {
        match $frame {
            Inner::Heap($inner) => $body,
            #[cfg(feature = "dpdk")]
            Inner::Mbuf($inner) => $body,
        }
    };
}

/// There is not that much room before or after the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

/// What a device says about a checksum that it looked at.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Checksum {
    /// Nothing: check it in software.
    #[default]
    Unknown,
    /// It is right.
    Good,
    /// It is wrong. Devices err, so we look again before we believe it.
    Bad,
    /// It is not there, but the bytes were not corrupted: the sender's kernel left it to a device that does not exist.
    Partial,
}

/// What a device says about a received frame.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RxMeta {
    /// The IPv4 header's checksum.
    pub ip_checksum: Checksum,
    /// The TCP or UDP checksum.
    pub l4_checksum: Checksum,
    /// The flow's hash, where the device gives it.
    pub rss_hash: Option<u32>,
}

/// A transport whose checksum a device can fill in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum L4 {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// What the device shall do with a frame when it sends it. The checksum fields must hold what the device expects there: zero for IPv4,
/// the pseudo-header's sum for TCP and UDP.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TxOffload {
    /// Bytes of the Ethernet header with its tag.
    pub l2_len: u8,
    /// Bytes of the IP header with options or extensions.
    pub l3_len: u16,
    /// Bytes of the transport header; for `tso_segment` only.
    pub l4_len: u8,
    /// The packet is IPv6.
    pub ipv6: bool,
    /// Fill in the IPv4 header's checksum.
    pub ip_checksum: bool,
    /// Fill in the transport's checksum.
    pub l4_checksum: Option<L4>,
    /// Cut into TCP segments with this many bytes of payload; 0: leave whole.
    pub tso_segment: u16,
}

impl Frame {
    /// Bytes in all segments.
    #[inline]
    pub fn len(&self) -> usize {
        either!(&self.0, f => f.len())
    }
    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The first segment's bytes.
    #[inline]
    pub fn head(&self) -> &[u8] {
        either!(&self.0, f => f.head())
    }
    /// The first segment's bytes, to write to.
    ///
    /// # Panics
    /// When the bytes are shared.
    #[inline]
    pub fn head_mut(&mut self) -> &mut [u8] {
        either!(&mut self.0, f => f.head_mut())
    }
    /// Reads the cache lines that sending or freeing a frame needs, for whoever looks at many frames at once: the misses then overlap. What is
    /// read means nothing.
    #[inline]
    pub fn touch(&self) -> u64 {
        self.segments().take(2).map(|bytes| bytes.first().copied().map_or(0, u64::from)).sum()
    }
    /// Each segment's bytes, in order.
    pub fn segments(&self) -> Segments<'_> {
        Segments(Some(either!(&self.0, f => f.cursor())))
    }
    /// How many segments there are.
    #[inline]
    pub fn segment_count(&self) -> usize {
        either!(&self.0, f => f.segment_count())
    }
    /// Room before the first byte.
    pub fn headroom(&self) -> usize {
        either!(&self.0, f => f.headroom())
    }
    /// Room after the last byte.
    pub fn tailroom(&self) -> usize {
        either!(&self.0, f => f.tailroom())
    }
    /// Makes the first segment `n` bytes longer at its front and gives it whole; the new bytes hold what was there before.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Result<&mut [u8], NoRoom> {
        if n > self.headroom() {
            return Err(NoRoom);
        }
        either!(&mut self.0, f => f.prepend(n));
        Ok(self.head_mut())
    }
    /// Makes the last segment `n` bytes longer at its end and gives the new bytes, which hold what was there before.
    pub fn append(&mut self, n: usize) -> Result<&mut [u8], NoRoom> {
        if n > self.tailroom() {
            return Err(NoRoom);
        }
        Ok(either!(&mut self.0, f => f.append(n)))
    }
    /// Appends a copy of `bytes`.
    pub fn append_slice(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.append(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
    /// Cuts `n` bytes from the front of the first segment.
    ///
    /// # Panics
    /// When the first segment is shorter.
    #[inline]
    pub fn trim_front(&mut self, n: usize) {
        assert!(n <= self.head().len(), "trim_front stays within the first segment");
        either!(&mut self.0, f => f.trim_front(n));
    }
    /// Cuts everything after the first `len` bytes; segments that become empty are freed.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        either!(&mut self.0, f => f.truncate(len));
    }
    /// Appends another frame's segments by reference.
    ///
    /// # Panics
    /// When the two come from different worlds, which no program mixes.
    pub fn chain(&mut self, tail: Self) {
        match (&mut self.0, tail.0) {
            (Inner::Heap(head), Inner::Heap(tail)) => head.chain(tail),
            #[cfg(feature = "dpdk")]
            (Inner::Mbuf(head), Inner::Mbuf(tail)) => head.chain(tail),
            #[cfg(feature = "dpdk")]
            _ => panic!("a chain of mbufs and heap buffers"),
        }
    }
    /// A second frame over the same bytes, which it can only read, and so can the first while the second lives; `None` when `pool` is empty. Each segment counts as one
    /// more buffer of the pool.
    pub fn share(&self, pool: &Pool) -> Option<Self> {
        match &self.0 {
            Inner::Heap(f) => f.share(pool.heap_core()?).map(|f| Self(Inner::Heap(f))),
            #[cfg(feature = "dpdk")]
            Inner::Mbuf(f) => f.share(pool.mempool()?).map(|f| Self(Inner::Mbuf(f))),
        }
    }
    /// Whether any other frame can see the first segment's bytes.
    pub fn is_shared(&self) -> bool {
        either!(&self.0, f => f.is_shared())
    }
    /// What the device said when the frame arrived.
    #[inline]
    pub fn rx_meta(&self) -> RxMeta {
        either!(&self.0, f => f.rx_meta())
    }
    /// Says it in the device's place (the simulator does).
    pub fn set_rx_meta(&mut self, meta: RxMeta) {
        either!(&mut self.0, f => f.set_rx_meta(meta));
    }
    /// What the device shall do when it sends the frame.
    pub fn tx_offload(&self) -> TxOffload {
        either!(&self.0, f => f.tx_offload())
    }
    /// Asks the device to do it.
    pub fn set_tx_offload(&mut self, offload: TxOffload) {
        either!(&mut self.0, f => f.set_tx_offload(offload));
    }
    /// Frees many frames; under DPDK with one call into the pool.
    pub fn free_all<const N: usize>(frames: &mut arrayvec::ArrayVec<Self, N>) {
        #[cfg(feature = "dpdk")]
        super::dpdk::Mbuf::free_all(frames.drain(..).filter_map(|frame| match frame.0 {
            Inner::Mbuf(mbuf) => Some(mbuf),
            Inner::Heap(_) => None,
        }));
        frames.clear();
    }
    /// All bytes in one new vector; for tests and captures.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.segments().for_each(|s| bytes.extend_from_slice(s));
        bytes
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} bytes in {} segments)", self.len(), self.segment_count())
    }
}

/// A frame's segments, in order.
pub struct Segments<'a>(Option<Cursor<'a>>);

pub(super) enum Cursor<'a> {
    Heap(&'a super::heap::Segment),
    #[cfg(feature = "dpdk")]
    Mbuf(super::dpdk::MbufCursor<'a>),
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self.0.take()? {
            Cursor::Heap(segment) => {
                self.0 = segment.next().map(Cursor::Heap);
                Some(segment.bytes())
            }
            #[cfg(feature = "dpdk")]
            Cursor::Mbuf(cursor) => {
                self.0 = cursor.next().map(Cursor::Mbuf);
                Some(cursor.bytes())
            }
        }
    }
}
