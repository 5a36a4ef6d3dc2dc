//! Whether a recovery was an error: nothing had been lost, only late or out of order. Two witnesses: the peer echoes the timestamp of an
//! original although a retransmission had been sent (RFC 3522), or it reports everything that was sent again as duplicate (RFC 3708).

use crate::tcp::{seq::Seq, stamp::Stamp};

/// What is known about one recovery.
#[derive(Clone, Debug, Default)]
pub(super) struct Undo {
    /// The windows were remembered and would be right again.
    armed: bool,
    /// The first retransmission, which the next acknowledgement beyond `first_seq` will be about.
    first: Option<(Seq, Stamp)>,
    /// SND.UNA when it began: what lies before was not sent again in it.
    una: Seq,
    /// Bytes that were sent again and not reported as duplicate; `None` before the first.
    unreported: Option<u32>,
    judged: bool,
}

impl Undo {
    /// A recovery begins.
    pub(super) fn arm(una: Seq) -> Self {
        Self { armed: true, una, ..Self::default() }
    }

    /// There is another reason for smaller windows, or there is nothing to undo any more.
    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }

    pub(super) fn on_retransmitted(&mut self, now: Stamp, seq: Seq, end: Seq) {
        self.first.get_or_insert((seq, now));
        *self.unreported.get_or_insert(0) += end - seq;
    }

    /// Whether an acknowledgement that advances SND.UNA shows that the original arrived.
    pub(super) fn is_original(&mut self, ack: Seq, echo: Option<Stamp>) -> bool {
        let (Some((first_seq, at)), Some(echo)) = (self.first, echo) else { return false };
        if !self.armed || self.judged || !ack.after(first_seq) {
            return false;
        }
        // rfc3522 3.2 step 4: only the first acknowledgement of it can tell.
        self.judged = true;
        at.is_after(echo)
    }

    /// Whether with this report all that was sent again arrived twice.
    pub(super) fn is_all_duplicate(&mut self, (left, right): (Seq, Seq)) -> bool {
        let Some(unreported) = &mut self.unreported else { return false };
        if !self.armed || left.before(self.una) {
            return false;
        }
        *unreported = unreported.saturating_sub(right - left);
        *unreported == 0
    }
}
