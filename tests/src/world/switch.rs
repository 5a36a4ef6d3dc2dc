//! What joins more than two: a switch that learns, or a hub that floods.

use super::host::{Host, Wires};
use crate::wire::{self, Mac};
use std::collections::BTreeMap;
use weirgate_dataplane::time::{Duration, Instant};

/// An address that was not heard for so long is flooded again (most switches wait 300 s; the world is not that patient).
const AGE: Duration = Duration::from_secs(20);
/// Addresses that are remembered.
const LEARNED_MAX: usize = 256;

/// A switch with its ports' links numbered from 0.
pub(super) struct Switch {
    ports: usize,
    learns: bool,
    arrived: Vec<(usize, Vec<u8>)>,
    /// VLAN and address: port, and when it was last heard there.
    learned: BTreeMap<(Option<u16>, [u8; 6]), (usize, Instant)>,
}

impl Switch {
    /// A switch; one that does not learn floods everything.
    pub(super) fn new(ports: usize, learns: bool) -> Self {
        Self { ports, learns, arrived: Vec::new(), learned: BTreeMap::new() }
    }

    fn learn(&mut self, now: Instant, vlan: Option<u16>, from: Mac, port: usize) {
        let known = self.learned.contains_key(&(vlan, from.0));
        if from.is_unicast() && (known || self.learned.len() < LEARNED_MAX) {
            self.learned.insert((vlan, from.0), (port, now));
        }
    }

    fn way(&self, now: Instant, vlan: Option<u16>, to: Mac) -> Option<usize> {
        self.learned.get(&(vlan, to.0)).filter(|(_, heard)| now.since(*heard) < AGE).map(|(port, _)| *port)
    }
}

impl Host for Switch {
    fn arrive(&mut self, now: Instant, port: usize, frame: Vec<u8>) -> Instant {
        self.arrived.push((port, frame));
        now
    }

    fn step(&mut self, now: Instant, wires: &mut Wires) -> Instant {
        for (port, frame) in std::mem::take(&mut self.arrived) {
            let Some(link) = wire::link(&frame) else { continue };
            if self.learns {
                self.learn(now, link.vlan, link.from, port);
            }
            match self.way(now, link.vlan, link.to).filter(|_| self.learns) {
                Some(out) if out == port => {}
                Some(out) => wires.send(out, frame),
                None => {
                    for out in (0..self.ports).filter(|out| *out != port) {
                        wires.send(out, frame.clone());
                    }
                }
            }
        }
        Instant::NEVER
    }
}
