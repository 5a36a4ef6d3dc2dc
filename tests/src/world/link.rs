//! A cable with everything that can go wrong in one.

use super::clock::{Agenda, Event, HostIndex, LinkIndex};
use crate::wire::{self, protocol};
use fastrand::Rng;
use std::{collections::VecDeque, fmt};
use weirgate_dataplane::time::{Duration, Instant};

/// How often things go wrong, in thousandths, and how long frames take.
#[derive(Clone, Copy, Default, Debug)]
pub struct Faults {
    /// Frames that vanish.
    pub loss: u16,
    /// Not in thousandths: when one vanishes, up to so many that follow soon do too.
    pub burst: u16,
    /// Frames that arrive twice.
    pub duplicate: u16,
    /// Frames with one to three bits flipped.
    pub corrupt: u16,
    /// Frames cut short.
    pub truncate: u16,
    /// Frames that later ones overtake.
    pub reorder: u16,
    /// What a frame takes at least.
    pub delay_us: u64,
    /// What it may take more.
    pub jitter_us: u64,
}

impl Faults {
    /// Faults of each kind, or of some: a world where everything fails at once hides what one fault does.
    pub fn choose(random: &mut Rng) -> Self {
        let mut rate = |max: u16| if random.bool() { random.u16(1..=max) } else { 0 };
        let (loss, duplicate, corrupt, truncate, reorder) = (rate(200), rate(100), rate(100), rate(60), rate(150));
        let delay_us = 1 << random.u32(0..14);
        let jitter_us = if random.bool() { 1 << random.u32(0..12) } else { 0 };
        let burst = if random.u8(0..4) == 0 { random.u16(1..12) } else { 0 };
        Self { loss, burst, duplicate, corrupt, truncate, reorder, delay_us, jitter_us }
    }
    /// Nothing goes wrong any more; it takes as long as it took.
    pub fn ended(self) -> Self {
        Self { delay_us: self.delay_us, jitter_us: self.jitter_us, ..Self::default() }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss, burst, duplicate, corrupt, truncate, reorder, delay_us, jitter_us } = self;
        write!(
            f,
            "loss {loss} (and {burst}), duplicate {duplicate}, corrupt {corrupt}, truncate {truncate}, reorder {reorder} in a thousand; \
             {delay_us} us"
        )?;
        if *jitter_us > 0 { write!(f, " to {} us", delay_us + jitter_us) } else { Ok(()) }
    }
}

/// Flipped bits that cancel out in the Internet checksum. A real link's own checksum finds any three; nobody above it could.
fn is_deceptive(before: &[u8], after: &[u8]) -> bool {
    let segment = |frame: &[u8]| {
        let link = wire::link(frame)?;
        let packet = &frame[link.payload_at..];
        let ip = wire::ip_packet(packet)?;
        let message = &packet[ip.transport_at..ip.end];
        let right =
            ip.protocol == protocol::TCP && wire::transport_sum(ip.source, ip.destination, protocol::TCP, message) == 0;
        right.then(|| (ip.source, ip.destination, message.to_vec()))
    };
    segment(after).is_some_and(|after| Some(after) != segment(before))
}

/// The longest burst of losses.
const BURST_MAX: Duration = Duration::from_ms(200);
/// Frames that a clogged direction keeps.
const WAITING_MAX: usize = 64;

/// What became of the frames.
#[derive(Default, Debug)]
pub struct Tally {
    /// Frames that were put in.
    pub carried: u64,
    /// Of these: gone.
    pub lost: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Arrived with flipped bits.
    pub corrupted: u64,
    /// Arrived short.
    pub truncated: u64,
    /// Arrived late.
    pub overtaken: u64,
}

/// Two ends and what lies between.
pub struct Link {
    /// Host and its port, at either end.
    pub ends: [(HostIndex, usize); 2],
    /// What happened.
    pub tally: Tally,
    index: LinkIndex,
    faults: Faults,
    /// By the end that frames come out of.
    towards: [Direction; 2],
    random: Rng,
}

#[derive(Default)]
struct Direction {
    clogged: bool,
    waiting: VecDeque<Vec<u8>>,
    /// Frames that vanish with the last one that did.
    losing: u16,
    /// But not those that come later.
    losing_until: Instant,
    /// A frame that is not overtaken arrives no earlier.
    in_order_at: Instant,
}

impl Link {
    /// A link with its faults, which its own random numbers decide.
    pub fn new(index: LinkIndex, ends: [(HostIndex, usize); 2], faults: Faults, random: Rng) -> Self {
        Self { ends, tally: Tally::default(), index, faults, towards: Default::default(), random }
    }
    /// Its faults.
    pub fn faults(&self) -> Faults {
        self.faults
    }
    /// Makes it as good as links get.
    pub fn calm(&mut self) {
        self.faults = self.faults.ended();
        self.towards.iter_mut().for_each(|direction| direction.losing = 0);
    }
    /// Frames that can be put in now, towards `end`.
    pub fn room(&self, end: usize) -> usize {
        let Direction { clogged, waiting, .. } = &self.towards[end];
        if *clogged { WAITING_MAX - waiting.len() } else { usize::MAX }
    }
    /// Stops carrying.
    pub fn clog(&mut self, end: usize) {
        self.towards[end].clogged = true;
    }
    /// Carries again, and first what has waited.
    pub fn clear(&mut self, now: Instant, end: usize, agenda: &mut Agenda) {
        self.towards[end].clogged = false;
        for frame in std::mem::take(&mut self.towards[end].waiting) {
            self.carry(now, end, frame, agenda);
        }
    }

    /// Takes a frame that will come out at `end`. There must be room.
    pub fn put(&mut self, now: Instant, end: usize, frame: Vec<u8>, agenda: &mut Agenda) {
        self.tally.carried += 1;
        let direction = &mut self.towards[end];
        if direction.clogged {
            direction.waiting.push_back(frame);
            assert!(direction.waiting.len() <= WAITING_MAX, "a host sends only where there is room");
        } else {
            self.carry(now, end, frame, agenda);
        }
    }

    fn happens(&mut self, rate: u16) -> bool {
        rate > 0 && self.random.u16(0..1000) < rate
    }

    fn carry(&mut self, now: Instant, end: usize, mut frame: Vec<u8>, agenda: &mut Agenda) {
        let direction = &mut self.towards[end];
        if direction.losing > 0 && now < direction.losing_until {
            direction.losing -= 1;
            self.tally.lost += 1;
            return;
        }
        if self.happens(self.faults.loss) {
            let direction = &mut self.towards[end];
            (direction.losing, direction.losing_until) = (self.random.u16(0..=self.faults.burst), now + BURST_MAX);
            self.tally.lost += 1;
            return;
        }
        if self.happens(self.faults.corrupt) && !frame.is_empty() {
            self.tally.corrupted += 1;
            let before = frame.clone();
            for _ in 0..self.random.usize(1..=3) {
                let at = self.random.usize(0..frame.len());
                frame[at] ^= 1 << self.random.u8(0..8);
            }
            if is_deceptive(&before, &frame) {
                self.tally.lost += 1;
                return;
            }
        }
        if self.happens(self.faults.truncate) {
            self.tally.truncated += 1;
            frame.truncate(self.random.usize(0..=frame.len()));
        }
        if self.happens(self.faults.duplicate) {
            self.tally.duplicated += 1;
            self.deliver(now, end, frame.clone(), agenda);
        }
        self.deliver(now, end, frame, agenda);
    }

    fn deliver(&mut self, now: Instant, end: usize, frame: Vec<u8>, agenda: &mut Agenda) {
        let Faults { delay_us, jitter_us, reorder, .. } = self.faults;
        let mut at = now + Duration::from_us(delay_us + self.random.u64(0..=jitter_us));
        if self.happens(reorder) {
            self.tally.overtaken += 1;
            at = at + Duration::from_us(self.random.u64(1..=4 * (delay_us + jitter_us)));
        } else {
            at = at.max(self.towards[end].in_order_at);
            self.towards[end].in_order_at = at;
        }
        agenda.put(at, Event::Arrive { link: self.index, end, frame });
    }
}
