//! What comes from the other side: what an honest peer would send next, bent more often than not.

use weirgate_tests::{
    model::{Heard, Model, State},
    wire::flag,
};

/// The byte at a place of the peer's stream.
fn byte_at(place: u32) -> u8 {
    (place.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// The other side of the flow.
pub(crate) struct Peer {
    random: fastrand::Rng,
    /// The number of its first byte.
    first: u32,
    /// How much of its stream it has sent.
    place: u32,
    /// The stream's length.
    length: u32,
    timestamps: bool,
    /// It sends as fast as it can, in order.
    fills: bool,
}

/// Distances at which something may change. Exactly half a circle away, numbers are neither before nor after.
const NEAR: [u32; 11] = [1, 1, 2, 100, 1_460, 40_000, 65_535, 65_536, 100_000, 0x7fff_fff0, 0x8000_4000];

impl Peer {
    pub(crate) fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let mut peer = Self { random, first: 0, place: 0, length: 0, timestamps: false, fills: false };
        peer.renew();
        peer
    }

    /// The window is to be filled.
    pub(crate) fn fills(&self) -> bool {
        self.fills
    }

    /// The next connection.
    fn renew(&mut self) {
        let random = &mut self.random;
        self.fills = random.u8(0..12) == 0;
        // Half begin just before the numbers do.
        self.first = if random.bool() { 0u32.wrapping_sub(random.u32(0..3_000)) } else { random.u32(..) };
        self.timestamps = random.bool();
        self.place = 0;
        self.length = if self.fills { 200_000 } else { random.u32(1..20_000) };
    }

    /// The segment was taken as a SYN; what follows goes on from there.
    pub(crate) fn adopt(&mut self, syn: &Heard) {
        self.first = syn.seq.wrapping_add(1);
        self.timestamps = syn.timestamp.is_some();
        self.place = 0;
    }

    /// The next segment.
    pub(crate) fn next(&mut self, model: &Model, now_ms: u64) -> Heard {
        let clock = now_ms as u32;
        let mut heard = match (model.state, self.random.u8(0..16)) {
            (State::SynSent, 0..8) => self.syn_ack(model, clock),
            (State::Listen | State::Closed | State::SynSent, 0..12) => self.syn(clock),
            (State::SynReceived, 0..3) => self.syn_again(clock),
            (State::SynReceived, 3..6) => Heard { seq: self.first.wrapping_sub(1), ..self.syn_ack(model, clock) },
            (State::TimeWait, 0..3) => self.syn_in_time_wait(model, clock),
            (State::TimeWait, 3..6) => Heard {
                seq: model.rcv_nxt().wrapping_sub(1),
                flags: flag::FIN | flag::ACK,
                text: Vec::new(),
                ..self.segment(model, clock)
            },
            (State::FinWait1, 0..3) => {
                // Both FINs cross.
                let ack = model.snd_una();
                Heard { seq: model.rcv_nxt(), ack, flags: flag::FIN | flag::ACK, ..self.segment(model, clock) }
            }
            (state, 15) if state.is_synchronized() => self.keepalive(model, clock),
            (state, 14) if state.is_synchronized() && self.random.bool() => self.known_text(model, clock),
            _ => self.segment(model, clock),
        };
        let honest = if self.fills { self.random.u8(0..8) > 0 } else { self.random.bool() };
        let bends = if honest { 0 } else { self.random.u8(1..3) };
        (0..bends).for_each(|_| self.bend(&mut heard, model));
        heard
    }

    fn syn(&mut self, clock: u32) -> Heard {
        self.renew();
        self.syn_again(clock)
    }

    fn syn_again(&mut self, clock: u32) -> Heard {
        let scale = self.random.bool().then(|| self.random.u8(0..3));
        let len = if self.random.u8(0..16) == 0 { self.random.u32(1..50) } else { 0 };
        Heard {
            seq: self.first.wrapping_sub(1),
            ack: 0,
            flags: flag::SYN,
            window: self.window(),
            timestamp: self.timestamps.then_some(clock),
            scale,
            text: (0..len).map(byte_at).collect(),
        }
    }

    fn syn_ack(&mut self, model: &Model, clock: u32) -> Heard {
        if model.state == State::SynSent {
            self.renew();
        }
        Heard { ack: model.snd_nxt(), flags: flag::SYN | flag::ACK, ..self.syn_again(clock) }
    }

    fn syn_in_time_wait(&mut self, model: &Model, clock: u32) -> Heard {
        let distance =
            [0, 1, 1_000, 0u32.wrapping_sub(1), 0u32.wrapping_sub(1_000), 0x8000_4000][self.random.usize(0..6)];
        let timestamp =
            self.random.bool().then(|| model.ts_recent.unwrap_or(clock).wrapping_add(self.random.u32(0..3)));
        let timestamp = timestamp.map(|value| value.wrapping_sub(1));
        Heard { seq: model.rcv_nxt().wrapping_add(distance), timestamp, ..self.syn_again(clock) }
    }

    /// An acknowledgment that asks for one, with a byte or without.
    fn keepalive(&mut self, model: &Model, clock: u32) -> Heard {
        let text = if self.random.bool() { vec![0] } else { Vec::new() };
        Heard { seq: model.rcv_nxt().wrapping_sub(1), flags: flag::ACK, text, ..self.segment(model, clock) }
    }

    /// The last text again, sometimes with the FIN that was to follow it.
    fn known_text(&mut self, model: &Model, clock: u32) -> Heard {
        let len = self.random.u32(1..50);
        let fin = if self.random.u8(0..3) == 0 { flag::FIN } else { 0 };
        let begin = model.rcv_nxt().wrapping_sub(len);
        let text = (0..len).map(|n| byte_at(begin.wrapping_sub(self.first).wrapping_add(n))).collect();
        Heard { seq: begin, flags: flag::ACK | fin, text, ..self.segment(model, clock) }
    }

    /// The peer's window: never so small that it holds us back.
    fn window(&mut self) -> u16 {
        self.random.u16(6_000..=u16::MAX)
    }

    fn segment(&mut self, model: &Model, clock: u32) -> Heard {
        let expected = model.rcv_nxt().wrapping_sub(self.first);
        let left = model.edge().wrapping_sub(model.rcv_nxt());
        let random = &mut self.random;
        let nearly_full = self.fills && left < 2_000 && random.bool();
        let place = match random.u8(0..10) {
            _ if nearly_full => expected.wrapping_sub(random.u32(0..50)),
            _ if self.fills && random.u8(0..8) > 0 => expected.min(self.length),
            0..4 => self.place.min(self.length),
            4..6 => expected.min(self.length),
            6 => expected.saturating_sub(random.u32(0..2_000)).min(self.length),
            7 => (self.place + random.u32(0..3_000)).min(self.length),
            // To the window's edge and beyond.
            8 => expected.wrapping_add(left.saturating_sub(random.u32(0..1_500))),
            _ => random.u32(0..=self.length),
        };
        let most = if place > self.length { 1_400 } else { self.length - place };
        let len = match random.u8(0..8) {
            _ if nearly_full && random.bool() => expected.wrapping_add(left).wrapping_sub(place).min(1_980),
            0 | 1 => 0,
            // Up to the window's edge, and a little more.
            2 => (expected.wrapping_add(left).wrapping_sub(place)).min(1_400).wrapping_add(random.u32(0..2)),
            _ if self.fills => 1_980,
            _ => random.u32(0..=1_400),
        };
        let len = len.min(most);
        let mut flags = flag::ACK;
        if (place.wrapping_add(len) == self.length && random.u8(0..3) == 0)
            || random.u8(0..if nearly_full { 4 } else { 64 }) == 0
        {
            flags |= flag::FIN;
        }
        self.place = self.place.max(place.wrapping_add(len)).min(self.length);
        Heard {
            seq: self.first.wrapping_add(place),
            // Not always all of what we have sent.
            ack: if random.u8(0..4) == 0 { model.snd_una() } else { model.snd_nxt() },
            flags,
            window: self.window(),
            timestamp: self.timestamps.then_some(clock),
            scale: None,
            text: (0..len).map(|n| byte_at(place.wrapping_add(n))).collect(),
        }
    }

    fn bend(&mut self, heard: &mut Heard, model: &Model) {
        let random = &mut self.random;
        let distance = NEAR[random.usize(0..NEAR.len())];
        let signed = if random.bool() { distance } else { 0u32.wrapping_sub(distance) };
        match random.u8(0..15) {
            0 | 1 => heard.seq = heard.seq.wrapping_add(signed),
            2 => heard.ack = heard.ack.wrapping_add(signed),
            3 => heard.ack = model.oldest_ack().wrapping_sub(random.u32(0..2)),
            4 => heard.flags ^= flag::SYN,
            // A reset with the very number ends the connection, so it is rare.
            5 | 6 if heard.seq != model.rcv_nxt() || random.u8(0..6) == 0 => heard.flags ^= flag::RST,
            7 if random.u8(0..4) == 0 => heard.flags ^= flag::FIN,
            8 if random.bool() => heard.flags ^= flag::ACK,
            9 => heard.timestamp = heard.timestamp.map(|value| value.wrapping_sub(distance)),
            10 if random.u8(0..8) == 0 => heard.timestamp = heard.timestamp.map(|value| value.wrapping_add(50)),
            11 => heard.timestamp = heard.timestamp.filter(|_| random.bool()),
            12 => heard.text.iter_mut().for_each(|byte| *byte ^= 0x55),
            13 => heard.flags |= flag::URG,
            14 => heard.seq = model.edge().wrapping_sub(random.u32(0..2)),
            _ => {}
        }
        if heard.flags & flag::SYN == 0 {
            heard.scale = None;
        }
    }
}
