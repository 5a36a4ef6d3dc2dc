//! Each TCP flow as the wire shows it: what one segment said binds those after it.

use crate::wire::{Tcp, flag};
use std::{collections::BTreeMap, net::SocketAddr};
use weirgate_dataplane::{
    counters::{Counter, Counters},
    drops::Drop,
    services::characters,
};

/// All flows of one worker.
#[derive(Default)]
pub struct Flows {
    flows: BTreeMap<(SocketAddr, SocketAddr), Flow>,
    /// Segments that took numbers which others had taken.
    resent: u64,
    /// Frames that were lost before they left.
    lost: u64,
}

/// Why a frame that a connection has sent may never leave: no wire shows it.
const LOST: [Drop; 6] = [
    Drop::NoRoute,
    Drop::NeighborUnreachable,
    Drop::NeighborPendingFull,
    Drop::NeighborAskLimited,
    Drop::NeighborEvicted,
    Drop::TxBacklogFull,
];

/// One flow, since our last SYN on it.
#[derive(Clone, Copy)]
struct Flow {
    iss: u32,
    /// The SYN was lost, so what its number was is a guess.
    guessed: bool,
    /// Frames that were lost when it was last seen.
    lost: u64,
    /// The number after the last that was ever sent.
    sent_end: u32,
    /// The highest acknowledgment that was sent.
    acked: Option<u32>,
    /// The right edge of the last window that was announced.
    edge: Option<u32>,
    wscale: u8,
    fin_at: Option<u32>,
}

/// The character generator.
const CHARGEN: u16 = 19;

impl Flows {
    /// A segment left the gateway.
    pub fn note_sent(&mut self, from: SocketAddr, to: SocketAddr, segment: &Tcp<'_>) -> Result<(), String> {
        let key = (from, to);
        if segment.has(flag::RST) {
            // A connection's own is its last word; others refuse one segment.
            if segment.has(flag::ACK) && segment.seq != 0 {
                self.flows.remove(&key);
            }
            return Ok(());
        }
        if segment.has(flag::SYN) {
            return self.note_syn(key, segment);
        }
        let Some(flow) = self.flows.get_mut(&key) else {
            let what = "a segment with numbers of a flow that never began, or that was reset";
            return match segment.is_empty() {
                true => Ok(()),
                false if self.lost > 0 => self.begin(key, segment),
                false => Err(what.into()),
            };
        };
        let before = *flow;
        let again = flow.check(from, segment);
        let lost = std::mem::replace(&mut flow.lost, self.lost);
        match again {
            Ok(again) => self.resent += u64::from(again),
            // Another flow may have begun of which the SYN never left.
            Err(_) if lost < self.lost && !before.guessed => return self.begin(key, segment),
            Err(what) => return Err(what),
        }
        Ok(())
    }

    /// A flow of which something else than the SYN is seen first.
    fn begin(&mut self, key: (SocketAddr, SocketAddr), segment: &Tcp<'_>) -> Result<(), String> {
        let iss = segment.seq.wrapping_sub(1);
        let mut flow = Flow { guessed: true, ..Flow::new(iss, segment.seq, 0, self.lost) };
        let result = flow.check(key.0, segment).map(|_| ());
        self.flows.insert(key, flow);
        result
    }

    fn note_syn(&mut self, key: (SocketAddr, SocketAddr), segment: &Tcp<'_>) -> Result<(), String> {
        let again = self.flows.get(&key).is_some_and(|flow| flow.iss == segment.seq);
        if !again {
            let wscale = match segment.option(3) {
                Some(&[shift]) if segment.has(flag::ACK) => shift,
                _ => 0, // of an active open: not known until the peer has answered
            };
            self.flows.insert(key, Flow::new(segment.seq, segment.end(), wscale, self.lost));
        }
        Ok(())
    }

    /// rfc9293 3.8.1: nothing is sent twice but for a reason, and reasons are counted. What probed a window is sent once more when it opens.
    pub fn check(&mut self, counters: &Counters) -> Result<(), String> {
        let of = |counter| counters.counter(counter);
        self.lost = LOST.iter().map(|reason| counters.drops(*reason)).sum();
        let counted = of(Counter::TcpResent) + 2 * of(Counter::TcpWindowProbes);
        if self.resent > counted {
            return Err(format!("{} segments were sent again, {counted} counted", self.resent));
        }
        Ok(())
    }
}

impl Flow {
    fn new(iss: u32, sent_end: u32, wscale: u8, lost: u64) -> Self {
        Self { iss, guessed: false, lost, sent_end, acked: None, edge: None, wscale, fin_at: None }
    }

    /// Says whether any of its numbers had been sent before.
    fn check(&mut self, from: SocketAddr, segment: &Tcp<'_>) -> Result<bool, String> {
        self.check_receiving(segment)?;
        if segment.is_empty() { Ok(false) } else { self.check_sending(from, segment) }
    }

    /// rfc9293 3.8.6 SHLD-14: neither the acknowledgment nor the window's edge moves left.
    fn check_receiving(&mut self, segment: &Tcp<'_>) -> Result<(), String> {
        let back = |to: u32, from: u32| to.wrapping_sub(from).cast_signed() < 0;
        if self.acked.is_some_and(|acked| back(segment.ack, acked)) {
            return Err("an acknowledgment lower than the one before".into());
        }
        self.acked = Some(segment.ack);
        if self.wscale > 0 {
            let edge = segment.ack.wrapping_add(u32::from(segment.window) << self.wscale);
            // After a FIN the window says nothing; TIME-WAIT rounds it down.
            let slack = 1 << self.wscale;
            if self.edge.is_some_and(|before| back(edge.wrapping_add(slack), before)) {
                return Err("a window whose edge lies left of the one before".into());
            }
            self.edge = Some(self.edge.map_or(edge, |before| if back(edge, before) { before } else { edge }));
        }
        Ok(())
    }

    fn check_sending(&mut self, from: SocketAddr, segment: &Tcp<'_>) -> Result<bool, String> {
        let ahead = segment.seq.wrapping_sub(self.sent_end).cast_signed();
        if ahead > 0 {
            // They left, but were lost for want of a neighbour or of room in the port.
            self.sent_end = segment.seq;
        }
        if ahead < -(1 << 30)
            || segment.seq.wrapping_sub(self.iss).cast_signed() <= 0 && self.sent_end.wrapping_sub(self.iss) < 1 << 30
        {
            return Err("numbers from before the flow".into());
        }
        let end = segment.end();
        let data_end = end.wrapping_sub(u32::from(segment.has(flag::FIN)));
        if let Some(fin_at) = self.fin_at {
            let beyond = data_end.wrapping_sub(fin_at).cast_signed();
            if beyond > 0 || (segment.has(flag::FIN) && beyond != 0) {
                return Err("text after a FIN, or a FIN elsewhere than before".into());
            }
        } else if segment.has(flag::FIN) {
            self.fin_at = Some(data_end);
        }
        if from.port() == CHARGEN && !self.guessed {
            let start = u64::from(segment.seq.wrapping_sub(self.iss).wrapping_sub(1));
            if let Some(at) =
                segment.payload.iter().zip(characters(start)).position(|(byte, expected)| *byte != expected)
            {
                return Err(format!("another character than belongs at {}", start + at as u64));
            }
        }
        if end.wrapping_sub(self.sent_end).cast_signed() > 0 {
            self.sent_end = end;
        }
        Ok(ahead < 0)
    }
}
