//! What was sent and is not acknowledged: a record for each segment, in sequence order, and beside them the ranges that the peer holds.
//!
//! ```text
//!   SND.UNA                                                      SND.NXT
//!      |  sent  |  LOST  | SACKED | SACKED | RESENT |  sent  |  sent  |
//!                        |#################|
//!   in flight: everything that is neither SACKED nor LOST. Sending a LOST segment again ends that mark.
//! ```
//! A peer may say anything in its blocks, as often as it likes. A block that brings nothing new costs two binary searches; one that does
//! walks over the records that it newly covers, each of which can be covered once. A record is SACKED when all of it is.

mod ranges;
#[cfg(test)]
mod tests;

use super::{deque::Deque, seq::Seq, stamp::Stamp};
use crate::{counters::Counter, limits::SENT_MAX};
use ranges::Ranges;

/// Why a segment is sent again. Every retransmission has one of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resend {
    /// A segment that was sent later arrived, and it was waited for long enough (RFC 8985 section 6).
    Rack,
    /// The same, of a retransmission.
    RackAgain,
    /// Nothing was heard for two round trips (RFC 8985 section 7).
    TailLossProbe,
    /// The retransmission timer expired (RFC 6298).
    Rto,
    /// Three duplicate acknowledgements from a peer without SACK (RFC 5681).
    DupAcks,
    /// The next hole, of a peer without SACK (RFC 6582).
    PartialAck,
    /// It was too long for the path.
    PathMtu,
}

impl Resend {
    /// What counts it.
    pub(super) fn counter(self) -> Counter {
        match self {
            Self::Rack => Counter::TcpResentRack,
            Self::RackAgain => Counter::TcpResentRackAgain,
            Self::TailLossProbe => Counter::TcpResentTailProbe,
            Self::Rto => Counter::TcpResentTimeout,
            Self::DupAcks => Counter::TcpResentDuplicates,
            Self::PartialAck => Counter::TcpResentPartial,
            Self::PathMtu => Counter::TcpResentPathMtu,
        }
    }
}

/// One segment.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) seq: Seq,
    /// The number behind its last; a FIN has one too.
    pub(super) end: Seq,
    /// When it was last sent.
    pub(super) at: Stamp,
    /// How the connection's `Delivery` was then.
    pub(super) delivered: u32,
    pub(super) delivered_at: Stamp,
    pub(super) first_sent_at: Stamp,
    /// It was sent more than once.
    pub(super) resent: bool,
    pub(super) sacked: bool,
    /// It counts as lost and was not sent again since.
    pub(super) lost: bool,
    /// Why it counts as lost, or did before it was sent again.
    pub(super) reason: Option<Resend>,
}

impl Sent {
    pub(super) fn len(&self) -> u32 {
        self.end - self.seq
    }
}

/// What was sent and is not acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Scoreboard {
    sent: Deque<Sent>,
    ranges: Ranges,
    una: Seq,
    nxt: Seq,
    /// Bytes of records that are SACKED, and how many records those are.
    sacked: u32,
    sacked_segments: u32,
    /// Bytes of records that are LOST.
    lost: u32,
}

impl Scoreboard {
    /// Nothing is outstanding; `nxt` comes next.
    pub(super) fn new(nxt: Seq) -> Self {
        Self { sent: Deque::new(), ranges: Ranges::default(), una: nxt, nxt, sacked: 0, sacked_segments: 0, lost: 0 }
    }

    #[inline]
    pub(super) fn una(&self) -> Seq {
        self.una
    }
    #[inline]
    pub(super) fn nxt(&self) -> Seq {
        self.nxt
    }
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.sent.len() >= SENT_MAX
    }
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }
    /// FlightSize of RFC 5681: bytes that are not acknowledged cumulatively.
    #[inline]
    pub(super) fn outstanding(&self) -> u32 {
        self.nxt - self.una
    }
    /// Bytes thought to be on their way.
    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        self.outstanding() - self.sacked - self.lost
    }
    #[inline]
    pub(super) fn sacked(&self) -> u32 {
        self.sacked
    }
    #[inline]
    pub(super) fn sacked_segments(&self) -> u32 {
        self.sacked_segments
    }
    #[inline]
    pub(super) fn lost(&self) -> u32 {
        self.lost
    }
    #[inline]
    pub(super) fn front(&self) -> Option<&Sent> {
        self.sent.front()
    }
    pub(super) fn back(&self) -> Option<&Sent> {
        self.sent.back()
    }
    pub(super) fn get(&self, index: usize) -> Option<&Sent> {
        self.sent.get(index)
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter()
    }
    /// The record that holds `seq`, or the first behind it.
    #[inline]
    pub(super) fn index_of(&self, seq: Seq) -> usize {
        self.sent.partition_point(|sent| sent.end.up_to(seq))
    }
    /// The same, and where it is.
    pub(super) fn find(&self, seq: Seq) -> Option<(usize, &Sent)> {
        let index = self.index_of(seq);
        self.get(index).map(|sent| (index, sent))
    }

    /// A new segment, which begins at SND.NXT.
    #[inline]
    pub(super) fn push(&mut self, sent: Sent) {
        assert_eq!(sent.seq, self.nxt, "new data begins where the last ended");
        self.nxt = sent.end;
        self.sent.push_back(sent);
    }

    /// Takes out the first record if `ack` covers all of it.
    #[inline]
    pub(super) fn pop_acked(&mut self, ack: Seq) -> Option<Sent> {
        if self.sent.front()?.end.after(ack) {
            return None;
        }
        let sent = self.sent.pop_front()?;
        self.una = sent.end;
        if sent.sacked {
            self.sacked -= sent.len();
            self.sacked_segments -= 1;
        }
        if sent.lost {
            self.lost -= sent.len();
        }
        Some(sent)
    }

    /// Ends an acknowledgement, after the last [`pop_acked`](Self::pop_acked): `ack` may lie in the middle of a record. Returns how many of its
    /// bytes are now known to have arrived, and were not before.
    #[inline]
    pub(super) fn trim(&mut self, ack: Seq) -> u32 {
        let mut bytes = 0;
        if let Some(sent) = self.sent.front_mut().filter(|sent| sent.seq.before(ack)) {
            let gone = ack - sent.seq;
            sent.seq = ack;
            if sent.sacked {
                self.sacked -= gone;
            } else {
                bytes = gone;
            }
            if sent.lost {
                self.lost -= gone;
            }
            self.una = ack;
        }
        self.ranges.advance(ack);
        bytes
    }

    /// The peer holds `left..right`, which must lie within what is outstanding. `newly` sees each record that this makes SACKED.
    pub(super) fn sack(&mut self, left: Seq, right: Seq, mut newly: impl FnMut(&Sent)) {
        debug_assert!(left.from(self.una) && left.before(right) && right.up_to(self.nxt));
        let Some(place) = self.ranges.place((left, right)) else { return };
        // Only the gaps that the block fills.
        let Self { sent, ranges, sacked, sacked_segments, lost, .. } = self;
        let mut fill = |from: Seq, to: Seq| {
            if from.from(to) {
                return;
            }
            let mut index = sent.partition_point(|sent| sent.end.up_to(from));
            while let Some(record) = sent.get_mut(index).filter(|record| record.seq.before(to)) {
                if !record.sacked && record.seq.from(place.merged.0) && record.end.up_to(place.merged.1) {
                    newly(record);
                    record.sacked = true;
                    *sacked += record.len();
                    *sacked_segments += 1;
                    if std::mem::take(&mut record.lost) {
                        *lost -= record.len();
                    }
                }
                index += 1;
            }
        };
        let mut from = left;
        for range in ranges.joined(&place) {
            fill(from, range.0);
            from = range.1;
        }
        fill(from, right);
        self.ranges.insert(&place);
    }

    /// The record at `index` counts as lost.
    pub(super) fn mark_lost(&mut self, index: usize, reason: Resend) {
        let Some(sent) = self.sent.get_mut(index) else { return };
        debug_assert!(!sent.sacked && !sent.lost);
        sent.lost = true;
        sent.reason = Some(reason);
        self.lost += sent.len();
    }

    /// Everything that `is_lost` and not SACKED counts as lost.
    pub(super) fn mark_all_lost(&mut self, reason: Resend, is_lost: impl Fn(&Sent) -> bool) {
        for sent in self.sent.iter_mut() {
            if !sent.sacked && is_lost(sent) {
                if !sent.lost {
                    sent.lost = true;
                    self.lost += sent.len();
                }
                sent.reason = Some(reason);
            }
        }
    }

    /// Nothing was lost.
    pub(super) fn unmark_lost(&mut self) {
        for sent in self.sent.iter_mut() {
            if std::mem::take(&mut sent.lost) && !sent.resent {
                sent.reason = None;
            }
        }
        self.lost = 0;
    }

    /// The peer has dropped what it had acknowledged selectively (rfc2018 8 lets it).
    pub(super) fn forget_sacks(&mut self) {
        for sent in self.sent.iter_mut() {
            sent.sacked = false;
        }
        (self.sacked, self.sacked_segments) = (0, 0);
        self.ranges.clear();
    }

    /// `seq..end` was sent again: whole records, or a part where segments have become smaller. `stamp` notes how,
    /// before the LOST mark goes.
    pub(super) fn resend(&mut self, seq: Seq, end: Seq, mut stamp: impl FnMut(&mut Sent)) {
        self.split(seq);
        self.split(end);
        let mut index = self.index_of(seq);
        while let Some(sent) = self.sent.get_mut(index).filter(|sent| sent.seq.before(end)) {
            stamp(sent);
            sent.resent = true;
            if std::mem::take(&mut sent.lost) {
                self.lost -= sent.len();
            }
            index += 1;
        }
    }

    /// A record begins at `seq`.
    fn split(&mut self, seq: Seq) {
        let index = self.index_of(seq);
        let Some(sent) = self.sent.get_mut(index).filter(|sent| sent.seq.before(seq)) else { return };
        let rest = Sent { seq, ..sent.clone() };
        sent.end = seq;
        if sent.sacked {
            self.sacked_segments += 1;
        }
        self.sent.insert_after(index, rest);
    }

    /// Whether anything is known to have arrived out of order.
    pub(super) fn has_sacks(&self) -> bool {
        !self.ranges.is_empty()
    }
}
