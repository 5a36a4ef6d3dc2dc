//! The books of one worker: what came in, what went out, what is left.

use weirgate_dataplane::{
    application::Application,
    counters::Counter,
    drops::Drop,
    limits::{NEIGHBORS_MAX, NEIGHBORS_PENDING_MAX, TX_BACKLOG_MAX},
    port::{Pool, SimPort},
    time::Instant,
    worker::Worker,
};

/// What is known of one worker from outside, to compare its own counts with.
pub struct Books {
    arrived: u64,
    taken: u64,
    /// Buffers that any one frame took; most devices give one. Where a device sends from several, segments are made of as many.
    segments_max: usize,
    /// Counters, then drops, at the last look.
    before: Vec<u64>,
    checks: u8,
    errors: Allowance,
}

impl Books {
    /// Of a worker that has done nothing, and may send so many ICMP errors in a second and at once.
    pub fn new(errors_per_second: u32, errors_burst: u32, segments_max: usize) -> Self {
        let before = vec![0; Counter::COUNT + Drop::COUNT];
        Self {
            arrived: 0,
            taken: 0,
            segments_max,
            before,
            checks: 0,
            errors: Allowance::new(errors_per_second, errors_burst),
        }
    }
    /// A frame of so many buffers was put into one of its receive queues.
    pub fn note_arrival(&mut self, segments: usize) {
        self.arrived += 1;
        self.segments_max = self.segments_max.max(segments);
    }
    /// A frame was taken from one of its transmit queues.
    pub fn note_taken(&mut self) {
        self.taken += 1;
    }

    /// After a turn.
    pub fn check<A: Application>(
        &mut self,
        now: Instant,
        worker: &mut Worker<SimPort, A>,
        pool: &Pool,
        ports: usize,
    ) -> Result<(), String> {
        let queued = |worker: &mut Worker<SimPort, A>, len: fn(&SimPort) -> usize| -> usize {
            (0..ports).map(|port| len(worker.port_mut(port))).sum()
        };
        let arrived = queued(worker, SimPort::arrived_len);
        let sent = queued(worker, SimPort::sent_len);
        // Not with each turn: there are many counters.
        self.checks = self.checks.wrapping_add(1);
        if self.checks.is_multiple_of(8) {
            self.check_growth(worker)?;
        }
        let held = worker.held();
        let above = worker.tcp().held() + worker.application_mut().0.held();
        let of = |counter| worker.counters().counter(counter);

        equal("frames that came", self.arrived, of(Counter::RxFrames) + arrived as u64)?;
        equal("frames that left", self.taken + sent as u64, of(Counter::TxFrames))?;
        equal(
            "received and made; sent, consumed, dropped and held",
            of(Counter::RxFrames) + of(Counter::MadeFrames),
            of(Counter::TxFrames) + of(Counter::ConsumedFrames) + of(Counter::DroppedFrames) + held as u64,
        )?;
        let drops: u64 = Drop::ALL.iter().map(|&d| worker.counters().drops(d)).sum();
        equal("drops by reason; dropped frames", drops, of(Counter::DroppedFrames))?;
        equal("frames on a wrong queue", of(Counter::WrongQueueFrames), 0)?;

        // Dead frames were freed at the turn's end, so what is in use is somewhere.
        let frames = held + arrived + sent;
        let used = pool.in_use();
        // What is held or sent may be views into frames that have ended: each buffer counts twice.
        if used < frames || used > 2 * frames * self.segments_max {
            return Err(format!("{used} buffers in use for {held} frames held, {arrived} arrived, {sent} sent"));
        }
        bound("buffers in use", used, pool.capacity())?;
        bound("frames that wait for neighbours", worker.net().held(), NEIGHBORS_PENDING_MAX)?;
        bound("frames in the backlog", held - worker.net().held() - above, ports * TX_BACKLOG_MAX)?;
        worker.tcp().check(now)?;
        bound("neighbours", worker.net().neighbor_count(), NEIGHBORS_MAX)?;
        if !self.errors.take(now, of(Counter::IcmpErrorsSent)) {
            return Err(format!("too many ICMP errors: {}", of(Counter::IcmpErrorsSent)));
        }
        Ok(())
    }

    fn check_growth<A: Application>(&mut self, worker: &Worker<SimPort, A>) -> Result<(), String> {
        let counters = worker.counters();
        let values = Counter::ALL.iter().map(|&c| counters.counter(c));
        let drops = Drop::ALL.iter().map(|&d| counters.drops(d));
        for (row, (value, before)) in values.chain(drops).zip(&mut self.before).enumerate() {
            if value < *before {
                let name = Counter::ALL.iter().map(|c| c.name()).chain(Drop::ALL.iter().map(|d| d.name())).nth(row);
                return Err(format!("{name:?} went from {before} back to {value}"));
            }
            *before = value;
        }
        Ok(())
    }
}

fn equal(what: &str, left: u64, right: u64) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{what}: {left} is not {right}")) }
}

fn bound(what: &str, value: usize, max: usize) -> Result<(), String> {
    if value <= max { Ok(()) } else { Err(format!("{what}: {value} is more than {max}")) }
}

/// So many a second and so many at once, counted from outside and in billionths, so that nothing is rounded away.
struct Allowance {
    per_second: u64,
    full: u64,
    left: u64,
    seen: u64,
    at: Instant,
}

impl Allowance {
    const ONE: u64 = 1_000_000_000;

    fn new(per_second: u32, burst: u32) -> Self {
        let full = u64::from(burst) * Self::ONE;
        Self { per_second: per_second.into(), full, left: full, seen: 0, at: Instant::ZERO }
    }

    /// Whether the count may have become `total` by now.
    fn take(&mut self, now: Instant, total: u64) -> bool {
        let earned = now.since(self.at).as_ns().saturating_mul(self.per_second);
        self.left = self.left.saturating_add(earned).min(self.full);
        self.at = now;
        let spent = (total - self.seen) * Self::ONE;
        self.seen = total;
        let enough = spent <= self.left;
        self.left = self.left.saturating_sub(spent);
        enough
    }
}
