//! How a worker waits: the loop around [`Worker::turn`].

use std::{
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use weirgate_dataplane::{
    limits::PUBLISH_EVERY,
    port::{Port, dpdk::Clock},
    shm::Region,
    snapshot::Polling,
    time::{Duration, Instant},
    worker::Worker,
};

/// Adaptive: spin this long after the last frame, because the next one of a conversation comes soon.
const SPIN: Duration = Duration::from_us(50);
/// Adaptive: then sleep in steps of this. With a wake-up's own delay it keeps the first frame's under 100 us.
const SLEEP: Duration = Duration::from_us(70);

/// What a worker's thread shares with the node.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) stop: Arc<AtomicBool>,
    /// Turns made, for the watchdog.
    pub(crate) turns: Arc<AtomicU64>,
    /// Where counters go, and the column.
    pub(crate) region: Region,
    pub(crate) column: usize,
}

/// Turns the worker until it is told to stop.
pub(crate) fn run<P: Port>(worker: &mut Worker<P>, polling: Polling, clock: Clock, shared: &Shared) {
    let mut now = clock.now();
    let mut moved_at = now;
    let mut published_at = Instant::ZERO;
    let mut turns = 0u64;
    while !shared.stop.load(Ordering::Relaxed) {
        let moved = worker.turn(now);
        turns += 1;
        let after = clock.now();
        if worker.note_turn(after.since(now)) {
            tracing::warn!("worker {}: a turn took {:?}", shared.column, after.since(now));
        }
        now = after;
        if moved {
            moved_at = now;
        }
        if now.since(published_at) >= PUBLISH_EVERY {
            published_at = now;
            worker.publish(now, shared.region.cells(shared.column));
            shared.turns.store(turns, Ordering::Relaxed);
        }
        if !moved && polling == Polling::Adaptive {
            now = wait(worker, clock, now, moved_at);
        }
    }
    worker.stop();
    worker.publish(now, shared.region.cells(shared.column));
}

/// Waits a moment and tells the time after it.
fn wait<P: Port>(worker: &Worker<P>, clock: Clock, now: Instant, moved_at: Instant) -> Instant {
    if now.since(moved_at) < SPIN {
        hint::spin_loop();
        return clock.now();
    }
    let until_due = worker.next_deadline().since(now);
    let length = SLEEP.min(until_due);
    if length > Duration::ZERO {
        sleep(length);
    }
    clock.now()
}

/// A short sleep of the kernel's, ended early by a signal or by nothing.
fn sleep(length: Duration) {
    let request = rustix::time::Timespec { tv_sec: 0, tv_nsec: length.as_ns() as _ };
    let _ = rustix::thread::nanosleep(&request);
}
