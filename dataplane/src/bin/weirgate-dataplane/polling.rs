//! How a worker waits: the loop around [`Worker::turn`].
//!
//! Busy: it does not. Adaptive: it spins a little after the last frame, because the next one of a conversation comes soon; then it
//! sleeps until a queue has a frame, a timer is due or another worker rings. A device that cannot be waited for is looked at
//! in steps instead, which grow with the silence: each wake-up costs CPU (36 us of it on a virtual machine), so the first frame
//! after a long silence may wait for [`STEP_MAX`].

use std::{
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
    },
};
use weirgate_dataplane::{
    crypto::Crypto,
    exchange::Gateway,
    limits::PUBLISH_EVERY,
    link::{desk::Desk, server::LinkBell},
    port::{
        Port,
        dpdk::{Bell, Clock, Sleeper},
    },
    shm::Region,
    snapshot::Polling,
    time::{Duration, Instant},
    worker::Worker,
};

/// Spin this long after the last frame.
const SPIN: Duration = Duration::from_us(50);
/// Without a descriptor to wait for: look again after this at first, and after a hundredth of the silence later.
const STEP_MIN: Duration = Duration::from_us(50);
/// But after this at the latest. Frames that a device does not take are offered again as often.
const STEP_MAX: Duration = Duration::from_ms(1);
/// The longest sleep: a worker that is told to stop, and a watchdog that looks once a second, wait no longer.
const SLEEP_MAX: Duration = Duration::from_ms(100);

/// What the workers' threads and the node share.
pub(crate) struct Shared {
    pub(crate) stop: Arc<AtomicBool>,
    /// Where counters go.
    pub(crate) region: Region,
    pub(crate) peers: Vec<Peer>,
    /// By worker: what the link wants of it.
    pub(crate) desks: Arc<[Desk]>,
    /// Steps of handshakes that others make.
    pub(crate) crypto: Arc<Crypto>,
}

impl Shared {
    /// A worker looks at its desk, though it may be asleep. See [`Loop::sleep`] for the order.
    pub(crate) fn wake(&self, worker: usize) {
        fence(Ordering::SeqCst);
        let peer = &self.peers[worker];
        if peer.asleep.swap(false, Ordering::Relaxed) {
            peer.bell.ring();
        }
    }
}

/// One worker as the others see it.
pub(crate) struct Peer {
    /// Turns made, for the watchdog.
    pub(crate) turns: AtomicU64,
    asleep: AtomicBool,
    pub(crate) bell: Bell,
}

impl Peer {
    pub(crate) fn new(bell: Bell) -> Self {
        Self { turns: AtomicU64::new(0), asleep: AtomicBool::new(false), bell }
    }
}

/// One worker's loop.
pub(crate) struct Loop<'a> {
    pub(crate) index: usize,
    pub(crate) polling: Polling,
    pub(crate) clock: Clock,
    pub(crate) shared: &'a Shared,
    /// `None`: some queue cannot be waited for.
    pub(crate) sleeper: Option<Sleeper>,
    /// Rung when there are replies.
    pub(crate) link: LinkBell,
}

impl Loop<'_> {
    /// Turns the worker until it is told to stop.
    pub(crate) fn run<P: Port>(&self, worker: &mut Worker<P, Gateway>) {
        let (me, desk) = (&self.shared.peers[self.index], &self.shared.desks[self.index]);
        let mut now = self.clock.now();
        let mut moved_at = now;
        let mut published_at = Instant::ZERO;
        let mut turns = 0u64;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let turn = worker.turn(now);
            turns += 1;
            let after = self.clock.now();
            worker.note_turn(after.since(now));
            now = after;
            if turn.noticed {
                self.wake_others();
            }
            if turn.moved {
                moved_at = now;
            }
            worker.trade(now, self.index, &self.shared.crypto);
            if worker.serve(now, self.index as u32, desk) {
                self.link.ring();
            }
            let idle = self.polling == Polling::Adaptive && now.since(moved_at) >= SPIN;
            if now.since(published_at) >= PUBLISH_EVERY || idle {
                published_at = now;
                let time_of_day = unix_time();
                worker.application_mut().0.set_time_of_day(now, time_of_day.as_secs());
                worker.set_time_of_day(now, time_of_day.as_nanos() as u64);
                worker.publish(now, self.shared.region.cells(self.index));
                me.turns.store(turns, Ordering::Relaxed);
                if worker.clear_desk(desk) {
                    self.link.ring();
                }
            }
            if idle {
                self.sleep(worker, now, now.since(moved_at));
                now = self.clock.now();
            } else if !turn.moved && self.polling == Polling::Adaptive {
                hint::spin_loop();
            }
        }
        worker.stop(now);
        worker.publish(now, self.shared.region.cells(self.index));
    }

    /// Sleeps until there may be something to do. `silence`: since when no frame has moved.
    fn sleep<P: Port>(&self, worker: &mut Worker<P, Gateway>, now: Instant, silence: Duration) {
        let Some(sleeper) = &self.sleeper else { return step(worker, now, silence) };
        // Whoever leaves a notice looks at `asleep` after it; we look for notices after setting `asleep`. The fences order each pair, so one
        // of the two sees the other. The same holds for frames: interrupts first, then one more look at the queues.
        let me = &self.shared.peers[self.index];
        me.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let armed = sleeper.arm();
        let turn = worker.turn(now);
        if turn.noticed {
            self.wake_others();
        }
        let longest = longest(worker, now);
        let is_wanted = worker.has_notices()
            || self.shared.desks[self.index].has_commands()
            || self.shared.crypto.has_done(self.index)
            || worker.application().has_work();
        if !turn.moved && !is_wanted && longest > Duration::ZERO {
            if armed {
                sleeper.wait(std::time::Duration::from_nanos(longest.as_ns()));
            } else {
                step(worker, now, silence);
            }
        }
        sleeper.disarm();
        me.asleep.store(false, Ordering::Relaxed);
    }

    fn wake_others(&self) {
        fence(Ordering::SeqCst);
        for (index, peer) in self.shared.peers.iter().enumerate() {
            if index != self.index && peer.asleep.swap(false, Ordering::Relaxed) {
                peer.bell.ring();
            }
        }
    }
}

/// How long a worker may sleep at most.
fn longest<P: Port>(worker: &Worker<P, Gateway>, now: Instant) -> Duration {
    // A backlog is due at once, but a device that has not taken it for a while is not taking it now.
    let until_due = if worker.has_backlog() { STEP_MAX } else { worker.next_deadline().since(now) };
    SLEEP_MAX.min(until_due)
}

/// Sleeps for a moment that grows with the silence.
fn step<P: Port>(worker: &Worker<P, Gateway>, now: Instant, silence: Duration) {
    let step = Duration::from_ns(silence.as_ns() / 100).clamp(STEP_MIN, STEP_MAX).min(longest(worker, now));
    let request = rustix::time::Timespec { tv_sec: 0, tv_nsec: step.as_ns() as _ };
    let _ = rustix::thread::nanosleep(&request);
}

// The edge: answers and captures say what time it is.
#[allow(clippy::disallowed_methods)]
pub(crate) fn unix_time() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
