//! Each TCP flow as the wire shows it: what one segment said binds those after it.

use crate::wire::{Tcp, flag};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};
use weirgate_dataplane::{
    counters::{Counter, Counters},
    drops::Drop,
    services::characters,
};

/// All flows of one worker.
#[derive(Default)]
pub struct Flows {
    flows: BTreeMap<Key, Flow>,
    /// What our SYNs said. Where they are cookies, the peer chooses which of them its connection begins with.
    offers: BTreeMap<Key, VecDeque<Offer>>,
    /// Segments that took numbers which others had taken.
    resent: u64,
    /// Frames that were lost before they left.
    lost: u64,
    /// Cookies that came back.
    cookies: u64,
}

/// Our end and the peer's.
type Key = (SocketAddr, SocketAddr);

/// A SYN of ours.
#[derive(Clone, Copy)]
struct Offer {
    iss: u32,
    /// The number after the peer's SYN, where that is known.
    ack: Option<u32>,
    wscale: u8,
}

/// So many of them are remembered for each flow.
const OFFERS_MAX: usize = 64;

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
    /// Cookies that had come back when it began.
    cookies: u64,
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
                self.offers.remove(&key);
            }
            return Ok(());
        }
        if segment.has(flag::SYN) {
            self.note_syn(key, segment);
            return Ok(());
        }
        if let Some(offer) = self.offer_of(key, segment)
            && self.flows.get(&key).is_none_or(|flow| flow.iss != offer.iss)
        {
            self.flows.insert(key, self.flow(offer));
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
            // rfc4987 3.6: whoever repeats the acknowledgment of a cookie begins the flow again.
            Err(_) if before.cookies < self.cookies && self.offer_of(key, segment).is_some() => {
                let offer = self.offer_of(key, segment).expect("there is one");
                let mut flow = self.flow(offer);
                flow.check(from, segment)?;
                self.flows.insert(key, flow);
            }
            // Another flow may have begun of which the SYN never left.
            Err(_) if lost < self.lost && !before.guessed => return self.begin(key, segment),
            Err(what) => return Err(what),
        }
        Ok(())
    }

    /// Which of our SYNs began what the segment belongs to: the nearest number below its own.
    fn offer_of(&self, key: Key, segment: &Tcp<'_>) -> Option<Offer> {
        const NEAR: u32 = 1 << 30;
        let after = |later: u32, earlier: u32| later.wrapping_sub(earlier);
        let suits = |offer: &&Offer| {
            after(segment.seq, offer.iss) < NEAR && offer.ack.is_none_or(|ack| after(segment.ack, ack) < NEAR)
        };
        let offers = self.offers.get(&key)?.iter();
        offers.filter(suits).min_by_key(|offer| after(segment.seq, offer.iss)).copied()
    }

    fn flow(&self, offer: Offer) -> Flow {
        let Offer { iss, wscale, .. } = offer;
        Flow { cookies: self.cookies, wscale, ..Flow::new(iss, iss.wrapping_add(1), self.lost) }
    }

    /// A flow of which something else than the SYN is seen first.
    fn begin(&mut self, key: Key, segment: &Tcp<'_>) -> Result<(), String> {
        let iss = segment.seq.wrapping_sub(1);
        let mut flow = Flow { guessed: true, ..Flow::new(iss, segment.seq, self.lost) };
        let result = flow.check(key.0, segment).map(|_| ());
        self.flows.insert(key, flow);
        result
    }

    fn note_syn(&mut self, key: Key, segment: &Tcp<'_>) {
        let answers = segment.has(flag::ACK);
        let wscale = match segment.option(3) {
            Some(&[shift]) if answers => shift,
            _ => 0, // of an active open: not known until the peer has answered
        };
        let offer = Offer { iss: segment.seq, ack: answers.then_some(segment.ack), wscale };
        let offers = self.offers.entry(key).or_default();
        // A cookie's number may be the same for different options.
        offers.retain(|before| before.iss != offer.iss);
        if offers.len() == OFFERS_MAX {
            offers.pop_front();
        }
        offers.push_back(offer);
    }

    /// rfc9293 3.8.1: nothing is sent twice but for a reason, and reasons are counted. What probed a window is sent once more when it opens.
    pub fn check(&mut self, counters: &Counters) -> Result<(), String> {
        let of = |counter| counters.counter(counter);
        self.cookies = of(Counter::TcpCookiesAccepted);
        self.lost = LOST.iter().map(|reason| counters.drops(*reason)).sum();
        let counted = of(Counter::TcpResent) + 2 * of(Counter::TcpWindowProbes);
        // Whoever repeats the acknowledgment of a cookie begins the flow again, with the same numbers.
        if self.resent > counted && self.cookies == 0 {
            return Err(format!("{} segments were sent again, {counted} counted", self.resent));
        }
        Ok(())
    }
}

impl Flow {
    fn new(iss: u32, sent_end: u32, lost: u64) -> Self {
        Self { iss, guessed: false, lost, cookies: 0, sent_end, acked: None, edge: None, wscale: 0, fin_at: None }
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
