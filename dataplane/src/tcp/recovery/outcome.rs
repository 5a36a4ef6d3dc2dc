//! What an acknowledgement says, and what came of it.

use super::{delivery::Arrived, rack::Rack};
use crate::tcp::{scoreboard::Sent, seq::Seq, stamp::Stamp};

/// What an acceptable acknowledgement says: SND.UNA <= SEG.ACK <= SND.NXT.
pub(in crate::tcp) struct AckInfo<'a> {
    pub(in crate::tcp) now: Stamp,
    /// SEG.ACK.
    pub(in crate::tcp) ack: Seq,
    /// The SACK option's blocks in its order, the first of which may be a DSACK.
    pub(in crate::tcp) blocks: &'a [(Seq, Seq)],
    /// The peer's TSecr as a time of ours: the last microsecond of the timestamp clock's tick that it names. Whatever was sent after it
    /// had a later timestamp.
    pub(in crate::tcp) echo: Option<Stamp>,
    /// A duplicate acknowledgement as in RFC 5681 section 2. Only without SACK does it matter.
    pub(in crate::tcp) is_duplicate: bool,
    /// ECE, on a connection that negotiated ECN.
    pub(in crate::tcp) ece: bool,
}

/// What an acknowledgement did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::tcp) struct Outcome {
    /// Bytes by which SND.UNA advanced.
    pub(in crate::tcp) acked: u32,
    /// Bytes that are now known to have arrived, and were not before.
    pub(in crate::tcp) delivered: u32,
    /// The round trip that it measured.
    pub(in crate::tcp) rtt_us: Option<u32>,
    /// There are segments to send again that there were not before.
    pub(in crate::tcp) losses: bool,
    /// The windows were reduced. With ECN the next new data carries CWR (RFC 3168 section 6.1.2).
    pub(in crate::tcp) reduced: bool,
    /// A recovery has ended.
    pub(in crate::tcp) recovered: bool,
    /// A recovery was an error and is undone.
    pub(in crate::tcp) spurious: bool,
    /// The peer got something twice (RFC 2883).
    pub(in crate::tcp) dsack: bool,
}

/// What one acknowledgement found delivered.
pub(super) struct Newly {
    pub(super) bytes: u32,
    /// RACK.fack before it: what arrives only now and lies before that was overtaken.
    pub(super) fack: Seq,
    /// The round trip of the oldest segment that it acknowledges, and of the newest that it SACKs.
    pub(super) acked_us: Option<u32>,
    pub(super) sacked_us: Option<u32>,
    /// It acknowledges a segment that was sent more than once.
    pub(super) resent: bool,
    pub(super) newest: Option<Arrived>,
}

impl Newly {
    /// A segment arrived that was not known to have.
    #[inline]
    pub(super) fn on_delivered(&mut self, rack: &mut Rack, sent: &Sent, ack: &AckInfo<'_>, min_rtt_us: u32) {
        self.bytes += sent.len();
        rack.on_delivered(sent, ack.now, ack.echo, min_rtt_us);
        // rfc8985 6.2 step 3: it was sent once and came after what was sent later.
        if sent.end.before(self.fack) && !sent.resent {
            rack.reordering.seen = true;
        }
        rack.fack = rack.fack.max(sent.end);
        let arrived = Arrived::of(sent);
        if self.newest.as_ref().is_none_or(|newest| arrived.is_newer(newest)) {
            self.newest = Some(arrived);
        }
    }
}
