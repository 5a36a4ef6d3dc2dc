//! A test speaks to one gateway, frame by frame, and reads what it says. The checkers of the world listen.
//!
//! ```text
//!   talk.hears(0, &ping);                                  a frame arrives on worker 0's queue
//!   talk.says(["all: arp who-has 10.0.1.2 tell 10.0.1.1"]) everything that was sent since, and to whom
//!   talk.waits(Duration::from_secs(1));                    the clock goes on
//! ```

use crate::{
    wire::{Mac, link, words},
    world::{
        gateway::Gateway,
        host::{Host, Wires},
        seed::{Address, GatewayPlan, Network, Plan, Spread},
    },
};
use weirgate_dataplane::time::{Duration, Instant};

/// One gateway and the test.
pub struct Conversation {
    gateway: Gateway,
    network: Network,
    now: Instant,
    names: Vec<(Mac, &'static str)>,
    said: Vec<(usize, Vec<u8>)>,
    /// Frames that the links take; none while they are clogged.
    room: usize,
}

/// The gateway works through everything that takes no longer than this at once.
const MOMENT: Duration = Duration::from_ms(1);

impl Conversation {
    /// With a gateway of so many workers at 10.0.1.1 and fd00:1::1. Its first words, the announcements, are over.
    pub fn new(workers: usize) -> Self {
        Self::with(Plan::calm(0, workers, 1).gateway)
    }

    /// With a gateway made so.
    pub fn with(plan: GatewayPlan) -> Self {
        let plan = GatewayPlan { spread: Spread::Random, ..plan }; // the test says which queue
        let gateway = Gateway::new(&plan, fastrand::Rng::with_seed(7));
        let network = plan.networks[0];
        let names =
            vec![(network.host(2).mac, "peer"), (network.host(3).mac, "other"), (network.gateway().mac, "itself")];
        let mut talk = Self { gateway, network, now: Instant::ZERO, names, said: Vec::new(), room: usize::MAX };
        talk.waits(Duration::from_secs(3));
        talk.said.clear();
        talk
    }

    /// The gateway's addresses.
    pub fn gateway(&self) -> Address {
        self.network.gateway()
    }
    /// The host that the words call `peer`.
    pub fn peer(&self) -> Address {
        self.network.host(2)
    }
    /// The host that the words call `other`.
    pub fn other(&self) -> Address {
        self.network.host(3)
    }
    /// The gateway itself, for its counters.
    pub fn inside(&self) -> &Gateway {
        &self.gateway
    }

    /// A frame arrives on one worker's queue. Says whether there was a buffer for it.
    pub fn hears(&mut self, worker: usize, frame: &[u8]) -> bool {
        self.hears_on(0, worker, frame)
    }
    /// The same on another port.
    pub fn hears_on(&mut self, port: usize, worker: usize, frame: &[u8]) -> bool {
        let taken = self.gateway.receive(worker, port, frame);
        self.waits(Duration::ZERO);
        taken
    }

    /// The clock goes on, and everything that falls due happens.
    pub fn waits(&mut self, length: Duration) {
        let until = self.now + length;
        loop {
            let next = self.step();
            if next > until.max(self.now + MOMENT) {
                break;
            }
            self.now = next;
        }
        self.now = self.now.max(until);
        self.step();
    }

    fn step(&mut self) -> Instant {
        let mut wires = Wires { room: vec![self.room; 2], sent: Vec::new() };
        let next = self.gateway.step(self.now, &mut wires);
        self.said.extend(wires.sent);
        assert_eq!(self.gateway.failure(), None, "at {:?}", self.now);
        next
    }

    /// The links stop carrying, or carry again.
    pub fn clog(&mut self, clogged: bool) {
        self.room = if clogged { 0 } else { usize::MAX };
        self.waits(Duration::ZERO);
    }

    /// What was sent since the last time: to whom, and in words.
    pub fn said(&mut self) -> Vec<String> {
        let said = std::mem::take(&mut self.said);
        said.iter().map(|(_, frame)| format!("{}: {}", self.name(frame), words(frame))).collect()
    }

    /// The same, and it must be exactly this.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn says<const N: usize>(&mut self, expected: [&str; N]) {
        assert_eq!(self.said(), expected, "at {:?}", self.now);
    }

    fn name(&self, frame: &[u8]) -> String {
        let Some(link) = link(frame) else { return "nobody".into() };
        if link.to.is_multicast() {
            return "all".into();
        }
        self.names
            .iter()
            .find(|(mac, _)| *mac == link.to)
            .map_or_else(|| link.to.to_string(), |(_, name)| (*name).into())
    }

    /// All frames are back where they belong.
    ///
    /// # Panics
    /// When one is not.
    pub fn ends(mut self) {
        self.gateway.end(self.now);
        assert_eq!(self.gateway.failure(), None);
    }
}
