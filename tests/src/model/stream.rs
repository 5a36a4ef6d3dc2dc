//! The peer's stream, byte by byte, each at its place.

use super::{Heard, before};
use crate::wire::flag;
use std::collections::BTreeMap;

/// What is held of it.
#[derive(Default)]
pub(super) struct Stream {
    /// Text by its distance from the peer's first number.
    text: BTreeMap<u32, u8>,
    /// Where a FIN is held.
    fin: Option<u32>,
}

/// What is new in order.
pub(super) struct Next {
    pub(super) text: Vec<u8>,
    pub(super) fin: bool,
    /// It came as it should, and nothing was missing.
    pub(super) in_order: bool,
}

impl Stream {
    /// Something is held.
    pub(super) fn holds(&self) -> bool {
        !self.text.is_empty() || self.fin.is_some()
    }

    /// Takes a segment's text and FIN as far as they lie before `edge`. `first`: the number at place 0; `fin_needs_room`: or the FIN may stand at
    /// the edge.
    pub(super) fn take(&mut self, heard: &Heard, first: u32, rcv_nxt: u32, edge: u32, fin_needs_room: bool) -> Next {
        let place_of = |number: u32| number.wrapping_sub(first);
        let end = heard.seq.wrapping_add(heard.text.len() as u32);
        let in_order = heard.seq == rcv_nxt && !self.holds() && !before(edge, end);
        let held_fin = self.fin.map(|place| first.wrapping_add(place));
        let last_held = self.text.last_key_value().map(|(place, _)| first.wrapping_add(*place));
        for (n, byte) in (0u32..).zip(&heard.text) {
            let number = heard.seq.wrapping_add(n);
            let behind_fin = held_fin.is_some_and(|fin| !before(number, fin));
            if !before(number, rcv_nxt) && before(number, edge) && !behind_fin {
                self.text.entry(place_of(number)).or_insert(*byte);
            }
        }
        let has_room = if fin_needs_room { before(end, edge) } else { !before(edge, end) };
        if heard.has(flag::FIN) && has_room && !before(end, rcv_nxt) {
            let contradicts = held_fin.is_some() || last_held.is_some_and(|last| !before(last, end));
            let in_front = !before(rcv_nxt, heard.seq) && held_fin.is_none_or(|fin| before(end, fin));
            if !contradicts || (in_front && !self.text.contains_key(&place_of(end))) {
                self.fin = Some(place_of(end));
            }
        }
        let (mut text, mut place) = (Vec::new(), place_of(rcv_nxt));
        while self.fin != Some(place)
            && let Some(byte) = self.text.remove(&place)
        {
            text.push(byte);
            place = place.wrapping_add(1);
        }
        let fin = self.fin == Some(place);
        if fin {
            *self = Self::default();
        }
        Next { text, fin, in_order }
    }
}
