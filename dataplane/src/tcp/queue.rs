//! Bytes that the application has given: by reference to its frames, in order, until the peer has acknowledged them.
//!
//! ```text
//!    chunk: frame of n bytes (the first one may be a copy), begins at a sequence number
//!   [   a   ][ b ][      c      ] ...
//!      ^ acknowledged up to here: `a` goes when it is acknowledged to its end
//! ```

use super::{deque::Deque, seq::Seq};
use crate::{
    limits::{SEGMENTS_MAX, TCP_COPY_MAX},
    outbox::Outbox,
    port::Frame,
};

struct Chunk {
    seq: Seq,
    len: u32,
    bytes: Bytes,
}

enum Bytes {
    Frame(Frame),
    /// What was a lone segment, whose frame has gone.
    Copy(Box<[u8]>),
}

/// What one connection has to send, or to send again.
#[derive(Default)]
pub(super) struct SendQueue {
    chunks: Deque<Chunk>,
}

impl SendQueue {
    pub(super) fn frames(&self) -> usize {
        let is_copy = |chunk: &Chunk| matches!(chunk.bytes, Bytes::Copy(_));
        self.chunks.len() - usize::from(self.chunks.front().is_some_and(is_copy))
    }

    /// Begins with bytes that have left already.
    pub(super) fn begin_with(&mut self, seq: Seq, bytes: &[u8]) {
        debug_assert!(self.chunks.is_empty());
        self.chunks.push_back(Chunk { seq, len: bytes.len() as u32, bytes: Bytes::Copy(bytes.into()) });
    }

    /// Appends a frame's bytes as those from `seq` on. `unsent`: none of the last chunk's bytes has left, so that a small frame can join it.
    pub(super) fn push(&mut self, seq: Seq, frame: Frame, unsent: bool, out: &mut Outbox) {
        let len = frame.len() as u32;
        if unsent
            && len as usize <= TCP_COPY_MAX
            && let Some(Chunk { len: last_len, bytes: Bytes::Frame(last), .. }) = self.chunks.back_mut()
            && last.segment_count() == 1
            && last.tailroom() >= len as usize
            && !last.is_shared()
        {
            for segment in frame.segments() {
                last.append_slice(segment).expect("there is room for all of it");
            }
            *last_len += len;
            out.consume(frame);
            return;
        }
        self.chunks.push_back(Chunk { seq, len, bytes: Bytes::Frame(frame) });
    }

    /// Lets go of everything before `una`.
    #[inline]
    pub(super) fn acknowledge(&mut self, una: Seq, out: &mut Outbox) {
        while let Some(chunk) = self.chunks.front()
            && (chunk.seq + chunk.len).up_to(una)
        {
            self.chunks.pop_front().expect("just looked").bytes.end(out);
        }
    }

    /// Lets go of everything.
    pub(super) fn discard(&mut self, out: &mut Outbox) {
        while let Some(chunk) = self.chunks.pop_front() {
            chunk.bytes.end(out);
        }
    }

    /// A frame with room for headers and `len` bytes from `seq` on, or as many of them as fit one; `None` when the pool is empty. Long pieces are
    /// taken by reference where the port can send from several places, short ones and all others are copied.
    pub(super) fn gather(&self, seq: Seq, len: u32, segments: bool, out: &mut Outbox) -> Option<Frame> {
        let first = self.chunk_at(seq)?;
        let by_reference = segments && len as usize > TCP_COPY_MAX;
        let mut frame = out.make()?;
        let (mut at, mut end) = (seq, seq + len);
        if !by_reference {
            end = end.min(seq + frame.tailroom() as u32);
        }
        for index in first..self.chunks.len() {
            let chunk = &self.chunks[index];
            let skip = (at - chunk.seq) as usize;
            let mut n = ((chunk.seq + chunk.len).min(end) - at) as usize;
            if !by_reference {
                chunk.bytes.copy_into(&mut frame, skip, n);
            } else if !chunk.bytes.share_into(&mut frame, skip, n, out) {
                // What cannot be shared is copied, if nothing comes before it.
                if !frame.is_empty() {
                    break;
                }
                n = n.min(frame.tailroom());
                chunk.bytes.copy_into(&mut frame, skip, n);
                end = at + n as u32;
            }
            at += n as u32;
            if at == end {
                break;
            }
        }
        if frame.is_empty() {
            out.consume(frame);
            return None;
        }
        Some(frame)
    }

    /// The chunk that holds `seq`.
    #[inline]
    fn chunk_at(&self, seq: Seq) -> Option<usize> {
        let holds = |chunk: &Chunk| seq.within(chunk.seq, chunk.len);
        // Mostly it is the first (something is sent again, or there is but one) or the last (something new is sent).
        let last = self.chunks.len().checked_sub(1)?;
        if holds(&self.chunks[0]) {
            return Some(0);
        }
        if holds(&self.chunks[last]) {
            return Some(last);
        }
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = (low + high) / 2;
            if self.chunks[middle].seq.up_to(seq) && !holds(&self.chunks[middle]) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        holds(&self.chunks[low]).then_some(low)
    }
}

impl Bytes {
    fn end(self, out: &mut Outbox) {
        if let Self::Frame(frame) = self {
            out.consume(frame);
        }
    }

    /// Chains `n` bytes from `skip` on, by reference. Says whether that could be done.
    fn share_into(&self, frame: &mut Frame, skip: usize, n: usize, out: &Outbox) -> bool {
        let Self::Frame(from) = self else { return false };
        if frame.segment_count() + from.segment_count() > SEGMENTS_MAX || skip > from.head().len() {
            return false;
        }
        let Some(mut piece) = from.share(&out.pool) else { return false };
        piece.trim_front(skip);
        piece.truncate(n);
        frame.chain(piece);
        true
    }

    fn copy_into(&self, frame: &mut Frame, mut skip: usize, mut n: usize) {
        let mut copy = |bytes: &[u8]| {
            let start = skip.min(bytes.len());
            let end = (start + n).min(bytes.len());
            frame.append_slice(&bytes[start..end]).expect("the caller has looked for room");
            skip -= start;
            n -= end - start;
            n > 0
        };
        match self {
            Self::Frame(from) => {
                let _ = from.segments().all(&mut copy);
            }
            Self::Copy(bytes) => {
                copy(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Pool;
    use proptest::prelude::*;

    #[test]
    fn small_frames_join_while_nothing_has_left() {
        let mut out = Outbox::new(Pool::heap(8), 1, true);
        let mut queue = SendQueue::default();
        for (i, bytes) in [b"ab", b"cd", b"ef"].into_iter().enumerate() {
            let mut frame = out.make().unwrap();
            frame.append_slice(bytes).unwrap();
            queue.push(Seq(i as u32 * 2), frame, i < 2, &mut out);
        }
        assert_eq!(queue.frames(), 2);
        let frame = queue.gather(Seq(1), 4, false, &mut out).unwrap();
        assert_eq!(frame.to_vec(), b"bcde");
        out.consume(frame);
        queue.discard(&mut out);
        out.free_discards();
        assert_eq!(out.pool.in_use(), 0);
    }

    proptest! {
        #[test]
        fn every_range_comes_out_as_it_went_in(
            start: u32, lens in proptest::collection::vec(1usize..1500, 1..12), from in 0u32..15_000, len in 1u32..3_000, segments: bool, una in 0u32..15_000,
        ) {
            let mut out = Outbox::new(Pool::heap(64), 1, true);
            let mut queue = SendQueue::default();
            let mut all = Vec::new();
            for len in lens {
                let bytes: Vec<u8> = (0..len).map(|i| (all.len() + i) as u8 ^ ((all.len() + i) >> 8) as u8).collect();
                let mut frame = out.make().unwrap();
                frame.append_slice(&bytes).unwrap();
                queue.push(Seq(start) + all.len() as u32, frame, false, &mut out);
                all.extend(bytes);
            }
            let una = una.min(all.len() as u32);
            queue.acknowledge(Seq(start) + una, &mut out);
            let (from, end) = (from.max(una) as usize, (from.max(una) + len) as usize);
            let got = queue.gather(Seq(start) + from as u32, len, segments, &mut out);
            if from < all.len() {
                let got = got.unwrap();
                let bytes = got.to_vec();
                prop_assert_eq!(&bytes[..], &all[from..(from + bytes.len())]);
                prop_assert!(bytes.len() == end.min(all.len()) - from || bytes.len() >= 1500);
                out.consume(got);
            } else {
                prop_assert!(got.is_none());
            }
            queue.discard(&mut out);
            out.free_discards();
            prop_assert_eq!(out.pool.in_use(), 0);
        }
    }
}
