//! The engine against a model of the RFCs that shares nothing with it, over a flow's whole life: opens of either kind, text in order and out of it,
//! resets, SYNs and acknowledgments that are bent in some way, closes from both sides, TIME-WAIT, and what comes after it.
//!
//! ```text
//!   seed -> peer: the next segment, mostly bent -+-> engine -> events, segments, reports
//!                                                |                 | must be alike: the state; what the application hears; of each answer its
//!                                                +-> model  ->  outcome       kind, numbers, timestamp echo and window edge; SND.UNA, SND.WND
//! ```
//! Where the engine differs on purpose is in [`DIFFERENCES`], and each of them must show: with one left out the two disagree.
//!
//! Left out: what congestion control, loss recovery and closed windows of the peer's do to our own data (one message is under way at most, sent
//! again or not as the engine likes), SACK blocks, ECN, cookies, keepalive and user timeouts. Scripts and the simulated world have them.
//!
//! `DIFFERENTIAL_SEED=n` runs one seed and shows it; `DIFFERENTIAL_CASES=n` runs so many.

mod check;
mod peer;
mod run;

use run::{Failure, Run, Seen};
use std::sync::atomic::{AtomicU64, Ordering};
use weirgate_tests::model::{DIFFERENCES, What};

/// Seeds that are run, if nobody says otherwise.
const CASES: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Runs seeds on two threads; the first failure ends both.
fn run_all(cases: u64, without: Option<What>) -> Result<Seen, Failure> {
    let next = AtomicU64::new(0);
    let run = || {
        let mut seen = Seen::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= cases {
                return Ok(seen);
            }
            match Run::new(seed, without, false).live() {
                Ok(more) => more.into_iter().for_each(|(what, n)| *seen.entry(what).or_default() += n),
                Err(failure) => {
                    next.store(cases, Ordering::Relaxed);
                    return Err(failure);
                }
            }
        }
    };
    let [mut seen, more] = std::thread::scope(|scope| {
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.map(|thread| thread.join().expect("no panic"))
    });
    for (what, n) in more? {
        *seen.as_mut().map_err(|failure| failure.clone())?.entry(what).or_default() += n;
    }
    seen
}

#[test]
fn the_engine_does_what_the_model_says() {
    if let Some(seed) = number("DIFFERENTIAL_SEED") {
        let failure = Run::new(seed, None, true).live().err();
        return assert!(failure.is_none(), "{}", failure.expect("just looked"));
    }
    let cases = number("DIFFERENTIAL_CASES").unwrap_or(CASES);
    match run_all(cases, None) {
        Err(failure) => panic!("{}", Run::new(failure.seed, None, true).live().err().unwrap_or(failure)),
        Ok(seen) if cases >= CASES => check_seen(&seen),
        Ok(_) => {}
    }
}

/// What is answered in each state; each often, and nothing else.
fn check_seen(seen: &Seen) {
    let rows = [
        ("CLOSED", "nothing RST"),
        ("LISTEN", "nothing RST SYN-ACK"),
        ("SYN-SENT", "nothing RST ACK SYN-ACK"),
        ("SYN-RECEIVED", "nothing RST ACK SYN-ACK later"),
        ("ESTABLISHED", "nothing ACK later"),
        ("FIN-WAIT-1", "nothing RST ACK later"),
        ("FIN-WAIT-2", "nothing RST ACK later"),
        ("CLOSE-WAIT", "nothing ACK"),
        ("CLOSING", "nothing ACK"),
        ("LAST-ACK", "nothing ACK"),
        ("TIME-WAIT", "nothing ACK SYN-ACK"),
    ];
    let due: Vec<_> =
        rows.iter().flat_map(|(state, replies)| replies.split(' ').map(|reply| (*state, reply))).collect();
    let rare: Vec<_> = due.iter().filter(|what| seen.get(what).is_none_or(|n| *n < 20)).collect();
    let strange: Vec<_> = seen.keys().filter(|what| !due.contains(what)).collect();
    assert!(rare.is_empty() && strange.is_empty(), "hardly ever: {rare:?}; not in the table: {strange:?}");
}

#[test]
fn each_difference_is_one() {
    let idle: Vec<_> = DIFFERENCES.iter().filter(|difference| run_all(CASES, Some(difference.what)).is_ok()).collect();
    assert!(idle.is_empty(), "the engine does what the RFCs say; the row can go: {idle:#?}");
}
