//! Who is at which hardware address: one table for ARP and neighbour discovery, with the states of RFC 4861 section 7.3.2.
//!
//! ```text
//!                 answer                     30 s (15 to 45)
//!   INCOMPLETE ------------> REACHABLE ----------------------> STALE <--- a question of theirs, a new address
//!    | 3 questions,            ^                                 | a frame of ours
//!    v no answer               | answer                          v
//!   (gone)                     +---- PROBE <--- 5 s --------- DELAY
//!                                      | 3 questions to the old address, no answer
//!                                      v
//!                                    (gone)
//! ```
//! Frames flow in every state but INCOMPLETE, where a few wait.
//!
//! **One picture, no lock.** Each worker has a table of its own. What one of them asks or learns it tells the others in a [`Notice`];
//! these are read between bursts. A notice of a question is delivered before the question is sent, so whoever receives the
//! answer knows that it was asked for. A lost notice (counted) costs a question more, never a wrong address.
//!
//! **Bounds** (RFC 6583). The table has a fixed number of places. Strangers can take only places of neighbours that are not in use, new ones
//! are learned at a bounded rate, and only a part of the table may be INCOMPLETE, the oldest making room.

use super::{
    arp,
    bucket::Bucket,
    ethernet::{self, ethertype},
    interface::{Interface, InterfaceIndex, NextHop, Topology},
    nd,
};
use crate::{
    counters::{Counter, Gauge},
    drops::Drop,
    limits::{
        NEIGHBOR_PENDING_MAX, NEIGHBORS_ASKED_BURST, NEIGHBORS_ASKED_PER_SECOND, NEIGHBORS_INCOMPLETE_MAX,
        NEIGHBORS_LEARNED_PER_SECOND, NEIGHBORS_MAX, NEIGHBORS_PENDING_MAX,
    },
    outbox::Outbox,
    port::Frame,
    time::{Duration, Instant},
};
use arrayvec::ArrayVec;
use smoltcp::wire::EthernetAddress;
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

/// Constants of RFC 4861 section 10.
mod constant {
    use super::Duration;
    pub(super) const REACHABLE_TIME: Duration = Duration::from_secs(30);
    pub(super) const DELAY_FIRST_PROBE_TIME: Duration = Duration::from_secs(5);
    pub(super) const RETRANS_TIMER: Duration = Duration::from_secs(1);
    pub(super) const MAX_SOLICITATIONS: u8 = 3;
}
/// A neighbour that nobody speaks to is forgotten after so long.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// A neighbour's address changes at most once in this time, or two machines that fight for it would decide by speed.
const MOVE_INTERVAL: Duration = Duration::from_secs(1);
/// Timers are looked at no more often than this.
const TIMER_GRAIN: Duration = Duration::from_ms(10);
/// Places that the search for a free one looks at.
const EVICTION_STEPS: usize = 16;

/// What one worker tells the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// It is about to ask for this neighbour.
    Asked(NextHop),
    /// It has learned the neighbour's hardware address, or that it still stands.
    Learned {
        /// Whose.
        hop: NextHop,
        /// Which.
        mac: EthernetAddress,
        /// By an answer to a question, so it can be believed for a while.
        reachable: bool,
    },
}

/// What a message says about its sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) mac: EthernetAddress,
    /// It answers a question.
    pub(super) solicited: bool,
    /// It is meant to replace another address.
    pub(super) overrides: bool,
    /// A neighbour that is not known yet is remembered.
    pub(super) creates: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Incomplete,
    Reachable,
    Stale,
    Delay,
    Probe,
}

struct Neighbor {
    hop: NextHop,
    state: State,
    /// Not meaningful while INCOMPLETE.
    mac: EthernetAddress,
    /// When the state ends.
    due: Instant,
    /// Which of all neighbours that were ever remembered this is; a place's next one has another.
    turn: u64,
    /// Questions sent in this state.
    asked: u8,
    /// INCOMPLETE because another worker asks; we only listen.
    foreign: bool,
    /// Another worker has asked for it and is told the answer, even one that is no news here.
    awaited: bool,
    /// When `mac` last became another.
    moved_at: Option<Instant>,
    /// IP packets that wait for the address, oldest first. Empty unless INCOMPLETE.
    pending: ArrayVec<Frame, NEIGHBOR_PENDING_MAX>,
}

/// One worker's table.
pub(super) struct Neighbors {
    topology: Arc<Topology>,
    places: HashMap<NextHop, u16, ahash::RandomState>,
    /// `places.len() == slots that are Some <= NEIGHBORS_MAX`
    slots: Vec<Option<Neighbor>>,
    free: Vec<u16>,
    /// The place that was last found.
    last: u16,
    /// Where the search for a place to take goes on.
    hand: usize,
    /// Places of INCOMPLETE neighbours and their turns, oldest first; some are answered or gone since.
    incomplete: VecDeque<(u16, u64)>,
    turn_next: u64,
    incomplete_count: usize,
    pending_count: usize,
    /// No state ends before.
    due_min: Instant,
    learn: Bucket,
    /// For neighbours that we begin to ask for; asking again is not limited.
    ask: Bucket,
    random: fastrand::Rng,
}

impl Neighbors {
    pub(super) fn new(topology: Arc<Topology>, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let keys = [random.u64(..), random.u64(..), random.u64(..), random.u64(..)];
        Self {
            topology,
            places: HashMap::with_capacity_and_hasher(
                NEIGHBORS_MAX,
                ahash::RandomState::with_seeds(keys[0], keys[1], keys[2], keys[3]),
            ),
            slots: Vec::with_capacity(NEIGHBORS_MAX),
            free: Vec::with_capacity(NEIGHBORS_MAX),
            last: 0,
            hand: 0,
            incomplete: VecDeque::with_capacity(NEIGHBORS_INCOMPLETE_MAX * 2),
            turn_next: 0,
            incomplete_count: 0,
            pending_count: 0,
            due_min: Instant::NEVER,
            learn: Bucket::new(NEIGHBORS_LEARNED_PER_SECOND, NEIGHBORS_LEARNED_PER_SECOND),
            ask: Bucket::new(NEIGHBORS_ASKED_PER_SECOND, NEIGHBORS_ASKED_BURST),
            random,
        }
    }

    /// When [`Self::handle_timers`] has something to do.
    pub(super) fn next_deadline(&self) -> Instant {
        self.due_min
    }
    /// Frames that wait for an answer.
    pub(super) fn pending(&self) -> usize {
        self.pending_count
    }
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Sends an IP packet to a neighbour, as soon as its hardware address is known.
    ///
    /// The next hop comes by reference: an `IpAddr` that was just written in parts and is copied whole stalls the CPU (its 17 bytes are read
    /// wider than they were stored), and here each copy would be made for every frame.
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        now: Instant,
        interface: InterfaceIndex,
        address: &IpAddr,
        frame: Frame,
        out: &mut Outbox,
    ) {
        let Some(place) = self.find(interface, address) else {
            return self.ask_for(now, NextHop { interface, address: *address }, frame, out);
        };
        let neighbor = self.slots[usize::from(place)].as_mut().expect("a place that is named is taken");
        match neighbor.state {
            State::Reachable | State::Delay | State::Probe => {}
            State::Stale => {
                neighbor.state = State::Delay;
                neighbor.due = now + constant::DELAY_FIRST_PROBE_TIME;
                self.due_min = self.due_min.min(neighbor.due);
            }
            State::Incomplete => return self.wait(now, place, frame, out),
        }
        let mac = neighbor.mac;
        transmit(self.topology.interface(interface), address.is_ipv4(), mac, frame, out);
    }

    /// Where a neighbour is. Most frames of a burst go to the same one as the frame before (a gateway's router, or one client).
    #[inline(always)]
    fn find(&mut self, interface: InterfaceIndex, address: &IpAddr) -> Option<u16> {
        let is_it = |neighbor: &Neighbor| neighbor.hop.interface == interface && neighbor.hop.address == *address;
        if matches!(self.slots.get(usize::from(self.last)), Some(Some(neighbor)) if is_it(neighbor)) {
            return Some(self.last);
        }
        self.last = *self.places.get(&NextHop { interface, address: *address })?;
        Some(self.last)
    }

    /// What a message of a neighbour teaches. Says whether the neighbour is known (now).
    pub(super) fn handle_claim(&mut self, now: Instant, hop: NextHop, claim: Claim, out: &mut Outbox) -> bool {
        let Some(&place) = self.places.get(&hop) else {
            return claim.creates && self.learn(now, hop, claim.mac, out);
        };
        let neighbor = self.slot(place);
        let moves = neighbor.state != State::Incomplete && neighbor.mac != claim.mac;
        if moves && !claim.overrides {
            // rfc4861 7.2.5 I: believe the old address a little less, and keep it.
            if neighbor.state == State::Reachable {
                neighbor.state = State::Stale;
                neighbor.due = now + FORGET_AFTER;
            }
            return true;
        }
        if moves {
            if neighbor.moved_at.is_some_and(|at| now.since(at) < MOVE_INTERVAL) {
                out.counters.count(Counter::NeighborMoveLimited);
                return true;
            }
            neighbor.moved_at = Some(now);
            out.counters.count(Counter::NeighborMoves);
        }
        let was = neighbor.state;
        let awaited = claim.solicited && std::mem::take(&mut neighbor.awaited);
        let is_news = moves || was == State::Incomplete || (claim.solicited && was != State::Reachable) || awaited;
        if claim.solicited {
            self.become_known(now, place, claim.mac, State::Reachable, out);
        } else if moves || was == State::Incomplete {
            self.become_known(now, place, claim.mac, State::Stale, out);
        }
        if is_news {
            out.notify(Notice::Learned { hop, mac: claim.mac, reachable: claim.solicited });
        }
        true
    }

    /// The neighbour has answered without naming its address.
    pub(super) fn handle_confirmation(&mut self, now: Instant, hop: NextHop, out: &mut Outbox) -> bool {
        let Some(&place) = self.places.get(&hop) else { return false };
        let neighbor = self.slot(place);
        let mac = neighbor.mac;
        if neighbor.state == State::Incomplete {
            return false; // rfc4861 7.2.5: no address, nothing to do
        }
        self.handle_claim(now, hop, Claim { mac, solicited: true, overrides: false, creates: false }, out)
    }

    /// What another worker has asked or learned.
    pub(super) fn handle_notice(&mut self, now: Instant, notice: Notice, out: &mut Outbox) {
        match notice {
            Notice::Asked(hop) => self.listen(now, hop, out),
            Notice::Learned { hop, mac, reachable } => {
                let state = if reachable { State::Reachable } else { State::Stale };
                let place = self.places.get(&hop).copied().or_else(|| self.take_place(hop, out));
                let Some(place) = place else { return };
                let neighbor = self.slot(place);
                // rfc4861 7.2.3: the same address, and nobody asked: the state does not change.
                if reachable || neighbor.state == State::Incomplete || neighbor.mac != mac {
                    self.become_known(now, place, mac, state, out);
                }
            }
        }
    }

    /// Ends the states that are over: asks again, gives up, forgets.
    pub(super) fn handle_timers(&mut self, now: Instant, out: &mut Outbox) {
        if now < self.due_min {
            return;
        }
        self.due_min = Instant::NEVER;
        for place in 0..self.slots.len() {
            match &self.slots[place] {
                Some(neighbor) if neighbor.due <= now => self.end_state(now, place as u16, out),
                _ => {}
            }
            if let Some(neighbor) = &self.slots[place] {
                self.due_min = self.due_min.min(neighbor.due);
            }
        }
        self.due_min = self.due_min.max(now + TIMER_GRAIN);
        out.counters.set(Gauge::Neighbors, self.places.len() as u64);
    }

    /// Drops what waits, when the worker ends.
    pub(super) fn stop(&mut self, out: &mut Outbox) {
        for neighbor in self.slots.iter_mut().flatten() {
            self.pending_count -= neighbor.pending.len();
            neighbor.pending.drain(..).for_each(|frame| out.drop(frame, Drop::Stopping));
        }
    }

    /// Another worker asks: its answer may come here, to this question or to the next.
    fn listen(&mut self, now: Instant, hop: NextHop, out: &mut Outbox) {
        let place = match self.places.get(&hop) {
            Some(&place) => place,
            None => {
                let Some(place) = self.take_incomplete_place(now, hop, out) else { return };
                self.slot(place).foreign = true;
                place
            }
        };
        let neighbor = self.slot(place);
        neighbor.awaited = true;
        if neighbor.foreign {
            neighbor.due = now + constant::RETRANS_TIMER + constant::RETRANS_TIMER;
            self.due_at_place(place);
        }
    }

    // Asking.

    /// The first frame for a neighbour that we do not know.
    fn ask_for(&mut self, now: Instant, hop: NextHop, frame: Frame, out: &mut Outbox) {
        // Every address of the link may write to us, and each answer would ask all of it and tell all workers.
        if !self.ask.take(now) {
            return out.drop(frame, Drop::NeighborAskLimited);
        }
        let Some(place) = self.take_incomplete_place(now, hop, out) else {
            return out.drop(frame, Drop::NeighborPendingFull);
        };
        self.slot(place).due = now;
        self.wait(now, place, frame, out);
    }

    /// One more frame for a neighbour that is being asked for.
    fn wait(&mut self, now: Instant, place: u16, frame: Frame, out: &mut Outbox) {
        let room = self.pending_count < NEIGHBORS_PENDING_MAX;
        let neighbor = self.slot(place);
        // rfc4861 7.2.2: when the queue is full the new frame replaces the oldest.
        let oldest = neighbor.pending.is_full().then(|| neighbor.pending.remove(0));
        let replaces = oldest.is_some();
        if let Some(oldest) = oldest {
            out.drop(oldest, Drop::NeighborPendingFull);
        }
        if !replaces && !room {
            out.drop(frame, Drop::NeighborPendingFull);
        } else {
            neighbor.pending.push(frame);
            self.pending_count += usize::from(!replaces);
        }
        // The first frame asks; and one that finds only another worker asking does so itself.
        let neighbor = self.slot(place);
        if neighbor.foreign || neighbor.asked == 0 {
            neighbor.foreign = false;
            neighbor.asked = 0;
            self.ask(now, place, out);
        }
    }

    /// Sends one question: to all while INCOMPLETE, to the old address in PROBE.
    fn ask(&mut self, now: Instant, place: u16, out: &mut Outbox) {
        let neighbor = self.slot(place);
        neighbor.asked += 1;
        neighbor.due = now + constant::RETRANS_TIMER;
        let (hop, to) = (neighbor.hop, (neighbor.state == State::Probe).then_some(neighbor.mac));
        self.due_at_place(place);
        out.notify(Notice::Asked(hop));
        out.counters.count(Counter::NeighborSolicitations);
        let interface = self.topology.interface(hop.interface);
        match (self.topology.source_for(hop.interface, hop.address), hop.address) {
            (Some(IpAddr::V4(source)), IpAddr::V4(target)) => arp::ask(interface, source, target, to, out),
            (Some(IpAddr::V6(source)), IpAddr::V6(target)) => nd::ask(interface, source, target, to, out),
            _ => {} // no address of that family: nobody will answer, and the frames end as unreachable
        }
    }

    // States.

    fn end_state(&mut self, now: Instant, place: u16, out: &mut Outbox) {
        let neighbor = self.slot(place);
        match neighbor.state {
            State::Incomplete | State::Probe if neighbor.asked < constant::MAX_SOLICITATIONS && !neighbor.foreign => {
                self.ask(now, place, out);
            }
            State::Incomplete | State::Probe => {
                if !neighbor.foreign {
                    out.counters.count(Counter::NeighborFailures);
                }
                self.forget(place, Drop::NeighborUnreachable, out);
            }
            State::Reachable => {
                neighbor.state = State::Stale;
                neighbor.due = now + FORGET_AFTER;
            }
            State::Stale => self.forget(place, Drop::NeighborUnreachable, out),
            State::Delay => {
                neighbor.state = State::Probe;
                neighbor.asked = 0;
                self.ask(now, place, out);
            }
        }
    }

    /// The address is known: sends what waits for it.
    fn become_known(&mut self, now: Instant, place: u16, mac: EthernetAddress, state: State, out: &mut Outbox) {
        // rfc4861 6.3.2: between half and one and a half times the base, so that neighbours do not ask in step.
        let base = constant::REACHABLE_TIME.as_ns();
        let reachable = Duration::from_ns(self.random.u64(base / 2..base * 3 / 2));
        let neighbor = self.slot(place);
        let was_incomplete = neighbor.state == State::Incomplete;
        let hop = neighbor.hop;
        neighbor.state = state;
        neighbor.mac = mac;
        neighbor.foreign = false;
        neighbor.due = now + if state == State::Reachable { reachable } else { FORGET_AFTER };
        let pending = std::mem::take(&mut neighbor.pending);
        self.due_at_place(place);
        self.incomplete_count -= usize::from(was_incomplete);
        self.pending_count -= pending.len();
        for frame in pending {
            self.send(now, hop.interface, &hop.address, frame, out);
        }
    }

    fn learn(&mut self, now: Instant, hop: NextHop, mac: EthernetAddress, out: &mut Outbox) -> bool {
        if !self.learn.take(now) {
            out.counters.count(Counter::NeighborLearnLimited);
            return false;
        }
        let Some(place) = self.take_place(hop, out) else { return false };
        self.become_known(now, place, mac, State::Stale, out);
        out.notify(Notice::Learned { hop, mac, reachable: false });
        true
    }

    // Places.

    fn slot(&mut self, place: u16) -> &mut Neighbor {
        self.slots[usize::from(place)].as_mut().expect("a place that is named is taken")
    }

    fn due_at_place(&mut self, place: u16) {
        self.due_min = self.due_min.min(self.slot(place).due);
    }

    /// A place for a neighbour that will be asked for.
    fn take_incomplete_place(&mut self, now: Instant, hop: NextHop, out: &mut Outbox) -> Option<u16> {
        while self.incomplete_count >= NEIGHBORS_INCOMPLETE_MAX {
            let (place, turn) = self.incomplete.pop_front()?;
            if is_asked_for(&self.slots, place, turn) {
                self.forget(place, Drop::NeighborEvicted, out);
            }
        }
        if self.incomplete.len() == NEIGHBORS_INCOMPLETE_MAX * 2 {
            // More than half of the list is answered or gone, so this comes once in so many questions.
            self.incomplete.retain(|&(place, turn)| is_asked_for(&self.slots, place, turn));
        }
        let place = self.take_place(hop, out)?;
        let neighbor = self.slot(place);
        neighbor.due = now;
        let turn = neighbor.turn;
        self.incomplete.push_back((place, turn));
        Some(place)
    }

    /// A free place, or one whose neighbour nobody speaks to. The neighbour starts INCOMPLETE.
    fn take_place(&mut self, hop: NextHop, out: &mut Outbox) -> Option<u16> {
        if self.free.is_empty() && self.slots.len() == NEIGHBORS_MAX {
            self.evict(out);
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.slots.len() < NEIGHBORS_MAX => {
                self.slots.push(None);
                (self.slots.len() - 1) as u16
            }
            None => return None,
        };
        self.slots[usize::from(place)] = Some(Neighbor {
            hop,
            state: State::Incomplete,
            mac: EthernetAddress([0; 6]),
            due: Instant::NEVER,
            turn: self.turn_next,
            asked: 0,
            foreign: false,
            awaited: false,
            moved_at: None,
            pending: ArrayVec::new(),
        });
        self.turn_next += 1;
        self.places.insert(hop, place);
        self.incomplete_count += 1;
        out.counters.set(Gauge::Neighbors, self.places.len() as u64);
        Some(place)
    }

    /// Frees one place whose neighbour is STALE, if there is one among the next few.
    fn evict(&mut self, out: &mut Outbox) {
        for _ in 0..EVICTION_STEPS {
            self.hand = (self.hand + 1) % self.slots.len();
            if matches!(&self.slots[self.hand], Some(neighbor) if neighbor.state == State::Stale) {
                return self.forget(self.hand as u16, Drop::NeighborEvicted, out);
            }
        }
    }

    fn forget(&mut self, place: u16, reason: Drop, out: &mut Outbox) {
        let neighbor = self.slots[usize::from(place)].take().expect("a place that is named is taken");
        self.places.remove(&neighbor.hop);
        self.free.push(place);
        self.incomplete_count -= usize::from(neighbor.state == State::Incomplete);
        self.pending_count -= neighbor.pending.len();
        neighbor.pending.into_iter().for_each(|frame| out.drop(frame, reason));
        out.counters.set(Gauge::Neighbors, self.places.len() as u64);
    }
}

/// Whether the neighbour that once took this place is still there and INCOMPLETE.
fn is_asked_for(slots: &[Option<Neighbor>], place: u16, turn: u64) -> bool {
    matches!(&slots[usize::from(place)], Some(neighbor) if neighbor.turn == turn && neighbor.state == State::Incomplete)
}

/// Puts the Ethernet header on and hands the frame to its port.
#[inline(always)]
fn transmit(interface: &Interface, ipv4: bool, mac: EthernetAddress, mut frame: Frame, out: &mut Outbox) {
    let ethertype = if ipv4 { ethertype::IPV4 } else { ethertype::IPV6 };
    match ethernet::emit(&mut frame, interface, mac, ethertype) {
        Ok(()) => out.transmit(interface.port, frame),
        Err(_) => out.drop(frame, Drop::HeadersSplit),
    }
}

/// What `conns`-like views will show of the table.
impl Neighbors {
    /// Interface, address, hardware address and state of each, for inspection.
    pub(super) fn inspect(&self) -> impl Iterator<Item = (InterfaceIndex, IpAddr, EthernetAddress, &'static str)> + '_ {
        self.slots.iter().flatten().map(|n| {
            let state = match n.state {
                State::Incomplete => "INCOMPLETE",
                State::Reachable => "REACHABLE",
                State::Stale => "STALE",
                State::Delay => "DELAY",
                State::Probe => "PROBE",
            };
            (n.hop.interface, n.hop.address, n.mac, state)
        })
    }
}
