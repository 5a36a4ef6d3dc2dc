//! A port in memory, and a clock that stands until somebody waits.

use super::{BEGIN, FRAMES, Medium, OURS, application::Application, equal};
use std::time::Duration;
use weirgate_dataplane::{
    counters::Counter,
    port::{Capabilities, Pool, SimPort},
    time::Instant,
    worker::Worker,
};

/// The shortest frame of an Ethernet, its check sequence not counted (IEEE 802.3).
const ETHERNET_MIN: usize = 60;

/// Memory as a medium.
pub(in crate::script) struct Memory {
    pool: Pool,
    now: Instant,
    /// Frames that the port has got, and that were taken from it.
    received: u64,
    taken: u64,
}

impl Memory {
    pub(in crate::script) fn new() -> anyhow::Result<(Self, SimPort, Pool)> {
        let pool = Pool::heap(FRAMES);
        let port = SimPort::new(Capabilities::plain("port0", OURS.0, 1500));
        Ok((Self { pool: pool.clone(), now: BEGIN, received: 0, taken: 0 }, port, pool))
    }
}

impl Medium for Memory {
    type Port = SimPort;

    fn now(&self) -> Instant {
        self.now
    }
    fn tolerance(&self) -> Duration {
        Duration::from_millis(1)
    }
    fn wait(&mut self, until: Instant) {
        self.now = self.now.max(until);
    }

    fn arrive(&mut self, worker: &mut Worker<SimPort, Application>, bytes: &[u8]) {
        let mut frame = self.pool.alloc().expect("the script's packets are few");
        frame.append_slice(bytes).expect("a packet fits a frame");
        if let Some(missing) = ETHERNET_MIN.checked_sub(bytes.len()) {
            frame.append_slice(&[0; ETHERNET_MIN][..missing]).expect("the shortest frames fit");
        }
        self.received += 1;
        worker.port_mut(0).arrive(frame);
    }

    fn next_sent(&mut self, worker: &mut Worker<SimPort, Application>) -> Option<Vec<u8>> {
        let frame = worker.port_mut(0).take_sent()?;
        self.taken += 1;
        Some(frame.to_vec())
    }

    fn check(&self, worker: &mut Worker<SimPort, Application>) -> Result<(), String> {
        let of = |counter| worker.counters().counter(counter);
        equal("frames that came", self.received, of(Counter::RxFrames))?;
        let sent = of(Counter::TxFrames);
        equal("frames that left", self.taken + worker.port_mut(0).sent_len() as u64, sent)
    }
}
