//! One owned chain of mbufs.
//!
//! The fields are reached by the offsets that the C compiler gave (`WEIR_MBUF_*`): names of rte_mbuf's anonymous unions differ between
//! releases of DPDK, places do not matter to us.

use super::mempool::Mempool;
use crate::{
    limits::SEGMENTS_MAX,
    port::{Checksum, L4, RxMeta, TxOffload, frame::Cursor},
};
use arrayvec::ArrayVec;
use dpdk_sys as sys;
use std::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

/// Owns the first segment and all that follow; gives them back to their pools on drop.
pub(in crate::port) struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an mbuf has no thread of its own; its reference count and its pool's rings are atomic. Whoever owns it may be on any thread.
unsafe impl Send for Mbuf {}

/// One segment of a borrowed chain.
#[derive(Clone, Copy)]
pub(in crate::port) struct MbufCursor<'a>(NonNull<sys::rte_mbuf>, PhantomData<&'a Mbuf>);

/// Reads and writes one field of a segment.
macro_rules! field {
    ($read:ident, $type:ty, $offset:ident) => {
        #[inline]
        fn $read(self) -> $type {
            // SAFETY: `self` points to a live rte_mbuf, the C compiler gave the field's offset and size (u16, u32, u64 or pointer, as
            // the header declares it), and fields are aligned to their size.
            unsafe { self.0.as_ptr().byte_add(sys::$offset as usize).cast::<$type>().read() }
        }
    };
    ($read:ident, $write:ident, $type:ty, $offset:ident) => {
        field!($read, $type, $offset);
        #[inline]
        fn $write(self, value: $type) {
            // SAFETY: as for reading; and the chain's owner is borrowed mutably by whoever calls this.
            unsafe { self.0.as_ptr().byte_add(sys::$offset as usize).cast::<$type>().write(value) }
        }
    };
}

/// A raw view of one segment, for the accessors.
#[derive(Clone, Copy)]
struct Raw(NonNull<sys::rte_mbuf>);

impl Raw {
    field!(buf_addr, *mut u8, WEIR_MBUF_BUF_ADDR);
    field!(data_off, set_data_off, u16, WEIR_MBUF_DATA_OFF);
    field!(data_len, set_data_len, u16, WEIR_MBUF_DATA_LEN);
    field!(pkt_len, set_pkt_len, u32, WEIR_MBUF_PKT_LEN);
    field!(nb_segs, set_nb_segs, u16, WEIR_MBUF_NB_SEGS);
    field!(buf_len, u16, WEIR_MBUF_BUF_LEN);
    field!(ol_flags, set_ol_flags, u64, WEIR_MBUF_OL_FLAGS);
    field!(rss_hash, set_rss_hash, u32, WEIR_MBUF_HASH_RSS);
    field!(next_ptr, set_next_ptr, *mut sys::rte_mbuf, WEIR_MBUF_NEXT);

    fn next(self) -> Option<Self> {
        NonNull::new(self.next_ptr()).map(Self)
    }
    fn last(self) -> Self {
        std::iter::successors(Some(self), |s| s.next()).last().unwrap_or(self)
    }
    /// Whether another mbuf may see the bytes of this segment: it points to another's buffer, or others point to its own.
    #[inline]
    fn is_shared(self) -> bool {
        let elsewhere = sys::WEIR_RTE_MBUF_F_INDIRECT | sys::WEIR_RTE_MBUF_F_EXTERNAL;
        // SAFETY: a live mbuf, whose reference count is 16 bits wide, aligned, and atomic for every other thread too. Who holds
        // the only reference cannot see it grow; when it has shrunk to ours, what the other thread read comes before what we write.
        let count = unsafe { AtomicU16::from_ptr(self.0.as_ptr().byte_add(sys::WEIR_MBUF_REFCNT as usize).cast()) };
        self.ol_flags() & elsewhere != 0 || count.load(Ordering::Acquire) > 1
    }
    #[inline]
    fn data(self) -> *mut u8 {
        // SAFETY: data_off lies within the buffer (DPDK's invariant, kept by every method here).
        unsafe { self.buf_addr().add(usize::from(self.data_off())) }
    }
}

impl<'a> MbufCursor<'a> {
    pub(in crate::port) fn bytes(self) -> &'a [u8] {
        let raw = Raw(self.0);
        // SAFETY: data() points to data_len initialised bytes of the buffer, which stay unwritten while the chain is borrowed for 'a: writing
        // needs `&mut Mbuf`, and a second owner of the same bytes finds them shared and does not write.
        unsafe { std::slice::from_raw_parts(raw.data(), usize::from(raw.data_len())) }
    }
    pub(in crate::port) fn next(self) -> Option<Self> {
        Raw(self.0).next().map(|raw| Self(raw.0, PhantomData))
    }
}

impl Mbuf {
    /// Takes ownership of a chain that DPDK has given us.
    #[inline]
    pub(super) fn own(first: NonNull<sys::rte_mbuf>) -> Self {
        Self(first)
    }
    /// Gives ownership up, for DPDK to take.
    #[inline]
    pub(super) fn into_raw(self) -> *mut sys::rte_mbuf {
        ManuallyDrop::new(self).0.as_ptr()
    }
    /// The pointer while ownership stays.
    #[inline]
    pub(super) fn as_raw(&self) -> *mut sys::rte_mbuf {
        self.0.as_ptr()
    }
    #[inline]
    fn raw(&self) -> Raw {
        Raw(self.0)
    }

    /// Frees many chains with one call for each 64.
    pub(in crate::port) fn free_all(mbufs: impl Iterator<Item = Self>) {
        let mut batch = ArrayVec::<*mut sys::rte_mbuf, 64>::new();
        let free = |batch: &mut ArrayVec<_, 64>| {
            // SAFETY: each pointer was owned by an Mbuf that gave it up, so nobody else frees or uses it.
            unsafe { sys::rte_pktmbuf_free_bulk(batch.as_mut_ptr(), batch.len() as u32) };
            batch.clear();
        };
        for mbuf in mbufs {
            batch.push(mbuf.into_raw());
            if batch.is_full() {
                free(&mut batch);
            }
        }
        if !batch.is_empty() {
            free(&mut batch);
        }
    }

    pub(in crate::port) fn cursor(&self) -> Cursor<'_> {
        Cursor::Mbuf(MbufCursor(self.0, PhantomData))
    }
    #[inline]
    pub(in crate::port) fn len(&self) -> usize {
        self.raw().pkt_len() as usize
    }
    pub(in crate::port) fn segment_count(&self) -> usize {
        usize::from(self.raw().nb_segs())
    }
    #[inline]
    pub(in crate::port) fn head(&self) -> &[u8] {
        MbufCursor(self.0, PhantomData).bytes()
    }
    #[inline]
    pub(in crate::port) fn head_mut(&mut self) -> &mut [u8] {
        let raw = self.raw();
        assert!(!raw.is_shared(), "shared bytes are read-only");
        // SAFETY: as in `bytes`, and no other mbuf sees these bytes (just checked), and this chain is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(raw.data(), usize::from(raw.data_len())) }
    }
    pub(in crate::port) fn headroom(&self) -> usize {
        usize::from(self.raw().data_off())
    }
    pub(in crate::port) fn tailroom(&self) -> usize {
        let last = self.raw().last();
        usize::from(last.buf_len()) - usize::from(last.data_off()) - usize::from(last.data_len())
    }
    /// The caller has looked at `headroom`.
    #[inline]
    pub(in crate::port) fn prepend(&mut self, n: usize) {
        let raw = self.raw();
        assert!(n <= usize::from(raw.data_off()));
        raw.set_data_off(raw.data_off() - n as u16);
        raw.set_data_len(raw.data_len() + n as u16);
        raw.set_pkt_len(raw.pkt_len() + n as u32);
    }
    /// The caller has looked at `tailroom`.
    pub(in crate::port) fn append(&mut self, n: usize) -> &mut [u8] {
        assert!(n <= self.tailroom());
        let last = self.raw().last();
        assert!(!last.is_shared(), "shared bytes are read-only");
        let old = usize::from(last.data_len());
        last.set_data_len((old + n) as u16);
        self.raw().set_pkt_len(self.raw().pkt_len() + n as u32);
        // SAFETY: the n bytes after the old ones lie within the buffer (just checked), are not shared, and this chain is borrowed mutably.
        // They hold what was there before; hugepage and heap memory of a pool is initialised (zeroed when it was mapped).
        unsafe { std::slice::from_raw_parts_mut(last.data().add(old), n) }
    }
    #[inline]
    pub(in crate::port) fn trim_front(&mut self, n: usize) {
        let raw = self.raw();
        assert!(n <= usize::from(raw.data_len()));
        raw.set_data_off(raw.data_off() + n as u16);
        raw.set_data_len(raw.data_len() - n as u16);
        raw.set_pkt_len(raw.pkt_len() - n as u32);
    }
    #[inline]
    pub(in crate::port) fn truncate(&mut self, len: usize) {
        let first = self.raw();
        // Equal cuts empty segments off the end, if there can be any.
        if len > first.pkt_len() as usize || (len == first.pkt_len() as usize && first.nb_segs() == 1) {
            return;
        }
        let mut left = len;
        let mut segment = first;
        let mut count = 1;
        while left > usize::from(segment.data_len()) {
            left -= usize::from(segment.data_len());
            segment = segment.next().expect("pkt_len is the sum of all segments");
            count += 1;
        }
        segment.set_data_len(left as u16);
        let rest = segment.next();
        segment.set_next_ptr(std::ptr::null_mut());
        first.set_nb_segs(count);
        first.set_pkt_len(len as u32);
        // The rest is a chain without a header of its own: freeing walks `next` and needs no other field of it.
        drop(rest.map(|rest| Self(rest.0)));
    }
    pub(in crate::port) fn chain(&mut self, tail: Self) {
        assert!(
            self.segment_count() + tail.segment_count() <= SEGMENTS_MAX,
            "a chain has at most {SEGMENTS_MAX} segments"
        );
        // SAFETY: two live chains, the second of which the first takes over.
        let answer = unsafe { sys::weir_chain(self.as_raw(), tail.into_raw()) };
        assert_eq!(answer, 0, "the number of segments was checked");
    }
    pub(in crate::port) fn share(&self, pool: &Mempool) -> Option<Self> {
        // SAFETY: a live chain, only its reference counts change, and a valid pool. The clone is a chain of its own.
        NonNull::new(unsafe { sys::rte_pktmbuf_clone(self.as_raw(), pool.as_ptr()) }).map(Self)
    }
    pub(in crate::port) fn is_shared(&self) -> bool {
        self.raw().is_shared()
    }

    #[inline]
    pub(in crate::port) fn rx_meta(&self) -> RxMeta {
        let flags = self.raw().ol_flags();
        let ip_checksum = match flags & sys::WEIR_RTE_MBUF_F_RX_IP_CKSUM_MASK {
            sys::WEIR_RTE_MBUF_F_RX_IP_CKSUM_GOOD => Checksum::Good,
            sys::WEIR_RTE_MBUF_F_RX_IP_CKSUM_BAD => Checksum::Bad,
            sys::WEIR_RTE_MBUF_F_RX_IP_CKSUM_NONE => Checksum::Partial,
            _ => Checksum::Unknown,
        };
        let l4_checksum = match flags & sys::WEIR_RTE_MBUF_F_RX_L4_CKSUM_MASK {
            sys::WEIR_RTE_MBUF_F_RX_L4_CKSUM_GOOD => Checksum::Good,
            sys::WEIR_RTE_MBUF_F_RX_L4_CKSUM_BAD => Checksum::Bad,
            sys::WEIR_RTE_MBUF_F_RX_L4_CKSUM_NONE => Checksum::Partial,
            _ => Checksum::Unknown,
        };
        let rss_hash = (flags & sys::WEIR_RTE_MBUF_F_RX_RSS_HASH != 0).then(|| self.raw().rss_hash());
        RxMeta { ip_checksum, l4_checksum, rss_hash }
    }

    pub(in crate::port) fn set_rx_meta(&mut self, meta: RxMeta) {
        let ip = match meta.ip_checksum {
            Checksum::Unknown => 0,
            Checksum::Good => sys::WEIR_RTE_MBUF_F_RX_IP_CKSUM_GOOD,
            Checksum::Bad => sys::WEIR_RTE_MBUF_F_RX_IP_CKSUM_BAD,
            Checksum::Partial => sys::WEIR_RTE_MBUF_F_RX_IP_CKSUM_NONE,
        };
        let l4 = match meta.l4_checksum {
            Checksum::Unknown => 0,
            Checksum::Good => sys::WEIR_RTE_MBUF_F_RX_L4_CKSUM_GOOD,
            Checksum::Bad => sys::WEIR_RTE_MBUF_F_RX_L4_CKSUM_BAD,
            Checksum::Partial => sys::WEIR_RTE_MBUF_F_RX_L4_CKSUM_NONE,
        };
        let hash = if meta.rss_hash.is_some() { sys::WEIR_RTE_MBUF_F_RX_RSS_HASH } else { 0 };
        let said = sys::WEIR_RTE_MBUF_F_RX_IP_CKSUM_MASK
            | sys::WEIR_RTE_MBUF_F_RX_L4_CKSUM_MASK
            | sys::WEIR_RTE_MBUF_F_RX_RSS_HASH;
        self.raw().set_ol_flags(self.raw().ol_flags() & !said | ip | l4 | hash);
        self.raw().set_rss_hash(meta.rss_hash.unwrap_or(0));
    }

    /// The lengths are read only with a flag that asks for something: a driver that refills its ring leaves an earlier frame's behind.
    pub(in crate::port) fn tx_offload(&self) -> TxOffload {
        let flags = self.raw().ol_flags();
        let l4 = match flags & sys::WEIR_RTE_MBUF_F_TX_UDP_CKSUM {
            sys::WEIR_RTE_MBUF_F_TX_UDP_CKSUM => Some(L4::Udp),
            sys::WEIR_RTE_MBUF_F_TX_TCP_CKSUM => Some(L4::Tcp),
            _ => None,
        };
        let (ip_checksum, cuts) =
            (flags & sys::WEIR_RTE_MBUF_F_TX_IP_CKSUM != 0, flags & sys::WEIR_RTE_MBUF_F_TX_TCP_SEG != 0);
        if !ip_checksum && l4.is_none() && !cuts {
            return TxOffload::default();
        }
        // SAFETY: a live mbuf; the function reads a word.
        let lengths = unsafe { sys::weir_tx_lengths(self.as_raw()) };
        TxOffload {
            l2_len: (lengths & 0x7f) as u8,
            l3_len: (lengths >> 7 & 0x1ff) as u16,
            l4_len: if cuts { (lengths >> 16 & 0xff) as u8 } else { 0 },
            ipv6: flags & sys::WEIR_RTE_MBUF_F_TX_IPV6 != 0,
            ip_checksum,
            l4_checksum: l4,
            tso_segment: if cuts { (lengths >> 24 & 0xffff) as u16 } else { 0 },
        }
    }

    pub(in crate::port) fn set_tx_offload(&mut self, offload: TxOffload) {
        let family = if offload.ipv6 { sys::WEIR_RTE_MBUF_F_TX_IPV6 } else { sys::WEIR_RTE_MBUF_F_TX_IPV4 };
        let ip = if offload.ip_checksum { sys::WEIR_RTE_MBUF_F_TX_IP_CKSUM } else { 0 };
        // The UDP value has the TCP value's bits and more: it is a number of two bits, not a set.
        let l4 = match offload.l4_checksum {
            None => 0,
            Some(L4::Tcp) => sys::WEIR_RTE_MBUF_F_TX_TCP_CKSUM,
            Some(L4::Udp) => sys::WEIR_RTE_MBUF_F_TX_UDP_CKSUM,
        };
        let tso = if offload.tso_segment > 0 { sys::WEIR_RTE_MBUF_F_TX_TCP_SEG } else { 0 };
        let any = ip | l4 | tso;
        let asked = sys::WEIR_RTE_MBUF_F_TX_IPV4
            | sys::WEIR_RTE_MBUF_F_TX_IPV6
            | sys::WEIR_RTE_MBUF_F_TX_IP_CKSUM
            | sys::WEIR_RTE_MBUF_F_TX_UDP_CKSUM
            | sys::WEIR_RTE_MBUF_F_TX_TCP_SEG;
        let flags = if any == 0 { 0 } else { family | any };
        self.raw().set_ol_flags(self.raw().ol_flags() & !asked | flags);
        // SAFETY: a live mbuf; the function writes one word of it.
        unsafe {
            sys::weir_set_tx_lengths(
                self.as_raw(),
                offload.l2_len,
                offload.l3_len,
                offload.l4_len,
                offload.tso_segment,
            );
        };
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: this value owns the chain, and ends here. EAL is up: see the module's order of ends.
        unsafe { sys::weir_free(self.0.as_ptr()) };
    }
}
