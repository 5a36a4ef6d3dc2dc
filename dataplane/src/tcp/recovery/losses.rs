//! Which segments are lost, and that a recovery begins.
//!
//! ```text
//!   sent once, in sequence order     ####L##.R#L|.........      judged before |, which only moves to the right
//!                                    SND.UNA    judged          # SACKED  L LOST  R sent again  . in flight
//!   sent again, in that order        R R R                      judged from the left; what is LOST again goes to lost_again
//! ```

use super::{Prr, Recovery, State, Undo};
use crate::tcp::{
    congestion::{Congestion, CongestionControl},
    rtt::Rtt,
    scoreboard::Resend,
    stamp::Stamp,
};

/// What was found lost.
#[derive(Clone, Copy)]
pub(super) struct Losses {
    pub(super) any: bool,
    /// When the last of the retransmissions among it was sent.
    again: Option<Stamp>,
}

impl Recovery {
    /// rfc8985 6.2 step 5: what was overtaken and waited for long enough is lost.
    #[inline]
    pub(super) fn find_losses(&mut self, now: Stamp, rtt: &Rtt) -> Losses {
        let mut losses = Losses { any: self.board.lost() > 0 && self.state == State::Open, again: None };
        self.reo_at = None;
        // rfc8985 1 a, 4 a, 9.2 a: with SACK time alone decides; without it RFC 6582 does.
        if !self.sack || self.board.is_empty() {
            return losses;
        }
        let recovering = self.state != State::Open;
        let reo_wnd_us = self.rack.reo_wnd_us(rtt, recovering, self.board.sacked_segments());
        let reach_us = self.rack.rtt_us.saturating_add(reo_wnd_us);
        let mut waiting = false;
        // Those that were sent once, in sequence order: the first that is not overtaken, or not old enough, ends it.
        let mut index = self.board.index_of(self.judged);
        while let Some(sent) = self.board.get(index) {
            if !sent.sacked && !sent.lost && !sent.resent {
                if !self.rack.is_overtaken(sent) {
                    break;
                }
                if now.since(sent.at) < reach_us {
                    waiting = true;
                    break;
                }
                self.judged = sent.end;
                self.board.mark_lost(index, Resend::Rack);
                losses.any = true;
            } else {
                self.judged = sent.end;
            }
            index += 1;
        }
        // Those that were sent again, in that order.
        if let Some(episode) = &mut self.episode {
            while let Some(&(seq, at)) = episode.resent.front() {
                let record =
                    self.board.find(seq).filter(|(_, sent)| sent.resent && sent.at == at && !sent.sacked && !sent.lost);
                if let Some((index, sent)) = record {
                    if !self.rack.is_overtaken(sent) {
                        break;
                    }
                    if now.since(at) < reach_us {
                        waiting = true;
                        break;
                    }
                    self.board.mark_lost(index, Resend::RackAgain);
                    episode.lost_again.push_back(seq);
                    losses.any = true;
                    losses.again = Some(at);
                }
                episode.resent.pop_front();
            }
        }
        if waiting {
            self.reo_at = Some(self.rack.waits_until(reo_wnd_us));
        }
        losses
    }

    /// Losses were found: a recovery begins, or goes on. Says whether the windows were reduced.
    // rfc5681 4.3 d, e: for as many losses of one window as there are once; what is lost of the next begins another recovery.
    #[inline]
    pub(super) fn react(&mut self, now: Stamp, losses: Losses, cc: &mut Congestion) -> bool {
        if !losses.any {
            return false;
        }
        let (una, outstanding) = (self.board.una(), self.board.outstanding());
        match self.state {
            State::Open => {
                self.state = State::Recovery;
                self.recovery_point = self.board.nxt();
                self.forced = true;
                self.tlp.end = None;
                // rfc3168 6.1.2: one reduction for a window of data, whichever sign of congestion comes first.
                let is_reduced = una.before(self.cwr_point);
                self.cwr_point = self.recovery_point;
                let episode = self.episode();
                episode.reduced_at = now;
                episode.prr = Prr::new(outstanding);
                if is_reduced {
                    episode.undo.disarm();
                } else {
                    episode.undo = Undo::arm(una);
                    cc.remember();
                    cc.on_loss(now, outstanding);
                }
                !is_reduced
            }
            State::Recovery => {
                let in_flight = self.in_flight();
                let episode = self.episode();
                // rfc5681 4.3 d; rfc8985 9.3 c: the loss of a retransmission is a second sign of congestion; of those of one round trip, one.
                let is_second = losses.again.is_some_and(|at| !episode.reduced_at.is_after(at));
                if is_second {
                    episode.reduced_at = now;
                    episode.prr = Prr::new(in_flight);
                    self.forced = true;
                    cc.on_loss(now, outstanding);
                }
                is_second
            }
            State::Loss => false,
        }
    }

    /// All segments are judged again: after a timeout, and after one was undone.
    pub(super) fn judge_anew(&mut self, now: Stamp) {
        let una = self.board.una();
        (self.judged, self.first_lost) = (una, una);
        if let Some(episode) = self.episode.as_mut().filter(|_| self.sack) {
            episode.lost_again.clear();
            episode.resent.clear();
            let resent = self.board.iter().filter(|sent| sent.resent && !sent.sacked && !sent.lost);
            episode.resent.extend(resent.map(|sent| (sent.seq, sent.at)));
            episode.resent.make_contiguous().sort_by_key(|(_, at)| std::cmp::Reverse(now.since(*at)));
        }
    }
}
