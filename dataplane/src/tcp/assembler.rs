//! Data that arrived out of order, held until what is missing before it comes.
//!
//! ```text
//!      rcv_nxt
//!         |   hole   |  run 0  |  hole  |     run 1      |   hole  | run 2 |F|
//!   ------+----------+---------+--------+----------------+---------+-------+-+--> sequence numbers
//!                    start   end                                     the FIN is a number without a byte
//!
//!   run      contiguous data; runs are disjoint, do not touch, and are sorted     run 1:  frame -> copy -> frame
//!   piece    a received frame's payload by reference, or a copy of a small one
//! ```
//! What arrived first stays (a segment that overlaps what is held is cut to what is missing), so nobody can change bytes that were
//! acknowledged selectively.
//!
//! **Bounds.** A connection has at most [`TCP_RUNS_MAX`] runs; a worker holds a bounded number of buffers and bytes. A payload of at most
//! [`TCP_COPY_MAX`] bytes is copied, so that a trickle does not pin whole buffers. When there is no room, what comes last in sequence gives way
//! to what comes before it: RFC 2018 section 8 lets a receiver discard data that it has only acknowledged selectively.
//!
//! **Work.** To append to the newest run takes no search. Anything else takes a binary search among the runs and a move of at most 4 KiB of them.
//! Each run that a segment touches beyond the first is merged and gone. (CVE-2018-5390 was a walk along everything that is held, for each
//! segment.)
//!
//! **Who counts what.** `insert` takes over a frame: it is held, or consumed (copied, or a duplicate), or dropped with a reason. `pop` hands
//! frames over: held ones, and made ones for copies. A share counts as made, and ends like any frame.

mod pieces;
#[cfg(test)]
mod tests;

use super::Seq;
use crate::{
    drops::Drop,
    limits::{TCP_ASSEMBLER_BYTES, TCP_PIECE_BYTES, TCP_RUNS_MAX},
    outbox::Outbox,
    port::Frame,
    time::Instant,
};
use arrayvec::ArrayVec;
use pieces::{Amount, List, Pieces, Stretch, cut};
use std::{num::NonZeroU32, ops::Range};

/// SACK blocks that fit the options of a segment without timestamps (RFC 2018 section 3).
pub(crate) const SACK_BLOCKS_MAX: usize = 4;
/// Changes that are remembered, to name the runs that changed last.
const RECENT_MAX: usize = 8;
/// Runs whose memory an unused assembler keeps.
const RUNS_KEPT: usize = 8;

/// What one worker holds out of order for all its connections.
pub(crate) struct Assemblers {
    slots: Vec<Assembler>,
    free: Vec<AssemblerId>,
    pieces: Pieces,
    runs_given_up: u64,
    /// Runs that were looked at beside a binary search.
    #[cfg(test)]
    steps: usize,
}

/// What one connection holds. A connection that holds nothing has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AssemblerId(NonZeroU32);

impl AssemblerId {
    fn of(index: usize) -> Self {
        Self(NonZeroU32::new(index as u32 + 1).expect("one more than an index"))
    }
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

#[derive(Default)]
struct Assembler {
    /// Sorted; each begins after the one before ends.
    runs: Vec<Run>,
    /// The number of the peer's FIN, if it is held: the last one of the last run.
    fin: Option<Seq>,
    /// The run that changed last, unless others have moved since.
    newest: usize,
    /// Whose it is, and since when it has given nothing to the application.
    connection: u32,
    since: Instant,
    /// A number in each run that changed lately, the latest first. Those in no run any more are passed over.
    recent: ArrayVec<Seq, RECENT_MAX>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    start: Seq,
    end: Seq,
    pieces: List,
}

/// What became of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inserted {
    /// Something of it is held now.
    New {
        /// Payload that was not known; 0 for a FIN alone.
        bytes: u32,
        /// The first stretch of it that was known already, for a DSACK (RFC 2883 section 4).
        duplicate: Option<(Seq, Seq)>,
    },
    /// All of it was known; these numbers go into a DSACK.
    Duplicate {
        /// The first.
        start: Seq,
        /// The one after the last.
        end: Seq,
    },
    /// It was dropped with this reason; the peer sends it again.
    Refused(Drop),
}

/// In-order data that is no longer held.
#[derive(Debug)]
pub(crate) struct Popped {
    /// Payload only; none when the FIN comes alone.
    pub(crate) frame: Option<Frame>,
    /// Its bytes. RCV.NXT moves by that, and by one more for a FIN.
    pub(crate) len: u32,
    /// The peer's FIN follows directly; nothing is held any more.
    pub(crate) fin: bool,
}

/// A segment as far as it may be held.
struct Segment {
    /// The number of the frame's first byte, and of the first byte that is not known from RCV.NXT.
    seq: Seq,
    start: Seq,
    /// The number after its last, its FIN included.
    end: Seq,
    fin: bool,
}

impl Segment {
    fn data_end(&self) -> Seq {
        self.end - u32::from(self.fin)
    }
    /// Where the bytes with the numbers from `start` to `end` are in the frame.
    fn stretch(&self, start: Seq, end: Seq) -> Stretch {
        Stretch { offset: (start - self.seq) as usize, len: (end.min(self.data_end()) - start) as usize }
    }
}

/// What holding a segment takes.
struct Plan {
    /// The runs that it overlaps or touches.
    touched: Range<usize>,
    /// Stretches of it that are missing.
    gaps: usize,
    bytes: u32,
    need: Amount,
    duplicate: Option<(Seq, Seq)>,
}

impl Assemblers {
    /// With a budget of `frames_max` buffers of the frame pool.
    pub(crate) fn new(frames_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            pieces: Pieces::new(frames_max),
            runs_given_up: 0,
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Holds what is missing of a segment, whose payload is `frame`, beginning at `seq`. The segment is within the receive window.
    /// In-order data does not belong here: it must not depend on a budget. Goes in and comes out of `id` as the connection's; the frame
    /// has ended or is held.
    pub(crate) fn insert(
        &mut self,
        id: &mut Option<AssemblerId>,
        rcv_nxt: Seq,
        seq: Seq,
        frame: Frame,
        fin: bool,
        out: &mut Outbox,
    ) -> Inserted {
        let end = seq + frame.len() as u32 + u32::from(fin);
        let mut segment = Segment { seq, start: seq.max(rcv_nxt), end, fin };
        if segment.end.up_to(segment.start) {
            out.consume(frame);
            return Inserted::Duplicate { start: seq, end };
        }
        let known = id.map(|id| &self.slots[id.index()]);
        if known.is_some_and(|assembler| assembler.clip_to_fin(&mut segment).is_err()) {
            out.drop(frame, Drop::TcpAfterFin);
            return Inserted::Refused(Drop::TcpAfterFin);
        }
        let mut plan = known.map_or_else(|| Plan::new(&[], 0..0, &segment, &frame), |a| a.plan(&segment, &frame));
        self.step(plan.touched.len());
        if plan.gaps == 0 {
            out.consume(frame);
            return Inserted::Duplicate { start: seq, end: segment.end.max(seq) };
        }
        if id.is_none() {
            plan.need.bytes += TCP_ASSEMBLER_BYTES;
        }
        if let Err(reason) = self.make_room(*id, &plan, out) {
            if id.is_some_and(|id| self.slots[id.index()].runs.is_empty()) {
                self.remove(id);
            }
            out.drop(frame, reason);
            return Inserted::Refused(reason);
        }
        let id = *id.get_or_insert_with(|| self.add());
        self.merge(id, &segment, &plan, frame, out);
        Inserted::New { bytes: plan.bytes, duplicate: plan.duplicate }
    }

    /// Gives up the connection's last runs until the plan fits.
    fn make_room(&mut self, id: Option<AssemblerId>, plan: &Plan, out: &mut Outbox) -> Result<(), Drop> {
        loop {
            let runs = id.map_or(0, |id| self.slots[id.index()].runs.len());
            let shortage = self.pieces.shortage(plan.need);
            let reason = if runs == TCP_RUNS_MAX && plan.touched.is_empty() {
                Drop::TcpReassemblyRuns
            } else if shortage != Amount::default() {
                Drop::TcpReassemblyFull
            } else {
                return Ok(());
            };
            // rfc2018 8: only what comes after the segment may give way to it.
            let Some(id) = id.filter(|_| plan.touched.end < runs) else { return Err(reason) };
            self.give_up_last(id, out);
            if reason == Drop::TcpReassemblyFull && self.pieces.shortage(plan.need) == shortage {
                return Err(reason); // other memory than what is missing; no more of it is given up
            }
        }
    }

    fn give_up_last(&mut self, id: AssemblerId, out: &mut Outbox) {
        let assembler = &mut self.slots[id.index()];
        let Some(run) = assembler.runs.pop() else { return };
        if assembler.fin_ends(&run) {
            assembler.fin = None;
        }
        self.runs_given_up += 1;
        self.pieces.end(run.pieces, Some(Drop::TcpReassemblyGivenUp), out);
    }

    /// Makes one run of those that the segment touches and of what is missing between them.
    fn merge(&mut self, id: AssemblerId, segment: &Segment, plan: &Plan, frame: Frame, out: &mut Outbox) {
        let assembler = &mut self.slots[id.index()];
        let mut source = Source { segment, frame: Some(frame), gaps: plan.gaps, pieces: &mut self.pieces };
        let mut merged = Run { start: segment.start, end: segment.start, pieces: List::EMPTY };
        for run in &assembler.runs[plan.touched.clone()] {
            if merged.end.before(run.start) {
                merged.pieces = source.keep(merged.pieces, merged.end, run.start, out);
            }
            merged.pieces = source.pieces.join(merged.pieces, run.pieces);
            merged.start = merged.start.min(run.start);
            merged.end = merged.end.max(run.end);
        }
        if merged.end.before(segment.end) {
            merged.pieces = source.keep(merged.pieces, merged.end, segment.end, out);
            merged.end = segment.end;
        }
        if let Some(frame) = source.frame {
            out.consume(frame);
        }
        if segment.fin {
            assembler.fin = Some(segment.data_end());
        }
        let at = plan.touched.start;
        match plan.touched.len() {
            0 => assembler.runs.insert(at, merged),
            n => {
                assembler.runs[at] = merged;
                assembler.runs.drain(at + 1..at + n);
            }
        }
        assembler.changed(at);
    }

    /// The next in-order data, if the first run begins at `rcv_nxt` or before it. The caller moves RCV.NXT and calls again. With the last of
    /// what is held, `id` becomes `None`. When there is no frame to put copies into, the rest of their run is given up.
    pub(crate) fn pop(&mut self, id: &mut Option<AssemblerId>, rcv_nxt: Seq, out: &mut Outbox) -> Option<Popped> {
        let assembler = &mut self.slots[(*id)?.index()];
        let mut popped = None;
        while popped.is_none()
            && let Some(run) = assembler.runs.first().copied()
            && run.start.up_to(rcv_nxt)
        {
            let rest = &mut assembler.runs;
            if run.end.up_to(rcv_nxt) {
                self.pieces.end(run.pieces, None, out);
                rest.remove(0);
                continue;
            }
            let fin = assembler.fin.is_some_and(|fin| fin + 1 == run.end);
            let mut pieces = run.pieces;
            self.pieces.skip(&mut pieces, (rcv_nxt - run.start) as usize, out);
            let frame = if pieces.is_empty() { None } else { self.pieces.pop_frame(&mut pieces, out) };
            if frame.is_none() && !pieces.is_empty() {
                self.runs_given_up += 1;
                self.pieces.end(pieces, Some(Drop::TcpReassemblyGivenUp), out);
                assembler.fin = assembler.fin.filter(|_| !fin);
                rest.remove(0);
                continue;
            }
            let len = frame.as_ref().map_or(0, |frame| frame.len() as u32);
            if pieces.is_empty() {
                rest.remove(0);
            } else {
                rest[0] = Run { start: rcv_nxt + len, pieces, ..run };
            }
            popped = Some(Popped { frame, len, fin: fin && pieces.is_empty() });
        }
        if assembler.runs.is_empty() {
            self.remove(id);
        }
        popped
    }

    /// Gives up all that a connection holds.
    pub(crate) fn discard(&mut self, id: &mut Option<AssemblerId>, out: &mut Outbox) {
        if let Some(id) = *id {
            for run in self.slots[id.index()].runs.drain(..) {
                self.pieces.end(run.pieces, Some(Drop::TcpReassemblyGivenUp), out);
            }
        }
        self.remove(id);
    }

    /// What is held, for the SACK option: first the run with the number `first`, which is that of the segment that is being acknowledged.
    pub(crate) fn sack_blocks(&self, id: Option<AssemblerId>, first: Seq) -> ArrayVec<(Seq, Seq), SACK_BLOCKS_MAX> {
        let mut blocks = ArrayVec::new();
        let Some(id) = id else { return blocks };
        let assembler = &self.slots[id.index()];
        // rfc2018 4 f, g, h: the first block holds the segment that triggered the acknowledgment; then as many others as fit, those first that
        // changed last.
        // rfc2018 8 b: blocks are runs, and a run that was given up is none.
        let latest =
            std::iter::once(first).chain(assembler.recent.iter().copied()).filter_map(|s| assembler.run_with(s));
        for run in latest.chain(assembler.runs.iter().rev().take(SACK_BLOCKS_MAX)) {
            if blocks.is_full() {
                break;
            }
            if !blocks.contains(&(run.start, run.end)) {
                blocks.push((run.start, run.end));
            }
        }
        blocks
    }

    /// Where the first of what a connection holds begins.
    pub(crate) fn begins(&self, id: Option<AssemblerId>) -> Option<Seq> {
        Some(self.slots[id?.index()].runs.first()?.start)
    }
    /// Bytes that a connection holds, a FIN's number among them.
    pub(crate) fn bytes_of(&self, id: Option<AssemblerId>) -> u32 {
        id.map_or(0, |id| self.slots[id.index()].runs.iter().map(|run| run.end - run.start).sum())
    }

    /// Frames that are held for all connections.
    pub(crate) fn held_frames(&self) -> usize {
        self.pieces.frames()
    }
    /// Buffers of the frame pool that they take.
    pub(crate) fn held_buffers(&self) -> usize {
        self.pieces.held().buffers
    }
    /// Bytes that are held in copies, with what is kept about them.
    pub(crate) fn held_bytes(&self) -> usize {
        self.pieces.held().bytes
    }
    /// Runs that were given up although they had been acknowledged selectively.
    pub(crate) fn runs_given_up(&self) -> u64 {
        self.runs_given_up
    }

    /// Something is held for a connection.
    pub(crate) fn note_holder(&mut self, id: Option<AssemblerId>, connection: u32, now: Instant) {
        let Some(id) = id else { return };
        let assembler = &mut self.slots[id.index()];
        if assembler.since == Instant::ZERO {
            (assembler.connection, assembler.since) = (connection, now);
        }
    }
    /// Something that was held has been given to the application.
    pub(crate) fn note_progress(&mut self, id: Option<AssemblerId>, now: Instant) {
        if let Some(id) = id {
            self.slots[id.index()].since = now;
        }
    }
    /// How many there are, and were at once.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
    }
    /// Whose the one at a place is, and since when it has stood still; `None` if nothing is held there.
    pub(crate) fn standing(&self, place: usize) -> Option<(u32, Instant)> {
        let assembler = &self.slots[place];
        (!assembler.runs.is_empty()).then_some((assembler.connection, assembler.since))
    }

    fn add(&mut self) -> AssemblerId {
        self.pieces.add_assembler();
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Assembler::default());
            AssemblerId::of(self.slots.len() - 1)
        })
    }

    fn remove(&mut self, id: &mut Option<AssemblerId>) {
        let Some(id) = id.take() else { return };
        let assembler = &mut self.slots[id.index()];
        let mut runs = std::mem::take(&mut assembler.runs);
        runs.clear();
        runs.shrink_to(RUNS_KEPT);
        *assembler = Assembler { runs, ..Assembler::default() };
        self.free.push(id);
        self.pieces.remove_assembler();
    }

    fn step(&mut self, _runs: usize) {
        #[cfg(test)]
        {
            self.steps += _runs;
        }
    }
}

impl Assembler {
    /// Cuts a segment to what may come before a FIN that is held, and takes a FIN from it that cannot be true: what arrived first stays.
    /// Fails when nothing is left.
    fn clip_to_fin(&self, segment: &mut Segment) -> Result<(), ()> {
        let last = self.runs.last().map_or(segment.start, |run| run.end);
        let held_past_it = match self.fin {
            Some(fin) => segment.data_end() != fin,
            None => last.after(segment.data_end()),
        };
        if segment.fin && held_past_it {
            segment.end = segment.data_end();
            segment.fin = false;
        }
        if let Some(fin) = self.fin
            && !segment.fin
        {
            segment.end = segment.end.min(fin);
        }
        if segment.start.before(segment.end) { Ok(()) } else { Err(()) }
    }

    fn plan(&self, segment: &Segment, frame: &Frame) -> Plan {
        let newest = self.runs.get(self.newest).filter(|run| run.end == segment.start);
        let first = match newest {
            Some(_) => self.newest,
            None => self.runs.partition_point(|run| run.end.before(segment.start)),
        };
        let touched = self.runs[first..].iter().take_while(|run| run.start.up_to(segment.end)).count();
        Plan::new(&self.runs[first..first + touched], first..first + touched, segment, frame)
    }

    /// The run `at` is the one that changed last.
    fn changed(&mut self, at: usize) {
        let run = self.runs[at];
        self.newest = at;
        let first = self.runs[0].start;
        self.recent.retain(|seq| seq.from(first) && !seq.within(run.start, run.end - run.start));
        if self.recent.is_full() {
            self.recent.pop();
        }
        self.recent.insert(0, run.start);
    }

    fn run_with(&self, seq: Seq) -> Option<&Run> {
        let at = self.runs.partition_point(|run| run.end.up_to(seq));
        self.runs.get(at).filter(|run| run.start.up_to(seq))
    }

    fn fin_ends(&self, run: &Run) -> bool {
        self.fin.is_some_and(|fin| fin + 1 == run.end)
    }
}

impl Plan {
    /// For the runs that the segment touches, which have the indices `touched`.
    fn new(runs: &[Run], touched: Range<usize>, segment: &Segment, frame: &Frame) -> Self {
        let mut plan = Self { touched, gaps: 0, bytes: 0, need: Amount::default(), duplicate: None };
        if segment.seq.before(segment.start) {
            plan.duplicate = Some((segment.seq, segment.start));
        }
        let mut cursor = segment.start;
        let mut last_gap_copied = true;
        let ends = runs.iter().map(|run| (run.start, run.end)).chain([(segment.end, segment.end)]);
        for (start, end) in ends {
            let start = start.min(segment.end);
            if cursor.before(start) {
                let stretch = segment.stretch(cursor, start);
                plan.gaps += 1;
                plan.bytes += stretch.len as u32;
                last_gap_copied = stretch.is_copied(frame);
                // A share that cannot be made becomes a copy, so both must fit.
                if !last_gap_copied {
                    plan.need.buffers += 2 * frame.segment_count();
                }
                plan.need.bytes += stretch.len + TCP_PIECE_BYTES;
            }
            let (from, to) = (start.max(cursor), end.min(segment.end));
            if plan.duplicate.is_none() && from.before(to) {
                plan.duplicate = Some((from, to));
            }
            cursor = cursor.max(end);
        }
        // The usual case is exact: one stretch, held in the frame itself.
        if plan.gaps == 1 && !last_gap_copied {
            plan.need = Amount { buffers: frame.segment_count(), bytes: 0 };
        }
        plan
    }
}

/// A segment's frame while its stretches are being kept.
struct Source<'a> {
    segment: &'a Segment,
    frame: Option<Frame>,
    /// Stretches to come.
    gaps: usize,
    pieces: &'a mut Pieces,
}

impl Source<'_> {
    /// `list`, longer by the segment's bytes from `start` to `end`. The last stretch may take the frame itself.
    fn keep(&mut self, list: List, start: Seq, end: Seq, out: &mut Outbox) -> List {
        self.gaps -= 1;
        let stretch = self.segment.stretch(start, end);
        let mut frame = self.frame.take().expect("the frame goes with the last stretch");
        if stretch.len == 0 {
            // A FIN alone.
            self.frame = Some(frame);
            return list;
        }
        if stretch.is_copied(&frame) {
            let list = self.pieces.copy(list, &frame, stretch);
            self.frame = Some(frame);
            return list;
        }
        if self.gaps == 0 {
            cut(&mut frame, stretch);
            let held = self.pieces.hold(frame, false);
            return self.pieces.join(list, held);
        }
        let list = match Pieces::share(&frame, stretch, out) {
            Some(share) => {
                let held = self.pieces.hold(share, true);
                self.pieces.join(list, held)
            }
            None => self.pieces.copy(list, &frame, stretch),
        };
        self.frame = Some(frame);
        list
    }
}

const _: () = assert!(size_of::<Option<AssemblerId>>() == 4 && size_of::<Run>() == 16);
