//! The bytes that are held: lists of pieces in order, and the worker's budget for them.

use crate::{
    counters::Counter,
    drops::Drop,
    limits::{TCP_ASSEMBLER_BYTES, TCP_COPY_MAX, TCP_HELD_BYTES_MAX, TCP_PIECE_BYTES},
    outbox::Outbox,
    port::Frame,
};

/// The end of a list.
const NIL: u32 = u32::MAX;

/// Contiguous bytes: indices of the first and the last piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { first: NIL, last: NIL };

    pub(super) fn is_empty(self) -> bool {
        self.first == NIL
    }
}

/// All pieces of one worker.
pub(super) struct Pieces {
    slots: Vec<Slot>,
    /// The first unused slot; the others follow by `next`.
    free: u32,
    budget: Amount,
    held: Amount,
    /// Frames among the pieces.
    frames: usize,
    /// Pieces that were touched.
    #[cfg(test)]
    pub(super) steps: usize,
}

struct Slot {
    next: u32,
    piece: Piece,
}

enum Piece {
    Unused,
    /// By reference.
    Held {
        frame: Frame,
        /// What it takes of the pool.
        buffers: u16,
    },
    /// Of a small payload, or of several that follow each other.
    Copied {
        bytes: Vec<u8>,
        /// How many of them have been given up to the application.
        taken: usize,
    },
}

/// Memory of both kinds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Amount {
    /// Buffers of the frame pool.
    pub(super) buffers: usize,
    /// Bytes elsewhere, with what is kept about them. A copy that grew may have up to twice as many.
    pub(super) bytes: usize,
}

/// A stretch of a received frame's payload.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    pub(super) offset: usize,
    pub(super) len: usize,
}

impl Stretch {
    /// Whether it is copied out of this frame: because it is small, or because a chain cannot be cut within a later buffer.
    pub(super) fn is_copied(self, frame: &Frame) -> bool {
        self.len <= TCP_COPY_MAX || self.offset >= frame.head().len()
    }

    /// Its bytes, part by part.
    fn parts(self, frame: &Frame) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.offset;
        let mut left = self.len;
        frame.segments().map(move |segment| {
            let begin = skip.min(segment.len());
            let end = (begin + left).min(segment.len());
            skip -= begin;
            left -= end - begin;
            &segment[begin..end]
        })
    }
}

impl Pieces {
    pub(super) fn new(buffers_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            budget: Amount { buffers: buffers_max, bytes: TCP_HELD_BYTES_MAX },
            held: Amount::default(),
            frames: 0,
            #[cfg(test)]
            steps: 0,
        }
    }

    pub(super) fn held(&self) -> Amount {
        self.held
    }
    pub(super) fn frames(&self) -> usize {
        self.frames
    }
    /// What is missing for `need` to fit the budget.
    pub(super) fn shortage(&self, need: Amount) -> Amount {
        Amount {
            buffers: (self.held.buffers + need.buffers).saturating_sub(self.budget.buffers),
            bytes: (self.held.bytes + need.bytes).saturating_sub(self.budget.bytes),
        }
    }
    pub(super) fn add_assembler(&mut self) {
        self.held.bytes += TCP_ASSEMBLER_BYTES;
    }
    pub(super) fn remove_assembler(&mut self) {
        self.held.bytes -= TCP_ASSEMBLER_BYTES;
    }

    /// A list of one frame.
    pub(super) fn hold(&mut self, frame: Frame, shared: bool) -> List {
        // The buffer that a share points to stays as well.
        let buffers = frame.segment_count() * if shared { 2 } else { 1 };
        self.held.buffers += buffers;
        self.frames += 1;
        self.put(Piece::Held { frame, buffers: buffers as u16 })
    }

    /// `list`, longer by a copy of a stretch of `frame`. Small ones go into the room that the last piece has.
    pub(super) fn copy(&mut self, list: List, frame: &Frame, stretch: Stretch) -> List {
        if stretch.len <= TCP_COPY_MAX && self.append(list, frame, stretch) {
            return list;
        }
        let mut bytes = Vec::with_capacity(stretch.len);
        stretch.parts(frame).for_each(|part| bytes.extend_from_slice(part));
        self.held.bytes += bytes.len() + TCP_PIECE_BYTES;
        let copy = self.put(Piece::Copied { bytes, taken: 0 });
        self.join(list, copy)
    }

    /// Copies to the end of the last piece, if it has room.
    fn append(&mut self, list: List, frame: &Frame, stretch: Stretch) -> bool {
        self.step();
        let Some(last) = self.slots.get_mut(list.last as usize) else { return false };
        match &mut last.piece {
            // Only the first buffer can be asked whether it is shared.
            Piece::Held { frame: last, .. }
                if last.segment_count() == 1 && last.tailroom() >= stretch.len && !last.is_shared() =>
            {
                for part in stretch.parts(frame) {
                    last.append_slice(part).expect("there is room");
                }
                true
            }
            Piece::Copied { bytes, .. } if bytes.len() + stretch.len <= TCP_COPY_MAX => {
                stretch.parts(frame).for_each(|part| bytes.extend_from_slice(part));
                self.held.bytes += stretch.len;
                true
            }
            _ => false,
        }
    }

    /// One list from two that follow each other. Two small copies that meet become one.
    pub(super) fn join(&mut self, mut head: List, mut tail: List) -> List {
        self.step();
        if head.is_empty() {
            return tail;
        }
        if tail.is_empty() {
            return head;
        }
        if let Piece::Copied { bytes: front, .. } = &self.slots[head.last as usize].piece
            && let Piece::Copied { bytes: back, taken: 0 } = &self.slots[tail.first as usize].piece
            && front.len() + back.len() <= TCP_COPY_MAX
        {
            let Some(Piece::Copied { bytes: back, .. }) = self.take(&mut tail) else { unreachable!("just looked") };
            let Piece::Copied { bytes: front, .. } = &mut self.slots[head.last as usize].piece else {
                unreachable!("just looked")
            };
            front.extend_from_slice(&back);
            self.held.bytes += back.len();
            if tail.is_empty() {
                return head;
            }
        }
        self.slots[head.last as usize].next = tail.first;
        head.last = tail.last;
        head
    }

    /// The next frame of a list: one that is held, or as many copies as fit a fresh one. `None` when there is no fresh one.
    ///
    /// # Panics
    /// When the list is empty.
    pub(super) fn pop_frame(&mut self, list: &mut List, out: &mut Outbox) -> Option<Frame> {
        if let Piece::Held { .. } = self.slots[list.first as usize].piece {
            let Some(Piece::Held { frame, .. }) = self.take(list) else { unreachable!("just looked") };
            return Some(frame);
        }
        let mut frame = out.make()?;
        while let Some(Slot { piece: Piece::Copied { bytes, taken }, .. }) = self.slots.get_mut(list.first as usize) {
            let n = (bytes.len() - *taken).min(frame.tailroom());
            frame.append_slice(&bytes[*taken..*taken + n]).expect("cut to the room");
            *taken += n;
            if *taken < bytes.len() {
                break;
            }
            self.take(list);
        }
        Some(frame)
    }

    /// Cuts `n` bytes, which are known from elsewhere, from the front of a list that has as many. A frame that ends by that has served.
    pub(super) fn skip(&mut self, list: &mut List, mut n: usize, out: &mut Outbox) {
        while n > 0 {
            self.step();
            let piece_len = match &mut self.slots[list.first as usize].piece {
                Piece::Held { frame, .. } if n < frame.head().len() => {
                    frame.trim_front(n);
                    return;
                }
                Piece::Held { frame, .. } => frame.len(),
                Piece::Copied { bytes, taken } if n < bytes.len() - *taken => {
                    *taken += n;
                    return;
                }
                Piece::Copied { bytes, taken } => bytes.len() - *taken,
                Piece::Unused => unreachable!("a list has no unused pieces"),
            };
            let Some(Piece::Held { frame, .. }) = self.take(list) else {
                n -= piece_len;
                continue;
            };
            if n < piece_len {
                // The cut is within a later buffer of a chain.
                let rest = self.copy(List::EMPTY, &frame, Stretch { offset: n, len: piece_len - n });
                *list = self.join(rest, *list);
            }
            n = n.saturating_sub(piece_len);
            out.consume(frame);
        }
    }

    /// Ends a list: its frames have served (`None`), or are dropped for a reason.
    pub(super) fn end(&mut self, mut list: List, reason: Option<Drop>, out: &mut Outbox) {
        while let Some(piece) = self.take(&mut list) {
            match (piece, reason) {
                (Piece::Held { frame, .. }, Some(reason)) => out.drop(frame, reason),
                (Piece::Held { frame, .. }, None) => out.consume(frame),
                _ => {}
            }
        }
    }

    /// A second frame over a stretch of `frame`, which counts as made; `None` when the pool is empty.
    pub(super) fn share(frame: &Frame, stretch: Stretch, out: &mut Outbox) -> Option<Frame> {
        let mut share = frame.share(&out.pool);
        out.counters.count(if share.is_some() { Counter::MadeFrames } else { Counter::PoolEmpty });
        if let Some(share) = &mut share {
            cut(share, stretch);
        }
        share
    }

    fn put(&mut self, piece: Piece) -> List {
        self.step();
        let index = self.free;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            self.free = slot.next;
            *slot = Slot { next: NIL, piece };
            return List { first: index, last: index };
        }
        let index = self.slots.len() as u32;
        self.slots.push(Slot { next: NIL, piece });
        List { first: index, last: index }
    }

    /// Takes the first piece out of a list and of the budget.
    fn take(&mut self, list: &mut List) -> Option<Piece> {
        self.step();
        let index = list.first;
        let slot = self.slots.get_mut(index as usize)?;
        let piece = std::mem::replace(&mut slot.piece, Piece::Unused);
        list.first = std::mem::replace(&mut slot.next, self.free);
        self.free = index;
        if list.first == NIL {
            *list = List::EMPTY;
        }
        match &piece {
            Piece::Held { buffers, .. } => {
                self.held.buffers -= usize::from(*buffers);
                self.frames -= 1;
            }
            Piece::Copied { bytes, .. } => self.held.bytes -= bytes.len() + TCP_PIECE_BYTES,
            Piece::Unused => unreachable!("a list has no unused pieces"),
        }
        Some(piece)
    }

    fn step(&mut self) {
        #[cfg(test)]
        {
            self.steps += 1;
        }
    }
}

/// Leaves this stretch of a frame, which begins within its first buffer.
pub(super) fn cut(frame: &mut Frame, stretch: Stretch) {
    frame.truncate(stretch.offset + stretch.len);
    frame.trim_front(stretch.offset);
}
