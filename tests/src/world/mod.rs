//! A whole world from one seed: a gateway, foreign and hostile hosts, and the links between them. Nothing reads a clock.
//!
//! ```text
//!                                     +-- link -- peer (smoltcp)
//!   gateway (workers) == link == switch -- link -- peer (smoltcp)          and the same for each port of the gateway
//!                                     +-- link -- hostile
//!
//!   |-------- chaos ---------|-------- settle --------|--- examine ---|- rest -|
//!     every fault, every lie    faults and lies are     each question    all must
//!     answers may be lost       over; tables find back  is answered      be free
//! ```
//! The clock jumps to the next event. Checkers look after each turn of each worker and at each frame that the gateway sends; the first
//! thing that is wrong ends the world.

mod capture;
pub mod checker;
pub mod client;
pub mod clock;
pub mod gateway;
pub mod host;
mod hostile;
pub mod link;
pub mod peer;
pub mod seed;
mod story;
mod switch;
pub mod tenant;

pub use capture::Capture;
pub use story::{Outcome, rows};

use clock::{Agenda, Event, HostIndex, LinkIndex};
use fastrand::Rng;
use gateway::Gateway;
use host::{Host, Wires};
use hostile::Hostile;
use link::Link;
use peer::{Mood, Peer};
use seed::{Plan, Segment};
use switch::Switch;
use weirgate_dataplane::{
    port::pcapng::Direction,
    time::{Duration, Instant},
};

/// Hosts, links, and what is to come.
pub struct World {
    now: Instant,
    agenda: Agenda,
    hosts: Vec<Place>,
    links: Vec<Link>,
    capture: Capture,
    events: u64,
    failure: Option<String>,
    ended: bool,
}

/// A host and where it is.
struct Place {
    node: Node,
    /// By port: the link and which of its ends this is.
    links: Vec<(LinkIndex, usize)>,
    /// By port, where frames are captured.
    interfaces: Vec<Option<u32>>,
    /// The earliest wake that is in the agenda.
    wake_at: Instant,
}

enum Node {
    Gateway(Box<Gateway>),
    Peer(Box<Peer>),
    Hostile(Box<Hostile>),
    Switch(Switch),
}

impl Node {
    fn host(&mut self) -> &mut dyn Host {
        match self {
            Self::Gateway(host) => &mut **host,
            Self::Peer(host) => &mut **host,
            Self::Hostile(host) => &mut **host,
            Self::Switch(host) => host,
        }
    }
}

/// The gateway's place.
const GATEWAY: HostIndex = 0;
/// Frames still under way, and timers, find their end in this time: a peer that is gone is given up after two minutes, which is noticed with
/// the timeout after that.
const REST: Duration = Duration::from_secs(260);

impl World {
    /// A world at its beginning.
    pub fn new(plan: &Plan, capture: Capture) -> Self {
        let mut random = Rng::with_seed(plan.seed ^ 0x776f_726c_6400);
        let (events, failure, ended) = Default::default();
        let (hosts, links) = (Vec::new(), Vec::new());
        let mut world =
            Self { now: Instant::ZERO, agenda: Agenda::default(), hosts, links, capture, events, failure, ended };
        let gateway = Gateway::new(&plan.gateway, random.fork());
        world.add("gateway", Node::Gateway(Box::new(gateway)));
        for segment in &plan.segments {
            world.add_segment(plan, segment, &mut random);
        }
        world.schedule(plan);
        world
    }

    /// Lives to the end, or until something is wrong.
    pub fn run(&mut self) {
        while !self.ended && self.failure.is_none() {
            self.step();
        }
    }

    /// Goes on until `at`, or until something is wrong.
    pub fn run_until(&mut self, at: Instant) {
        while !self.ended && self.failure.is_none() && self.now < at {
            self.step();
        }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        self.now
    }
    /// The gateway.
    pub fn gateway(&self) -> &Gateway {
        match &self.hosts[GATEWAY].node {
            Node::Gateway(gateway) => gateway,
            _ => unreachable!("the gateway was added first"),
        }
    }
    fn gateways(&self) -> usize {
        self.hosts.iter().filter(|place| matches!(place.node, Node::Gateway(_))).count()
    }
    /// What became of the connections that the gateway has opened.
    pub fn calls(&mut self) -> tenant::Calls {
        match &mut self.hosts[GATEWAY].node {
            Node::Gateway(gateway) => gateway.calls(),
            _ => unreachable!("the gateway was added first"),
        }
    }
    /// The peers, in order.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.hosts.iter().filter_map(|place| if let Node::Peer(peer) = &place.node { Some(&**peer) } else { None })
    }
    /// The same, to change them before the world begins.
    pub fn peers_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.hosts
            .iter_mut()
            .filter_map(|place| if let Node::Peer(peer) = &mut place.node { Some(&mut **peer) } else { None })
    }
    /// What broke first.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn add(&mut self, name: &str, node: Node) -> HostIndex {
        let index = self.hosts.len();
        let place = Place { node, links: Vec::new(), interfaces: Vec::new(), wake_at: Instant::NEVER };
        self.hosts.push(place);
        // A switch sees everything twice; the hosts' captures are enough.
        if !name.is_empty() {
            let interface = self.capture.interface(name);
            self.hosts[index].interfaces.push(Some(interface));
        }
        self.wake(index, Instant::ZERO);
        index
    }

    fn add_segment(&mut self, plan: &Plan, segment: &Segment, random: &mut Rng) {
        let switch = self.add("", Node::Switch(Switch::new(segment.faults.len(), segment.learns)));
        let mut faults = segment.faults.iter();
        let mut join = |world: &mut Self, host, random: &mut Rng| {
            let faults = *faults.next().expect("a plan has faults for each link");
            let index = world.links.len();
            let ends = [host, switch].map(|h| {
                let port = world.hosts[h].links.len();
                world.hosts[h].links.push((index, usize::from(h == switch)));
                (h, port)
            });
            world.links.push(Link::new(index, ends, faults, random.fork()));
        };
        if !self.hosts[GATEWAY].links.is_empty() {
            let interface = self.capture.interface("gateway, second port");
            self.hosts[GATEWAY].interfaces.push(Some(interface));
        }
        join(self, GATEWAY, random);
        if let Some(second) = plan.second.as_ref().filter(|_| self.gateways() == 1) {
            let second = self.add("second gateway", Node::Gateway(Box::new(Gateway::new(second, random.fork()))));
            join(self, second, random);
        }
        for (network, host) in &segment.peers {
            let peer = Peer::new(*network, *host, &plan.gateway, random.fork());
            let name = format!("peer {}", network.host(*host).v4);
            let peer = self.add(&name, Node::Peer(Box::new(peer)));
            join(self, peer, random);
        }
        if segment.hostile {
            let mut networks: Vec<(seed::Network, Vec<_>)> = Vec::new();
            for (network, host) in &segment.peers {
                match networks.iter_mut().find(|(n, _)| n.number == network.number) {
                    Some((_, peers)) => peers.push(network.host(*host)),
                    None => networks.push((*network, vec![network.host(*host)])),
                }
            }
            let hostile = self.add("hostile", Node::Hostile(Box::new(Hostile::new(networks, random.fork()))));
            join(self, hostile, random);
        }
    }

    fn schedule(&mut self, plan: &Plan) {
        let start = Instant::ZERO;
        for &at in &plan.restarts {
            self.agenda.put(start + at, Event::Restart(GATEWAY));
        }
        for &(at, link, end, length) in &plan.clogs {
            self.agenda.put(start + at, Event::Clog(link, end));
            self.agenda.put(start + at + length, Event::Clear(link, end));
        }
        let calm = start + plan.chaos;
        let phases = [(calm, Event::Calm), (calm + plan.settle, Event::Examine)];
        phases.into_iter().for_each(|(at, event)| self.agenda.put(at, event));
        let rest = calm + plan.settle + plan.examine;
        self.agenda.put(rest, Event::Rest);
        self.agenda.put(rest + REST, Event::End);
    }

    fn wake(&mut self, host: HostIndex, at: Instant) {
        let at = at.max(self.now);
        let place = &mut self.hosts[host];
        if at < place.wake_at && at != Instant::NEVER {
            place.wake_at = at;
            self.agenda.put(at, Event::Wake(host));
        }
    }

    fn step(&mut self) {
        let (at, event) = self.agenda.take().expect("the end is always to come");
        assert!(at >= self.now, "time goes on");
        self.now = at;
        self.events += 1;
        let event = match event {
            Event::Arrive { link, end, frame } => return self.arrive(link, end, frame),
            other => other,
        };
        match event {
            Event::Wake(host) if self.hosts[host].wake_at == at => self.step_host(host),
            Event::Wake(_) => {} // an earlier wake came between
            Event::Arrive { .. } => unreachable!("taken above"),
            Event::Clog(link, end) => self.links[link].clog(end),
            Event::Clear(link, end) => {
                self.links[link].clear(at, end, &mut self.agenda);
                self.wake(self.links[link].ends[1 - end].0, at);
            }
            Event::Restart(host) => {
                if let Node::Gateway(gateway) = &mut self.hosts[host].node {
                    gateway.restart(at);
                }
                for place in &mut self.hosts {
                    if let Node::Peer(peer) = &mut place.node {
                        peer.clients_mut().forget();
                    }
                }
                self.wake(host, at);
            }
            Event::Calm => self.calm(),
            Event::Examine => self.set_mood(Mood::Examining),
            Event::Rest => self.set_mood(Mood::Resting),
            Event::End => self.end(),
        }
        for host in 0..self.hosts.len().min(3) {
            if let Node::Gateway(gateway) = &self.hosts[host].node
                && let Some(what) = gateway.failure()
            {
                self.failure = Some(what.to_owned());
            }
        }
        if let Event::Wake(host) = event
            && let Node::Peer(peer) = &self.hosts[host].node
            && let Some(what) = peer.failure()
        {
            self.failure.get_or_insert(what.to_owned());
        }
    }

    fn arrive(&mut self, link: LinkIndex, end: usize, frame: Vec<u8>) {
        let (host, port) = self.links[link].ends[end];
        let place = &mut self.hosts[host];
        if let Some(Some(interface)) = place.interfaces.get(port) {
            self.capture.frame(self.now, *interface, Direction::Received, &frame);
        }
        let wake_at = place.node.host().arrive(self.now, port, frame);
        self.wake(host, wake_at);
    }

    fn step_host(&mut self, host: HostIndex) {
        let place = &mut self.hosts[host];
        place.wake_at = Instant::NEVER;
        let room = place.links.iter().map(|&(link, end)| self.links[link].room(1 - end)).collect();
        let mut wires = Wires { room, sent: Vec::new() };
        let next = place.node.host().step(self.now, &mut wires);
        for (port, frame) in wires.sent {
            if let Some(Some(interface)) = place.interfaces.get(port) {
                self.capture.frame(self.now, *interface, Direction::Sent, &frame);
            }
            let (link, end) = place.links[port];
            self.links[link].put(self.now, 1 - end, frame, &mut self.agenda);
        }
        self.wake(host, next);
    }

    fn calm(&mut self) {
        for link in &mut self.links {
            link.calm();
            (0..2).for_each(|end| link.clear(self.now, end, &mut self.agenda));
        }
        for place in &mut self.hosts {
            match &mut place.node {
                Node::Gateway(gateway) => gateway.calm(self.now),
                Node::Hostile(hostile) => hostile.silence(),
                Node::Peer(_) | Node::Switch(_) => {}
            }
        }
        self.set_mood(Mood::Settling);
    }

    fn set_mood(&mut self, mood: Mood) {
        for host in 0..self.hosts.len() {
            match &mut self.hosts[host].node {
                Node::Peer(peer) => peer.set_mood(self.now, mood),
                Node::Gateway(gateway) => gateway.set_mood(self.now, mood),
                _ => continue,
            }
            self.wake(host, self.now);
        }
    }

    fn end(&mut self) {
        self.ended = true;
        let complaints: Vec<_> = self
            .peers()
            .enumerate()
            .filter_map(|(i, p)| Some(format!("peer {i}: {}", p.complaint(self.now)?)))
            .collect();
        let complaints = complaints.into_iter().next().or_else(|| match &mut self.hosts[GATEWAY].node {
            Node::Gateway(gateway) => gateway.complaint(),
            _ => None,
        });
        self.failure = self.failure.take().or(complaints);
        for place in &mut self.hosts {
            if let Node::Gateway(gateway) = &mut place.node {
                gateway.end(self.now);
            }
        }
    }
}
