//! Whole worlds. A failure prints its seed and how to see it again.

use std::sync::atomic::{AtomicU64, Ordering};
use weirgate_dataplane::{
    counters::Counter,
    drops::Drop,
    time::{Duration, Instant},
};
use weirgate_tests::world::{
    Capture, Outcome, World,
    peer::Score,
    seed::{GatewayPlan, Plan},
};

/// Every fault, every lie. `./scripts/replay --seeds 0..10000 --threads 2` runs more of them.
#[test]
fn worlds_where_everything_fails_come_back_to_order() {
    const SEEDS: u64 = 300;
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let run = || {
            let seeds =
                std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|seed| *seed < SEEDS);
            seeds.map(Outcome::of_seed).filter(|outcome| outcome.failure.is_some()).collect::<Vec<_>>()
        };
        let threads = [scope.spawn(run), scope.spawn(run)];
        let failed: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).map(|o| o.to_string()).collect();
        assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    });
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let runs = |seed| [Outcome::of_seed(seed), Outcome::of_seed(seed)].map(|o| (o.hash, o.frames, o.events, o.counts));
    for seed in [1, 2, 3, 1_000_003] {
        let [first, second] = runs(seed);
        assert_eq!(first, second, "seed {seed}");
    }
    assert_ne!(runs(1)[0].0, runs(2)[0].0);
}

/// A world that has run to its end, and what its peers asked and were answered.
fn lived(plan: &Plan) -> (World, Score) {
    let mut world = World::new(plan, Capture::hash_only());
    world.run();
    assert_eq!(world.failure(), None, "{}", world.story());
    let mut score = Score::default();
    world.peers().for_each(|peer| score.add(&peer.score()));
    (world, score)
}

/// The gateway's count of one thing, over all workers.
fn count(world: &World, name: &str) -> u64 {
    let row = weirgate_tests::world::rows().position(|row| row == name).unwrap();
    world.gateway().counts().iter().map(|worker| worker[row]).sum()
}

/// Neighbours are asked again before they are forgotten, each on whatever worker the answer meets: traffic never waits.
#[test]
fn nothing_is_lost_in_ten_minutes_of_traffic_over_calm_links() {
    for workers in 1..=4 {
        let plan = Plan { chaos: Duration::from_secs(600), ..Plan::calm(workers as u64, workers, 2) };
        let (world, score) = lived(&plan);
        assert!(score.pings > 1_000 && score.datagrams > 500, "{score:?}");
        assert_eq!((score.pongs, score.refusals, score.mismatches), (score.pings, score.datagrams, 0));
        assert!(count(&world, Counter::NeighborSolicitations.name()) > 20, "they are asked again and again");
        assert_eq!(count(&world, Counter::NeighborFailures.name()), 0);
        assert_eq!(count(&world, Drop::NeighborUnreachable.name()), 0);
    }
}

#[test]
fn a_clogged_link_delays_and_recovers() {
    let second = Duration::from_secs(1);
    let clogs = [3, 6].into_iter().flat_map(|at| (0..2).map(move |end| (Duration::from_secs(at), 0, end, second)));
    let plan = Plan { clogs: clogs.collect(), ..Plan::calm(5, 2, 2) };
    let (_, score) = lived(&plan);
    assert_eq!(score.pongs, score.pings, "late, but none is lost: the link keeps what the clog holds");
}

#[test]
fn a_gateway_that_starts_again_is_found_again() {
    let plan = Plan { restarts: vec![Duration::from_secs(4), Duration::from_secs(8)], ..Plan::calm(6, 3, 2) };
    let (world, score) = lived(&plan);
    assert!(score.pings - score.pongs < 4, "{score:?}");
    assert_eq!(count(&world, Counter::AddressConflicts.name()), 0);
}

/// Many peers and few frames: what finds no frame is lost at the device, and nothing else suffers.
#[test]
fn an_exhausted_pool_loses_frames_and_no_more() {
    let calm = Plan::calm(7, 1, 40);
    let gateway = GatewayPlan { frames: 96, tx_ring: 1, ..calm.gateway.clone() };
    let clog = (Duration::from_secs(2), 0, 1, Duration::from_secs(3));
    let mut world = World::new(&Plan { gateway, clogs: vec![clog], ..calm }, Capture::hash_only());
    world.run_until(Instant::ZERO + Duration::from_secs(12));
    assert_eq!(world.failure(), None);
    assert!(world.gateway().missed() > 0, "more came than there were frames");
    // The end asks whether every frame came back, and whether each question and connection that counted was answered.
    world.run();
    assert_eq!(world.failure(), None);
}
