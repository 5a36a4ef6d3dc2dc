//! What the link tells those who watch: exchanges and frames, to several at a time, each with a filter and a slot of its own.
//!
//! ```text
//!   begin:  a free slot --> Command to every worker --> the peer has it
//!   end:    the peer has it no longer, or is gone --> Command to every worker --> the slot is free
//! ```

use super::{
    capture::CaptureFilter,
    desk::Command,
    message::{Answer, Event, Refusal, Said, TapFilter},
    server::{IDLE, Server, WATCH, now},
};
use crate::{
    capture::{Capture, Filter, Ring},
    limits::{CAPTURES_MAX, TAPPED_MAX, TAPS_MAX},
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Slots for which the workers do something.
#[derive(Default)]
pub(super) struct Streams {
    taps: [bool; TAPS_MAX],
    captures: [bool; CAPTURES_MAX],
}

/// A peer's capture.
pub(super) struct Capturing {
    slot: u8,
    ring: Arc<Ring>,
    /// Frames until its end.
    left: u64,
    until: Option<Instant>,
}

impl Server {
    pub(super) fn begin_tap(&mut self, n: usize, filter: &TapFilter) -> Result<Answer, Refusal> {
        let tapping = self.planner.plan_tap(filter).map_err(|reason| Refusal::Unsound { reason })?;
        // Whoever watches already has another filter from now on.
        let slot = self.peers[n].tap.map_or_else(|| free(&self.streams.taps, "taps"), Ok)?;
        self.streams.taps[usize::from(slot)] = true;
        self.gather(|| Command::Tap(slot, Some(Box::new(tapping.clone()))))?;
        self.peers[n].tap = Some(slot);
        Ok(Answer::Done)
    }

    pub(super) fn begin_capture(&mut self, n: usize, asked: &CaptureFilter) -> Result<Answer, Refusal> {
        if self.peers[n].capture.is_some() {
            return Err(Refusal::Unsound { reason: "this peer captures already".into() });
        }
        let dataplane = &self.planner.snapshot().expect("something is served").dataplane;
        let filter = Filter::plan(asked, dataplane).map_err(|reason| Refusal::Unsound { reason })?;
        let interfaces = dataplane.ports.iter().map(|port| port.name.clone()).collect();
        let slot = free(&self.streams.captures, "captures")?;
        self.streams.captures[usize::from(slot)] = true;
        let ring = Arc::new(Ring::default());
        let capture = Capture { slot, filter, ring: Arc::clone(&ring) };
        self.gather(|| Command::Capture(Box::new(capture.clone())))?;
        let until = asked.duration_ms.and_then(|ms| now().checked_add(Duration::from_millis(ms)));
        self.peers[n].capture = Some(Capturing { slot, ring, left: asked.count.unwrap_or(u64::MAX), until });
        Ok(Answer::Capturing { interfaces })
    }

    /// Workers do nothing for slots that nobody has.
    pub(super) fn end_streams(&mut self) {
        for slot in 0..TAPS_MAX as u8 {
            let is_wanted = self.peers.iter().any(|peer| peer.tap == Some(slot));
            if self.streams.taps[usize::from(slot)] && !is_wanted && self.room().is_ok() {
                // A worker that does not answer does it when it is back.
                let _ = self.gather(|| Command::Tap(slot, None));
                // What is there for the slot is nobody's.
                self.tell_exchanges();
                self.streams.taps[usize::from(slot)] = false;
            }
        }
        for slot in 0..CAPTURES_MAX as u8 {
            let is_wanted = self.peers.iter().any(|peer| peer.capture.as_ref().is_some_and(|it| it.slot == slot));
            if self.streams.captures[usize::from(slot)] && !is_wanted && self.room().is_ok() {
                let _ = self.gather(|| Command::EndCapture(slot));
                self.streams.captures[usize::from(slot)] = false;
            }
        }
    }

    /// How long they can do without a look.
    pub(super) fn until_streams(&self) -> Duration {
        let mut longest = if self.streams.taps.contains(&true) { WATCH } else { IDLE };
        for peer in &self.peers {
            let Some(capture) = &peer.capture else { continue };
            // Whoever has no room for more is waited for.
            let waits = !capture.ring.is_empty() && peer.has_room();
            longest = longest.min(if waits { Duration::ZERO } else { WATCH });
            longest = longest.min(capture.until.map_or(WATCH, |until| until.saturating_duration_since(now())));
        }
        longest
    }

    /// Exchanges that have ended, to those who want them.
    pub(super) fn tell_exchanges(&mut self) {
        if !self.streams.taps.contains(&true) {
            return;
        }
        let Self { peers, planner, desks, .. } = self;
        let mut names = None;
        for desk in desks.iter() {
            let mut left = TAPPED_MAX;
            while left > 0
                && let Some(tapped) = desk.tapped()
            {
                left -= 1;
                let wanted_by: [bool; TAPS_MAX] = std::array::from_fn(|slot| tapped.is_wanted_by(slot));
                let names = names.get_or_insert_with(|| planner.names());
                let record = planner.name_tapped(*tapped, unix_us(), names);
                let event = Said::Event(Event::Exchange(Box::new(record)));
                let wants = |tap: Option<u8>| tap.is_some_and(|slot| wanted_by[usize::from(slot)]);
                peers.iter_mut().filter(|peer| wants(peer.tap)).for_each(|peer| peer.tell(&event));
            }
            let missed = desk.take_missed();
            for peer in peers.iter_mut() {
                peer.missed += peer.tap.map_or(0, |slot| missed[usize::from(slot)]);
            }
        }
    }

    /// Frames that were copied, as far as there is room for them with who asked; meanwhile the others wait in the ring, where workers count what
    /// finds no room.
    pub(super) fn tell_frames(&mut self) {
        let mut ends = Vec::new();
        for n in 0..self.peers.len() {
            let peer = &mut self.peers[n];
            let Some(mut capture) = peer.capture.take() else { continue };
            while capture.left > 0
                && peer.has_room()
                && let Some(frame) = capture.ring.pop()
            {
                capture.left -= 1;
                peer.say(&Said::Event(Event::Frame(Box::new(frame.into()))));
            }
            if capture.left == 0 || capture.until.is_some_and(|until| now() >= until) {
                ends.push((n, capture));
            } else {
                peer.capture = Some(capture);
            }
        }
        for (n, capture) in ends {
            self.end_capture(n, capture);
        }
    }

    /// Tells what is left of a capture, and that no more comes.
    fn end_capture(&mut self, n: usize, capture: Capturing) {
        self.end_streams();
        let Capturing { ring, mut left, .. } = capture;
        let peer = &mut self.peers[n];
        let mut lost = 0;
        while left > 0
            && let Some(frame) = ring.pop()
        {
            // No more than its share of what may wait: the rest is as good as lost.
            if peer.has_room() {
                left -= 1;
                peer.say(&Said::Event(Event::Frame(Box::new(frame.into()))));
            } else {
                lost += 1 + frame.lost;
            }
        }
        if left > 0 {
            lost += ring.take_lost();
        }
        peer.say(&Said::Event(Event::CaptureEnd { lost }));
    }
}

/// The first slot that nobody has.
fn free(slots: &[bool], of: &str) -> Result<u8, Refusal> {
    let slot = slots.iter().position(|is_taken| !is_taken).map(|slot| slot as u8);
    slot.ok_or_else(|| Refusal::TooMany { of: of.into(), most: slots.len() as u32 })
}

// The edge, as in `server`.
#[allow(clippy::disallowed_methods)]
pub(super) fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
