//! How a world went: for the operator who asks what a seed did.

use super::{Capture, Node, World, peer::Score, seed::Plan};
use std::fmt::{self, Write};
use weirgate_dataplane::{counters::Counter, drops::Drop};

/// How a seed ended.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was wrong, if anything was.
    pub failure: Option<String>,
    /// Events that happened.
    pub events: u64,
    /// Frames that hosts sent and heard.
    pub frames: u64,
    /// The same for two runs that were the same.
    pub hash: u64,
    /// All peers' questions and answers.
    pub score: Score,
    /// The gateway's counters and then drops, of all workers, in the order of [`rows`].
    pub counts: Vec<u64>,
}

/// The names of counters and drops, in order.
pub fn rows() -> impl Iterator<Item = &'static str> {
    Counter::ALL.iter().map(|c| c.name()).chain(Drop::ALL.iter().map(|d| d.name()))
}

impl Outcome {
    /// Runs a seed from beginning to end.
    pub fn of_seed(seed: u64) -> Self {
        let mut world = World::new(&Plan::from_seed(seed), Capture::hash_only());
        world.run();
        Self::of(seed, &world)
    }

    /// How a world that ran went.
    pub fn of(seed: u64, world: &World) -> Self {
        let mut score = Score::default();
        world.peers().for_each(|peer| score.add(&peer.score()));
        Self {
            seed,
            failure: world.failure.clone(),
            events: world.events,
            frames: world.capture.frames(),
            hash: world.capture.hash(),
            score,
            counts: (0..rows().count()).map(|row| world.gateway().counts().iter().map(|w| w[row]).sum()).collect(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, failure, .. } = self;
        match failure {
            Some(what) => write!(f, "seed {seed} failed: {what}\n  see it: ./scripts/replay {seed}"),
            None => write!(f, "seed {seed} passed"),
        }
    }
}

impl World {
    /// What happened, in tables; after a failure with the last frames.
    pub fn story(&self) -> String {
        let mut story = String::new();
        self.tell(&mut story).expect("a string takes everything");
        story
    }

    fn tell(&self, to: &mut String) -> fmt::Result {
        writeln!(
            to,
            "{} events in {:?} of simulated time, {} frames sent and heard",
            self.events,
            self.now.since(weirgate_dataplane::time::Instant::ZERO),
            self.capture.frames()
        )?;
        for (index, link) in self.links.iter().enumerate() {
            let t = &link.tally;
            writeln!(
                to,
                "  link {index}: {} carried, {} lost, {} doubled, {} corrupted, {} cut, {} overtaken",
                t.carried, t.lost, t.duplicated, t.corrupted, t.truncated, t.overtaken
            )?;
        }
        for (index, peer) in self.peers().enumerate() {
            let s = peer.score();
            writeln!(
                to,
                "  peer {index}: {} of {} pings answered, {} of {} datagrams refused, {} answers to something else",
                s.pongs, s.pings, s.refusals, s.datagrams, s.mismatches
            )?;
        }
        for place in &self.hosts {
            if let Node::Hostile(hostile) = &place.node {
                let sent: Vec<_> = hostile.tally().iter().map(|(name, count)| format!("{count} {name}")).collect();
                writeln!(to, "  hostile: {}", sent.join(", "))?;
            }
        }
        let mut connections = super::client::Connections::default();
        self.peers().for_each(|peer| connections.add(&peer.score().connections));
        writeln!(to, "  connections: {connections:?}")?;
        self.tell_counters(to)?;
        if self.failure.is_some() || self.capture.lines().next().is_some() {
            writeln!(to, "TCP of the gateway's workers:")?;
            for place in &self.hosts {
                if let Node::Gateway(gateway) = &place.node {
                    gateway.tell_tcp(to, self.now)?;
                }
            }
            writeln!(to, "the last frames:")?;
            self.capture.lines().try_for_each(|line| writeln!(to, "{line}"))?;
        }
        Ok(())
    }

    fn tell_counters(&self, to: &mut String) -> fmt::Result {
        let gateway = self.gateway();
        writeln!(to, "  devices of the gateway: {} frames missed", gateway.missed())?;
        for (row, name) in rows().enumerate() {
            let column = |counts: &[u64]| counts.iter().map(|n| format!("{n:>9}")).collect::<String>();
            let counts: Vec<u64> = gateway.counts().iter().map(|worker| worker[row]).collect();
            if counts.iter().any(|n| *n > 0) {
                writeln!(to, "  {name:<28}{}", column(&counts))?;
            }
        }
        Ok(())
    }
}
