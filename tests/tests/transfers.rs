//! Bulk over links with one fault each: everything arrives, each byte in its place, and in a time that the fault explains.

use weirgate_dataplane::time::{Duration, Instant};
use weirgate_tests::world::{Capture, World, link::Faults, peer::Score, seed::Plan};

const MEGABYTE: u64 = 1 << 20;

/// Sends so many bytes there and back between two of our engines. Says how long that took.
fn transfer(bytes: u64, seed: u64, faults: Faults) -> Duration {
    let plan = Plan::transfer(seed, 1, bytes, faults);
    let mut world = World::new(&plan, Capture::in_words());
    let mut from = None;
    loop {
        world.run_until(world.now() + Duration::from_ms(100));
        assert_eq!(world.failure(), None, "{}", world.story());
        let calls = world.calls();
        let from = *from.get_or_insert(world.now());
        if calls.dialed == 0 {
            assert!(world.now() < Instant::ZERO + Duration::from_secs(10));
            continue;
        }
        if calls.completed == 1 {
            assert_eq!(calls.bytes, bytes);
            return world.now().since(from);
        }
        let late = world.now().since(from) > Duration::from_secs(3_000);
        assert!(!late, "{} of {bytes} bytes came back; {}", calls.bytes, world.story());
    }
}

/// The same for several seeds. The time of the slowest.
fn transfers(bytes: u64, faults: Faults) -> Duration {
    (0..4).map(|seed| transfer(bytes, seed, faults)).max().expect("some seeds")
}

#[test]
fn a_clean_link_of_any_length_is_filled() {
    for (ms, limit) in [(1, 6), (30, 9), (300, 25)] {
        let took = transfers(4 * MEGABYTE, Faults { delay_us: ms * 1_000, ..Faults::default() });
        println!("{ms} ms: {took:?}");
        assert!(took < Duration::from_secs(limit), "{ms} ms: {took:?}");
    }
}

#[test]
fn losses_cost_time_and_no_bytes() {
    for (loss, limit) in [(1, 20), (10, 40), (50, 120)] {
        let took = transfers(MEGABYTE, Faults { loss, delay_us: 10_000, ..Faults::default() });
        println!("{loss}/1000 lost: {took:?}");
        assert!(took < Duration::from_secs(limit), "{loss} of 1,000 lost: {took:?}");
    }
}

#[test]
fn losses_in_bursts() {
    for burst in [3, 20, 60] {
        let took = transfers(MEGABYTE, Faults { loss: 2, burst, delay_us: 10_000, ..Faults::default() });
        println!("bursts of {burst}: {took:?}");
        assert!(took < Duration::from_secs(120), "bursts of {burst}: {took:?}");
    }
}

#[test]
fn reordering_is_not_loss() {
    for reorder in [10, 100, 300] {
        let took = transfers(MEGABYTE, Faults { reorder, delay_us: 10_000, ..Faults::default() });
        println!("{reorder}/1000 overtaken: {took:?}");
        assert!(took < Duration::from_secs(60), "{reorder} of 1,000 overtaken: {took:?}");
    }
}

#[test]
fn duplicates_and_jitter() {
    let took = transfers(MEGABYTE, Faults { duplicate: 300, delay_us: 10_000, ..Faults::default() });
    println!("doubled: {took:?}");
    assert!(took < Duration::from_secs(20), "doubled: {took:?}");
    let took = transfers(MEGABYTE, Faults { jitter_us: 40_000, delay_us: 10_000, ..Faults::default() });
    println!("jitter: {took:?}");
    assert!(took < Duration::from_secs(60), "jitter: {took:?}");
}

#[test]
fn everything_at_once() {
    for delay_us in [1_000, 30_000, 300_000] {
        let faults =
            Faults { loss: 30, burst: 2, duplicate: 50, reorder: 100, corrupt: 20, truncate: 10, ..Faults::default() };
        let took = transfers(MEGABYTE / 4, Faults { delay_us, jitter_us: delay_us / 4, ..faults });
        println!("{delay_us} us: {took:?}");
    }
}

#[test]
fn a_foreign_stack_gets_and_gives_the_same() {
    for loss in [0, 1, 10, 50] {
        let mut plan = Plan::calm(u64::from(loss), 2, 2);
        plan.chaos = Duration::from_secs(900);
        plan.gateway.frames = 2_048;
        plan.segments[0].faults[0] = Faults { loss, delay_us: 5_000, ..Faults::default() };
        let mut world = World::new(&plan, Capture::in_words());
        world.peers_mut().for_each(|peer| peer.clients_mut().set_bulk(MEGABYTE / 4));
        world.run_until(Instant::ZERO + Duration::from_secs(890));
        assert_eq!(world.failure(), None, "{}", world.story());
        let mut score = Score::default();
        world.peers().for_each(|peer| score.add(&peer.score()));
        let connections = score.connections;
        assert_eq!((connections.opened, connections.completed), (6, 6), "{loss}: {}", world.story());
        assert!(connections.bytes >= 4 * MEGABYTE / 4);
    }
}
