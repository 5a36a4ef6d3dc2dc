//! Threads that make the heavy steps of handshakes, and the rings between them and the workers: bounded, and neither side ever waits in a worker.
//!
//! ```text
//!   Gateway::poll_work ---> jobs (one ring) ---> a thread: Work::run ---> done (a ring for each worker) ---> Gateway::handle_done
//! ```
//! An RSA signature of 2,048 bits takes half a millisecond: for so long a worker would serve nobody. A worker has no more than
//! [`TLS_STEPS_AWAY_MAX`] steps away, so what comes back always finds room.

use crate::{
    exchange::Gateway,
    limits::TLS_STEPS_AWAY_MAX,
    port::Port,
    tcp::ConnectionId,
    time::Instant,
    tls::{Done, Work},
    worker::Worker,
};
use crossbeam_queue::ArrayQueue;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, Thread},
};

/// What workers and threads share.
pub struct Crypto {
    jobs: ArrayQueue<(usize, ConnectionId, Work)>,
    workers: Vec<Returns>,
    threads: OnceLock<Vec<Thread>>,
    stop: AtomicBool,
}

/// What comes back to one worker.
struct Returns {
    away: AtomicUsize,
    done: ArrayQueue<(ConnectionId, Done)>,
}

impl Crypto {
    /// For so many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        let returns = || Returns { away: AtomicUsize::new(0), done: ArrayQueue::new(TLS_STEPS_AWAY_MAX) };
        Arc::new(Self {
            jobs: ArrayQueue::new(workers.max(1) * TLS_STEPS_AWAY_MAX),
            workers: (0..workers).map(|_| returns()).collect(),
            threads: OnceLock::new(),
            stop: AtomicBool::new(false),
        })
    }

    /// Whether something has come back for a worker.
    #[inline]
    pub fn has_done(&self, worker: usize) -> bool {
        !self.workers[worker].done.is_empty()
    }

    /// A thread's body: makes steps until it is told to stop. `wake` tells a worker that one is back.
    fn run(&self, wake: &dyn Fn(usize)) {
        while !self.stop.load(Ordering::Relaxed) {
            let Some((worker, id, work)) = self.jobs.pop() else {
                // Whoever leaves a job unparks afterwards; what is unparked before it parks does not park.
                thread::park();
                continue;
            };
            let done = work.run();
            let fits = self.workers[worker].done.push((id, done)).is_ok();
            assert!(fits, "no more are away than find room");
            wake(worker);
        }
    }
}

/// The threads. They end with this.
pub struct Threads {
    crypto: Arc<Crypto>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts so many.
    ///
    /// # Errors
    /// There is no thread to be had.
    ///
    /// # Panics
    /// When they were started before.
    pub fn start(
        crypto: &Arc<Crypto>,
        threads: usize,
        wake: impl Fn(usize) + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let mut running = Vec::new();
        for n in 0..threads {
            let (crypto, wake) = (Arc::clone(crypto), wake.clone());
            running.push(thread::Builder::new().name(format!("crypto-{n}")).spawn(move || crypto.run(&wake))?);
        }
        let handles = running.iter().map(|it| it.thread().clone()).collect();
        crypto.threads.set(handles).expect("they are started once");
        Ok(Self { crypto: Arc::clone(crypto), running })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.crypto.stop.store(true, Ordering::Relaxed);
        for thread in self.running.drain(..) {
            thread.thread().unpark();
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

impl<P: Port> Worker<P, Gateway> {
    /// Takes over steps that were made, and gives others away.
    #[inline]
    pub fn trade(&mut self, now: Instant, worker: usize, crypto: &Crypto) {
        if self.application().has_work() || crypto.has_done(worker) {
            self.trade_all(now, worker, crypto);
        }
    }

    #[cold]
    fn trade_all(&mut self, now: Instant, worker: usize, crypto: &Crypto) {
        let returns = &crypto.workers[worker];
        while let Some((id, done)) = returns.done.pop() {
            returns.away.fetch_sub(1, Ordering::Relaxed);
            let (gateway, tcp, out) = self.application_mut();
            gateway.handle_done(now, id, done, tcp, out);
        }
        let mut given = false;
        while returns.away.load(Ordering::Relaxed) < TLS_STEPS_AWAY_MAX
            && let Some((id, work)) = self.application_mut().0.poll_work()
        {
            returns.away.fetch_add(1, Ordering::Relaxed);
            let fits = crypto.jobs.push((worker, id, work)).is_ok();
            assert!(fits, "the ring has room for what all workers may have away");
            given = true;
        }
        if given && let Some(threads) = crypto.threads.get() {
            threads.iter().for_each(Thread::unpark);
        }
    }
}
