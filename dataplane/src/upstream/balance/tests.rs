//! What holds of every policy, and what each is for: shares by weight, the same endpoint for the same hash, few moves when endpoints change.

use super::*;
use proptest::{collection::vec, prelude::*, sample::select};
use std::collections::BTreeMap;

const HASHED: [PolicyKind; 2] =
    [PolicyKind::RingHash { points_min: 1_024, points_max: 8 << 20 }, PolicyKind::Maglev { places: 65_537 }];
const KINDS: [PolicyKind; 5] =
    [PolicyKind::RoundRobin, PolicyKind::LeastRequest { choices: 2 }, PolicyKind::Random, HASHED[0], HASHED[1]];

fn policy(kind: PolicyKind) -> Policy {
    Policy::new(kind).unwrap()
}

/// Endpoints with these keys and weights.
fn set(generation: u64, endpoints: impl IntoIterator<Item = (u64, u32)>, panic_threshold: u8) -> EndpointSet {
    let endpoints: Vec<_> = endpoints.into_iter().map(|(key, weight)| Endpoint { key, weight }).collect();
    EndpointSet::new(generation, &endpoints, panic_threshold)
}

fn weighted(weights: &[u32]) -> EndpointSet {
    set(1, (100..).zip(weights.iter().copied()), 50)
}

/// How often each endpoint is chosen for random numbers, which serve as hashes too.
fn counts(kind: PolicyKind, set: &EndpointSet, choices: usize, seed: u64) -> Vec<usize> {
    let mut policy = policy(kind);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut counts = vec![0; set.len()];
    for _ in 0..choices {
        counts[policy.choose(set, Some(random.u64(..)), random.u64(..)).unwrap()] += 1;
    }
    counts
}

/// The part of the whole in which each count may differ from its weight's share.
#[track_caller]
fn assert_shares(kind: PolicyKind, weights: &[u32], counts: &[usize], tolerance: f64) {
    let (sum, total) = (f64::from(weights.iter().sum::<u32>()), counts.iter().sum::<usize>() as f64);
    for (weight, count) in weights.iter().zip(counts) {
        let (share, got) = (f64::from(*weight) / sum, *count as f64 / total);
        assert!(
            (got - share).abs() <= tolerance * share,
            "{kind:?}: {got:.4} instead of {share:.4} in {weights:?} {counts:?}"
        );
    }
}

#[test]
fn each_gets_its_weights_share() {
    for weights in [&[1, 1, 1, 1, 1][..], &[5, 1, 1], &[1, 2, 3, 4], &[100, 1], &[7], &[0, 3, 0, 1]] {
        let set = weighted(weights);
        for (kind, tolerance) in [
            (PolicyKind::RoundRobin, 0.001),
            (PolicyKind::LeastRequest { choices: 2 }, 0.02),
            (PolicyKind::Random, 0.10),
            (PolicyKind::RingHash { points_min: 200_000, points_max: 8 << 20 }, 0.10),
            (PolicyKind::Maglev { places: 65_537 }, 0.10),
        ] {
            assert_shares(kind, weights, &counts(kind, &set, 200_000, 1), tolerance);
        }
    }
}

#[test]
fn a_small_ring_has_shares_that_nobody_should_be_surprised_by() {
    let weights = [1; 10];
    let kind = PolicyKind::RingHash { points_min: 1_024, points_max: 8 << 20 };
    assert_shares(kind, &weights, &counts(kind, &weighted(&weights), 200_000, 1), 0.35);
}

#[test]
fn among_the_healthy_each_gets_its_weights_share() {
    let weights = [4, 3, 2, 1, 1, 1, 2, 3];
    for (kind, tolerance) in [
        (PolicyKind::RoundRobin, 0.001),
        (PolicyKind::LeastRequest { choices: 2 }, 0.001),
        (PolicyKind::Random, 0.05),
        (PolicyKind::RingHash { points_min: 200_000, points_max: 8 << 20 }, 0.05),
        (PolicyKind::Maglev { places: 65_537 }, 0.05),
    ] {
        let mut set = weighted(&weights);
        let mut expected = weights;
        for ill in [0, 3, 6] {
            set.set_healthy(ill, false);
            expected[ill] = 0;
        }
        let counts = counts(kind, &set, 200_000, 1);
        assert_shares(kind, &expected, &counts, tolerance);
    }
}

#[test]
fn turns_are_spread_evenly() {
    let set = weighted(&[5, 1, 1, 3]);
    let mut policy = policy(PolicyKind::RoundRobin);
    let turns: Vec<_> = (0..1_000).map(|_| policy.choose(&set, None, 3).unwrap()).collect();
    for (endpoint, gap_max) in [(0, 4), (1, 13), (2, 13), (3, 5)] {
        let at: Vec<_> = (0..turns.len()).filter(|&turn| turns[turn] == endpoint).collect();
        let gap = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(gap <= gap_max, "{endpoint} waits {gap} turns");
    }
}

#[test]
fn workers_begin_with_different_endpoints() {
    let set = weighted(&[1; 16]);
    let first = |random| policy(PolicyKind::RoundRobin).choose(&set, None, random).unwrap();
    let firsts: std::collections::BTreeSet<_> = (0..64).map(first).collect();
    assert!(firsts.len() > 10, "{firsts:?}");
}

#[test]
fn an_endpoint_that_is_well_again_gets_its_turns_back_at_once_and_no_more() {
    let mut set = weighted(&[1; 4]);
    let mut policy = policy(PolicyKind::RoundRobin);
    let mut turns = |set: &EndpointSet, count: usize| {
        let mut counts = [0; 4];
        (0..count).for_each(|_| counts[policy.choose(set, None, 9).unwrap()] += 1);
        counts
    };
    set.set_healthy(2, false);
    assert_eq!(turns(&set, 3_000), [1_000, 1_000, 0, 1_000]);
    set.set_healthy(2, true);
    let counts = turns(&set, 400);
    assert!(counts.iter().all(|count| (99..=101).contains(count)), "{counts:?}");
}

#[test]
fn the_busier_of_two_endpoints_gets_nothing() {
    let mut set = weighted(&[1, 1]);
    let mut policy = policy(PolicyKind::LeastRequest { choices: 2 });
    set.begin(1);
    for random in 0..1_000_u64 {
        assert_eq!(policy.choose(&set, None, mix(random)), Some(0));
    }
    set.begin(0);
    set.begin(0);
    assert_eq!(policy.choose(&set, None, 1), Some(1));
    set.end(0);
    set.end(0);
    set.end(1);
    assert_eq!((set.active(0), set.active(1)), (0, 0));
}

#[test]
fn a_slow_endpoint_gets_fewer_requests() {
    // Each request takes a turn, at endpoint 0 ten; so many are under way that it matters.
    for (weights, choices) in [(&[1, 1, 1, 1][..], 2), (&[1, 1, 1, 1], 4), (&[2, 1, 1, 1], 2)] {
        let mut set = weighted(weights);
        let mut policy = policy(PolicyKind::LeastRequest { choices });
        let mut random = fastrand::Rng::with_seed(5);
        let mut ends = BTreeMap::<usize, Vec<usize>>::new();
        let mut counts = [0; 4];
        for turn in 0..5_000 {
            ends.remove(&turn).into_iter().flatten().for_each(|index| set.end(index));
            for _ in 0..4 {
                let index = policy.choose(&set, None, random.u64(..)).unwrap();
                set.begin(index);
                counts[index] += 1;
                ends.entry(turn + if index == 0 { 10 } else { 1 }).or_default().push(index);
            }
        }
        assert!(counts[0] * 3 < counts[1] * 2 && counts[0] > 200, "{weights:?}, {choices} choices: {counts:?}");
    }
}

/// The endpoint's key for each of many hashes.
fn leads(kind: PolicyKind, set: &EndpointSet) -> Vec<u64> {
    let mut policy = policy(kind);
    (0..20_000).map(|hash| set.key(policy.choose(set, Some(hash), 0).unwrap())).collect()
}

#[test]
fn hashes_of_others_stay_when_an_endpoint_falls_ill_or_goes() {
    // A ring moves nothing else; Maglev is even rather than still.
    for (kind, need_not) in HASHED.into_iter().zip([0, 20_000 / 20]) {
        let mut whole = set(1, (0..20).map(|key| (key, 1)), 50);
        let before = leads(kind, &whole);
        whole.set_healthy(7, false);
        let ill = leads(kind, &whole);
        for (before, ill) in before.iter().zip(&ill) {
            assert!(before == ill || *before == 7, "{kind:?}: whoever is well keeps its own");
            assert_ne!(*ill, 7);
        }
        let shares = counts_of(&ill);
        assert!(shares.values().all(|&count| count < 2 * 20_000 / 19), "{kind:?}: its hashes are spread: {shares:?}");
        whole.set_healthy(7, true);
        assert_eq!(leads(kind, &whole), before);

        // Gone, and the others in another order.
        let gone = leads(kind, &set(2, (0..20).rev().filter(|&key| key != 7).map(|key| (key, 1)), 50));
        let moved = before.iter().zip(&gone).filter(|(before, gone)| before != gone && **before != 7).count();
        assert!(moved <= need_not, "{kind:?}: {moved} moved that need not");
        // A new one.
        let come = leads(kind, &set(3, (0..21).map(|key| (key, 1)), 50));
        let moved = before.iter().zip(&come).filter(|(before, come)| before != come && **come != 20).count();
        assert!(moved <= need_not, "{kind:?}: {moved} moved that need not");
    }
}

fn counts_of(keys: &[u64]) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    keys.iter().for_each(|key| *counts.entry(*key).or_default() += 1);
    counts
}

#[test]
fn when_nearly_all_are_ill_a_hash_still_finds_one_that_is_not() {
    for kind in HASHED {
        let mut set = set(1, (0..1_000).map(|key| (key, 1)), 0);
        (0..1_000).filter(|index| index % 500 != 3).for_each(|index| set.set_healthy(index, false));
        let shares = counts_of(&leads(kind, &set));
        assert_eq!(shares.keys().copied().collect::<Vec<_>>(), [3, 503], "{kind:?}");
        assert!(shares.values().all(|&count| count > 7_000), "{kind:?}: {shares:?}");
    }
}

#[test]
fn in_panic_all_are_chosen_and_the_healthy_alone_afterwards() {
    for kind in KINDS {
        let mut set = set(1, (0..8).map(|key| (key, 1 + key as u32 % 2)), 50);
        let mut policy = policy(kind);
        let mut random = fastrand::Rng::with_seed(3);
        let mut chosen = |set: &EndpointSet| {
            let mut chosen: Vec<_> =
                (0..2_000).map(|_| policy.choose(set, Some(random.u64(..)), random.u64(..)).unwrap()).collect();
            chosen.sort_unstable();
            chosen.dedup();
            chosen
        };
        assert_eq!(chosen(&set), [0, 1, 2, 3, 4, 5, 6, 7], "{kind:?}");
        (0..4).for_each(|index| set.set_healthy(index, false));
        assert_eq!(chosen(&set), [4, 5, 6, 7], "{kind:?}");
        set.set_healthy(4, false);
        assert_eq!(chosen(&set), [0, 1, 2, 3, 4, 5, 6, 7], "{kind:?} in panic");
        set.set_healthy(4, true);
        assert_eq!(chosen(&set), [4, 5, 6, 7], "{kind:?}");
    }
}

#[test]
fn nobody_to_choose_is_said() {
    for kind in KINDS {
        let none = |set: &EndpointSet| assert_eq!(policy(kind).choose(set, Some(1), 1), None, "{kind:?}");
        none(&set(1, [], 50));
        none(&weighted(&[0, 0]));
        let mut ill = set(1, [(1, 1), (2, 3)], 0);
        (0..2).for_each(|index| ill.set_healthy(index, false));
        none(&ill);
        let mut panicking = set(1, [(1, 1), (2, 0)], 1);
        (0..2).for_each(|index| panicking.set_healthy(index, false));
        assert_eq!(policy(kind).choose(&panicking, None, 1), Some(0), "{kind:?}");
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (kind, fault) in [
        (PolicyKind::LeastRequest { choices: 1 }, PolicyFault::Choices),
        (PolicyKind::LeastRequest { choices: 17 }, PolicyFault::Choices),
        (PolicyKind::RingHash { points_min: 0, points_max: 1 }, PolicyFault::Points),
        (PolicyKind::RingHash { points_min: 2, points_max: 1 }, PolicyFault::Points),
        (PolicyKind::RingHash { points_min: 2, points_max: u32::MAX }, PolicyFault::Points),
        (PolicyKind::Maglev { places: 65_536 }, PolicyFault::Places),
        (PolicyKind::Maglev { places: u32::MAX }, PolicyFault::Places),
    ] {
        assert_eq!(Policy::new(kind).err(), Some(fault), "{fault}");
    }
    for text in
        [r#"{"policy": "RoundRobin"}"#, r#"{"policy": "LeastRequest", "choices": 3}"#, r#"{"policy": "Maglev"}"#]
    {
        policy(serde_json::from_str(text).unwrap());
    }
    assert!(serde_json::from_str::<PolicyKind>(r#"{"policy": "LeastRequest", "choice": 3}"#).is_err());
}

#[test]
fn a_ring_is_bounded_and_nobody_is_left_out() {
    let set = set(1, (0..100).map(|key| (key, if key == 0 { 1 } else { 1_000 })), 50);
    let kind = PolicyKind::RingHash { points_min: 1_024, points_max: 2_000 };
    let mut policy = policy(kind);
    policy.prepare(&set, 0);
    let Inner::RingHash(ring) = &policy.0 else { unreachable!() };
    let points: Vec<_> = (0..100).map(|index| ring.points().filter(|&it| it == index).count()).collect();
    assert!(points.iter().sum::<usize>() <= 2_100 && points.iter().all(|&count| count > 0), "{points:?}");
}

proptest! {
    #[test]
    fn only_usable_endpoints_are_chosen_and_a_run_repeats_from_its_seed(
        weights in vec(0_u32..5, 0..12),
        threshold in select(vec![0_u8, 1, 50, 100]),
        steps in vec((any::<u8>(), any::<u8>()), 1..120),
        kind in 0..KINDS.len(),
        seed: u64,
    ) {
        let kind = match KINDS[kind] {
            PolicyKind::Maglev { .. } => PolicyKind::Maglev { places: 101 },
            kind => kind,
        };
        let run = || -> Result<Vec<Option<usize>>, TestCaseError> {
            let mut set = set(1, (0..).zip(weights.iter().copied()), threshold);
            let mut policy = policy(kind);
            let mut random = fastrand::Rng::with_seed(seed);
            let mut chosen = Vec::new();
            for &(action, index) in &steps {
                if !set.is_empty() && action < 100 {
                    let index = usize::from(index) % set.len();
                    set.set_healthy(index, action < 40);
                }
                let choice = policy.choose(&set, (action % 2 == 0).then(|| random.u64(..)), random.u64(..));
                let counted = (0..set.len()).filter(|&index| set.weight(index) > 0);
                let healthy = counted.clone().filter(|&index| set.is_healthy(index)).count();
                let ignores_health = healthy * 100 < usize::from(threshold) * counted.clone().count();
                let usable = |index: usize| set.weight(index) > 0 && (ignores_health || set.is_healthy(index));
                match choice {
                    Some(index) => {
                        prop_assert!(usable(index));
                        set.begin(index);
                    }
                    None => prop_assert!(!(0..set.len()).any(usable)),
                }
                chosen.push(choice);
            }
            Ok(chosen)
        };
        prop_assert_eq!(run()?, run()?);
    }

    #[test]
    fn round_robin_never_strays_far_from_the_shares(weights in vec(1_u32..50, 1..20), seed: u64) {
        let set = weighted(&weights);
        let mut policy = policy(PolicyKind::RoundRobin);
        let sum = f64::from(weights.iter().sum::<u32>());
        let mut counts = vec![0_u32; weights.len()];
        for turn in 1..500 {
            counts[policy.choose(&set, None, seed).unwrap()] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let share = f64::from(*weight) / sum;
                // A turn of its own, and its share of one turn of each.
                let allowed = 1.0 + share * weights.len() as f64;
                prop_assert!((f64::from(*count) - share * f64::from(turn)).abs() <= allowed + 1e-6, "{counts:?} {weights:?}");
            }
        }
    }
}
