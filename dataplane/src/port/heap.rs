//! Frames in ordinary memory: what the simulator, the tests and the machines without DPDK use. They behave like mbufs down to
//! the accounting: a fixed number of buffers, one for each segment and one more for each share, given back on drop.

use super::frame::{Checksum, Cursor, Frame, Inner, RxMeta, TxOffload};
use crate::limits::{FRAME_ROOM, HEADROOM, SEGMENTS_MAX};
use crossbeam_queue::ArrayQueue;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Where frames come from: a fixed number of buffers of one worker. Cheap to clone; clones are the same pool.
#[derive(Clone)]
pub struct Pool(PoolInner);

#[derive(Clone)]
enum PoolInner {
    Heap(Arc<Owner>),
    #[cfg(feature = "dpdk")]
    Mempool(super::dpdk::Mempool),
}

/// The last clone of a heap [`Pool`] closes it, so that the cycle pool -> free segment -> pool ends.
struct Owner(Arc<Core>);

pub(super) struct Core {
    capacity: usize,
    in_use: AtomicUsize,
    free: ArrayQueue<Box<Segment>>,
    closed: AtomicBool,
}

impl Pool {
    /// A pool of `capacity` buffers in ordinary memory; they are made as they are first needed.
    pub fn heap(capacity: usize) -> Self {
        let free = ArrayQueue::new(capacity.max(1));
        let core = Core { capacity, in_use: AtomicUsize::new(0), free, closed: AtomicBool::new(false) };
        Self(PoolInner::Heap(Arc::new(Owner(Arc::new(core)))))
    }

    /// A pool over DPDK's memory.
    #[cfg(feature = "dpdk")]
    pub(super) fn over(mempool: super::dpdk::Mempool) -> Self {
        Self(PoolInner::Mempool(mempool))
    }

    #[cfg(feature = "dpdk")]
    pub(super) fn mempool(&self) -> Option<&super::dpdk::Mempool> {
        match &self.0 {
            PoolInner::Mempool(mempool) => Some(mempool),
            PoolInner::Heap(_) => None,
        }
    }

    pub(super) fn heap_core(&self) -> Option<&Arc<Core>> {
        match &self.0 {
            PoolInner::Heap(owner) => Some(&owner.0),
            #[cfg(feature = "dpdk")]
            PoolInner::Mempool(_) => None,
        }
    }

    /// An empty frame with [`HEADROOM`] before it; `None` when all buffers are in use.
    pub fn alloc(&self) -> Option<Frame> {
        match &self.0 {
            PoolInner::Heap(owner) => HeapFrame::alloc(&owner.0).map(|f| Frame(Inner::Heap(f))),
            #[cfg(feature = "dpdk")]
            PoolInner::Mempool(mempool) => mempool.alloc().map(|f| Frame(Inner::Mbuf(f))),
        }
    }

    /// How many buffers there are.
    pub fn capacity(&self) -> usize {
        match &self.0 {
            PoolInner::Heap(owner) => owner.0.capacity,
            #[cfg(feature = "dpdk")]
            PoolInner::Mempool(mempool) => mempool.capacity(),
        }
    }

    /// How many of them are in use: in frames, in rings, or shared. Costs a walk over caches under DPDK; not for each frame.
    pub fn in_use(&self) -> usize {
        match &self.0 {
            PoolInner::Heap(owner) => owner.0.in_use.load(Ordering::Relaxed),
            #[cfg(feature = "dpdk")]
            PoolInner::Mempool(mempool) => mempool.in_use(),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        while self.0.free.pop().is_some() {}
    }
}

/// Bytes with an owner or more. They count in their pool until the last one ends, as an mbuf's do.
struct Buffer {
    bytes: Box<[u8]>,
    home: Arc<Core>,
    /// In use; not while it waits in the pool for its next use.
    counts: bool,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.counts {
            self.home.in_use.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// One buffer, or a view of a shared one, and the rest of the chain.
pub(super) struct Segment {
    buffer: Arc<Buffer>,
    start: usize,
    len: usize,
    next: Option<Box<Segment>>,
    rx: RxMeta,
    tx: TxOffload,
    /// A share counts once more, in the pool that it was made from.
    shared_from: Option<Arc<Core>>,
}

impl Segment {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer.bytes[self.start..self.start + self.len]
    }
    pub(super) fn next(&self) -> Option<&Self> {
        self.next.as_deref()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(self.shared_from.is_none(), "shared bytes are read-only");
        let buffer = Arc::get_mut(&mut self.buffer).expect("shared bytes are read-only");
        &mut buffer.bytes[self.start..self.start + self.len]
    }
    fn last_mut(mut self: &mut Self) -> &mut Self {
        while self.next.is_some() {
            self = self.next.as_mut().expect("just looked");
        }
        self
    }
}

impl Core {
    /// Counts one more buffer in use, unless all are.
    fn claim(&self) -> bool {
        self.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.capacity).then_some(n + 1)).is_ok()
    }
}

/// An owned, non-empty chain of segments. `None` only while it is being dropped.
pub(super) struct HeapFrame(Option<Box<Segment>>);

impl HeapFrame {
    fn alloc(core: &Arc<Core>) -> Option<Self> {
        if !core.claim() {
            return None;
        }
        let mut segment = core.free.pop().unwrap_or_else(|| {
            let bytes = std::iter::repeat_n(0, HEADROOM + FRAME_ROOM).collect();
            let buffer = Arc::new(Buffer { bytes, home: Arc::clone(core), counts: false });
            let (rx, tx) = Default::default();
            Box::new(Segment { buffer, start: HEADROOM, len: 0, next: None, rx, tx, shared_from: None })
        });
        Arc::get_mut(&mut segment.buffer).expect("a free buffer has no owner but the pool").counts = true;
        Some(Self(Some(segment)))
    }

    fn first(&self) -> &Segment {
        self.0.as_ref().expect("a frame has a first segment")
    }
    fn first_mut(&mut self) -> &mut Segment {
        self.0.as_mut().expect("a frame has a first segment")
    }
    fn last(&self) -> &Segment {
        let mut segment = self.first();
        while let Some(next) = segment.next() {
            segment = next;
        }
        segment
    }

    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor::Heap(self.first())
    }
    pub(super) fn len(&self) -> usize {
        std::iter::successors(Some(self.first()), |s| s.next()).map(|s| s.len).sum()
    }
    pub(super) fn segment_count(&self) -> usize {
        std::iter::successors(Some(self.first()), |s| s.next()).count()
    }
    pub(super) fn head(&self) -> &[u8] {
        self.first().bytes()
    }
    pub(super) fn head_mut(&mut self) -> &mut [u8] {
        self.first_mut().bytes_mut()
    }
    pub(super) fn headroom(&self) -> usize {
        self.first().start
    }
    pub(super) fn tailroom(&self) -> usize {
        let last = self.last();
        last.buffer.bytes.len() - last.start - last.len
    }
    pub(super) fn prepend(&mut self, n: usize) {
        let first = self.first_mut();
        first.start -= n;
        first.len += n;
    }
    pub(super) fn append(&mut self, n: usize) -> &mut [u8] {
        let last = self.first_mut().last_mut();
        last.len += n;
        let old = last.len - n;
        &mut last.bytes_mut()[old..]
    }
    pub(super) fn trim_front(&mut self, n: usize) {
        let first = self.first_mut();
        first.start += n;
        first.len -= n;
    }
    pub(super) fn truncate(&mut self, len: usize) {
        let mut left = len;
        let mut segment = self.first_mut();
        loop {
            segment.len = segment.len.min(left);
            left -= segment.len;
            if left == 0 {
                drop(Self(segment.next.take()));
                return;
            }
            match &mut segment.next {
                Some(next) => segment = next,
                None => return,
            }
        }
    }
    pub(super) fn chain(&mut self, mut tail: Self) {
        assert!(
            self.segment_count() + tail.segment_count() <= SEGMENTS_MAX,
            "a chain has at most {SEGMENTS_MAX} segments"
        );
        self.first_mut().last_mut().next = tail.0.take();
    }
    pub(super) fn share(&self, core: &Arc<Core>) -> Option<Self> {
        let mut shared: Option<Self> = None;
        for segment in std::iter::successors(Some(self.first()), |s| s.next()) {
            if !core.claim() {
                return None; // what was shared so far is given back by its drop
            }
            let copy = Segment {
                buffer: Arc::clone(&segment.buffer),
                start: segment.start,
                len: segment.len,
                next: None,
                rx: segment.rx,
                tx: segment.tx,
                shared_from: Some(Arc::clone(core)),
            };
            let copy = Self(Some(Box::new(copy)));
            match &mut shared {
                None => shared = Some(copy),
                Some(head) => head.chain(copy),
            }
        }
        shared
    }
    pub(super) fn is_shared(&self) -> bool {
        // A share stays one when the frame that it was made from has ended, as an mbuf that points to another's buffer does.
        self.first().shared_from.is_some() || Arc::strong_count(&self.first().buffer) > 1
    }
    pub(super) fn rx_meta(&self) -> RxMeta {
        self.first().rx
    }
    pub(super) fn set_rx_meta(&mut self, meta: RxMeta) {
        self.first_mut().rx = meta;
    }
    pub(super) fn tx_offload(&self) -> TxOffload {
        self.first().tx
    }
    pub(super) fn set_tx_offload(&mut self, offload: TxOffload) {
        self.first_mut().tx = offload;
    }
}

impl Drop for HeapFrame {
    fn drop(&mut self) {
        let mut rest = self.0.take();
        while let Some(mut segment) = rest {
            rest = segment.next.take();
            if let Some(core) = segment.shared_from.take() {
                core.in_use.fetch_sub(1, Ordering::Relaxed);
            }
            // The last owner of the bytes gives them back to their pool; an earlier one only lets go.
            let Some(buffer) = Arc::get_mut(&mut segment.buffer) else { continue };
            if !buffer.home.closed.load(Ordering::Acquire) {
                buffer.counts = false;
                let home = Arc::clone(&buffer.home);
                home.in_use.fetch_sub(1, Ordering::Relaxed);
                segment.start = HEADROOM;
                segment.len = 0;
                segment.rx = RxMeta { ip_checksum: Checksum::Unknown, l4_checksum: Checksum::Unknown, rss_hash: None };
                segment.tx = TxOffload::default();
                let _ = home.free.push(segment); // full: then this one is freed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(pool: &Pool, bytes: &[u8]) -> Frame {
        let mut frame = pool.alloc().unwrap();
        frame.append_slice(bytes).unwrap();
        frame
    }

    #[test]
    fn room_is_taken_and_given_at_both_ends() {
        let pool = Pool::heap(4);
        let mut f = frame(&pool, b"payload");
        assert_eq!((f.headroom(), f.tailroom()), (HEADROOM, FRAME_ROOM - 7));
        f.prepend(3).unwrap()[..3].copy_from_slice(b"hdr");
        assert_eq!(f.head(), b"hdrpayload");
        f.trim_front(5);
        assert_eq!(f.head(), b"yload");
        f.truncate(2);
        assert_eq!((f.head(), f.len()), (&b"yl"[..], 2));
        assert_eq!(f.prepend(HEADROOM + 6).err(), Some(crate::port::NoRoom));
        assert_eq!(f.append(FRAME_ROOM).err(), Some(crate::port::NoRoom));
        assert_eq!(f.head(), b"yl", "what does not fit changes nothing");
    }

    #[test]
    fn a_chain_is_one_frame() {
        let pool = Pool::heap(8);
        let mut f = frame(&pool, b"one");
        f.chain(frame(&pool, b"two"));
        f.chain(frame(&pool, b"three"));
        assert_eq!((f.to_vec(), f.segment_count(), pool.in_use()), (b"onetwothree".to_vec(), 3, 3));
        f.append_slice(b"!").unwrap();
        f.truncate(5);
        assert_eq!((f.to_vec(), f.segment_count(), pool.in_use()), (b"onetw".to_vec(), 2, 2));
        drop(f);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn shares_count_and_the_last_one_recycles() {
        let pool = Pool::heap(2);
        let f = frame(&pool, b"bytes");
        let mut g = f.share(&pool).unwrap();
        assert!(f.is_shared() && g.is_shared());
        assert!(pool.alloc().is_none() && f.share(&pool).is_none(), "a share takes a buffer of the pool");
        g.trim_front(2);
        assert_eq!((f.head(), g.head()), (&b"bytes"[..], &b"tes"[..]), "each has its own bounds");
        drop(f);
        assert!(g.is_shared());
        assert_eq!(pool.in_use(), 2, "the bytes are another's buffer, which stays");
        drop(g);
        assert_eq!(pool.in_use(), 0);
        assert_eq!(pool.alloc().unwrap().headroom(), HEADROOM, "recycled as new");
    }

    #[test]
    #[should_panic(expected = "shared bytes are read-only")]
    fn writing_to_shared_bytes_panics() {
        let pool = Pool::heap(2);
        let mut f = frame(&pool, b"bytes");
        let _g = f.share(&pool);
        f.head_mut()[0] = 0;
    }

    #[test]
    fn frames_may_outlive_their_pool() {
        let pool = Pool::heap(3);
        let (f, g) = (frame(&pool, b"late"), frame(&pool, b"early"));
        drop(g);
        drop(pool);
        assert_eq!(f.head(), b"late");
    }
}
