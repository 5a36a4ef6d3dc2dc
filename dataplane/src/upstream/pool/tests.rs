//! What a pool promises, by examples and against a slow model of it.

use super::*;
use proptest::prelude::*;

fn at(seconds: u64) -> Instant {
    Instant::from_ns(seconds * 1_000_000_000)
}

fn new(pool: &mut Pool, now: u64, endpoint: EndpointIndex) -> MemberId {
    match pool.lease(at(now), endpoint, 0) {
        Lease::New(id) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_one_that_was_used_last_is_used_first() {
    let mut pool = Pool::new();
    let endpoint = pool.add(PoolOptions::default());
    let (a, b) = (new(&mut pool, 0, endpoint), new(&mut pool, 0, endpoint));
    assert_eq!(pool.give_back(at(1), a, Reuse::Yes), Verdict::Keep);
    assert_eq!(pool.give_back(at(2), b, Reuse::Yes), Verdict::Keep);
    assert_eq!(pool.lease(at(3), endpoint, 0), Lease::Reused(b));
    assert_eq!(pool.lease(at(3), endpoint, 0), Lease::Reused(a));
    assert_eq!((pool.requests(a), pool.counts(endpoint)), (2, (2, 0)));
}

#[test]
fn what_is_not_clean_is_never_lent_again() {
    let mut pool = Pool::new();
    let endpoint = pool.add(PoolOptions::default());
    let id = new(&mut pool, 0, endpoint);
    assert_eq!(pool.give_back(at(1), id, Reuse::No), Verdict::Close);
    assert!(matches!(pool.lease(at(1), endpoint, 0), Lease::New(other) if other != id));
    assert!(!pool.ended(id), "it was not idle");
    assert!(!pool.ended(id), "its name is gone");
    assert_eq!(pool.counts(endpoint), (1, 0));
}

#[test]
fn idleness_age_and_requests_have_an_end() {
    let options = PoolOptions {
        idle_timeout: Duration::from_secs(10),
        age_max: Some(Duration::from_secs(25)),
        requests_max: Some(3),
        ..PoolOptions::default()
    };
    let mut pool = Pool::new();
    let endpoint = pool.add(options);
    let id = new(&mut pool, 0, endpoint);
    pool.give_back(at(1), id, Reuse::Yes);
    assert_eq!((pool.poll_expired(at(10)), pool.next_deadline()), (None, at(11)));
    assert_eq!(pool.poll_expired(at(11)), Some(id));
    assert_eq!(pool.poll_expired(at(11)), None, "it is said once");
    assert!(matches!(pool.lease(at(11), endpoint, 0), Lease::New(_)), "what is to be closed is not lent");
    pool.ended(id);

    let worn = new(&mut pool, 20, endpoint);
    for _ in 0..2 {
        assert_eq!(pool.give_back(at(20), worn, Reuse::Yes), Verdict::Keep);
        assert_eq!(pool.lease(at(20), endpoint, 0), Lease::Reused(worn));
    }
    assert_eq!(pool.give_back(at(20), worn, Reuse::Yes), Verdict::Close, "three requests");

    let old = new(&mut pool, 30, endpoint);
    pool.give_back(at(50), old, Reuse::Yes);
    assert!(matches!(pool.lease(at(55), endpoint, 0), Lease::New(_)), "25 s old");
    assert_eq!(pool.poll_expired(at(55)), Some(old));
    let older = new(&mut pool, 60, endpoint);
    assert_eq!(pool.give_back(at(85), older, Reuse::Yes), Verdict::Close);
}

#[test]
fn ages_that_began_together_do_not_end_together() {
    let lives = |jitter: u8, until: u64| {
        let mut pool = Pool::new();
        let endpoint = pool.add(PoolOptions { age_max: Some(Duration::from_secs(100)), ..PoolOptions::default() });
        let Lease::New(id) = pool.lease(at(0), endpoint, jitter) else { panic!("there is room") };
        pool.give_back(at(until), id, Reuse::Yes) == Verdict::Keep
    };
    assert!(lives(0, 99) && !lives(0, 100));
    assert!(lives(255, 90) && !lives(255, 91));
}

#[test]
fn there_are_no_more_than_may_be() {
    let mut pool = Pool::new();
    let endpoint = pool.add(PoolOptions { connections_max: 2, ..PoolOptions::default() });
    let (a, _b) = (new(&mut pool, 0, endpoint), new(&mut pool, 0, endpoint));
    assert_eq!(pool.lease(at(0), endpoint, 0), Lease::Full);
    assert_eq!(pool.give_back(at(0), a, Reuse::No), Verdict::Close);
    assert_eq!(pool.lease(at(0), endpoint, 0), Lease::Full, "until it has ended");
    pool.ended(a);
    assert!(matches!(pool.lease(at(0), endpoint, 0), Lease::New(_)));
}

#[test]
fn a_retired_endpoint_keeps_no_connection() {
    let mut pool = Pool::new();
    let endpoint = pool.add(PoolOptions::default());
    let (idle, leased) = (new(&mut pool, 0, endpoint), new(&mut pool, 0, endpoint));
    pool.give_back(at(0), idle, Reuse::Yes);
    pool.retire(endpoint);
    assert_eq!((pool.next_deadline(), pool.poll_expired(at(0))), (Instant::ZERO, Some(idle)));
    assert_eq!(pool.give_back(at(0), leased, Reuse::Yes), Verdict::Close);
    // Whoever tries again there, because it began before, still may.
    let late = new(&mut pool, 0, endpoint);
    assert_eq!(pool.give_back(at(0), late, Reuse::Yes), Verdict::Close);
    for id in [idle, leased, late] {
        pool.ended(id);
    }
    pool.remove(endpoint);
    assert_eq!(pool.add(PoolOptions::default()), endpoint, "its place is another's");
}

#[test]
fn a_peer_may_end_an_idle_one() {
    let mut pool = Pool::new();
    let endpoint = pool.add(PoolOptions::default());
    let (a, b) = (new(&mut pool, 0, endpoint), new(&mut pool, 0, endpoint));
    pool.give_back(at(0), a, Reuse::Yes);
    pool.give_back(at(0), b, Reuse::Yes);
    assert!(pool.ended(a), "it was idle");
    assert_eq!((pool.counts(endpoint), pool.lease(at(1), endpoint, 0)), ((1, 1), Lease::Reused(b)));
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Lease(u32),
    GiveBack(usize, bool),
    End(usize),
    Pass(u64),
    Poll,
    Retire(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u32..3).prop_map(Op::Lease),
        6 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(n, clean)| Op::GiveBack(n, clean)),
        1 => any::<usize>().prop_map(Op::End),
        2 => (0u64..9).prop_map(Op::Pass),
        2 => Just(Op::Poll),
        1 => (0u32..60).prop_map(Op::Retire),
    ]
}

proptest! {
    /// Whatever happens in whatever order: nobody is lent twice, dirty, old or closed connections are not lent, and counts are right.
    #[test]
    fn members_are_where_they_are(ops in prop::collection::vec(op(), 1..120)) {
        let options = PoolOptions {
            connections_max: 4,
            idle_timeout: Duration::from_secs(5),
            age_max: Some(Duration::from_secs(12)),
            requests_max: Some(4),
        };
        let mut pool = Pool::new();
        let endpoints: Vec<_> = (0..3).map(|_| pool.add(options)).collect();
        // Who is leased, idle (and since when), to be closed; and when each was opened.
        let (mut leased, mut closing) = (Vec::new(), Vec::new());
        let mut idle: Vec<(MemberId, u32, u64, u64, u32)> = Vec::new();
        let (mut now, mut retired) = (0, [false; 3]);
        for op in ops {
            match op {
                Op::Lease(n) => match pool.lease(at(now), endpoints[n as usize], 0) {
                    Lease::Reused(id) => {
                        let place = idle.iter().position(|(i, e, ..)| (*i, *e) == (id, n));
                        let (_, _, opened, since, requests) = idle.remove(place.expect("only an idle one is lent"));
                        prop_assert!(now - opened < 12 && now - since < 5 && requests < 4);
                        leased.push((id, n, opened, requests + 1));
                    }
                    Lease::New(id) => leased.push((id, n, now, 1)),
                    Lease::Full => {
                        let open = pool.counts(endpoints[n as usize]).0;
                        prop_assert!(open == 4, "{open} open");
                    }
                },
                Op::GiveBack(n, clean) if !leased.is_empty() => {
                    let (id, e, opened, requests) = leased.swap_remove(n % leased.len());
                    let reuse = if clean { Reuse::Yes } else { Reuse::No };
                    let keep = clean && !retired[e as usize] && now - opened < 12 && requests < 4;
                    let verdict = pool.give_back(at(now), id, reuse);
                    prop_assert_eq!(verdict == Verdict::Keep, keep);
                    if keep { idle.push((id, e, opened, now, requests)) } else { closing.push((id, e)) }
                }
                Op::End(n) => {
                    if !idle.is_empty() && n % 2 == 0 {
                        let (id, ..) = idle.swap_remove(n % idle.len());
                        // It may have been found too old in passing.
                        pool.ended(id);
                    } else if !closing.is_empty() {
                        let (id, _) = closing.swap_remove(n % closing.len());
                        prop_assert!(!pool.ended(id));
                    }
                }
                Op::Pass(seconds) => now += seconds,
                Op::Poll => while let Some(id) = pool.poll_expired(at(now)) {
                    let place = idle.iter().position(|(i, ..)| *i == id).expect("only an idle one expires");
                    let (id, e, opened, since, _) = idle.swap_remove(place);
                    prop_assert!(now - opened >= 12 || now - since >= 5 || retired[e as usize]);
                    closing.push((id, e));
                },
                Op::Retire(n) if n < 3 => {
                    pool.retire(endpoints[n as usize]);
                    retired[n as usize] = true;
                }
                Op::GiveBack(..) | Op::Retire(_) => {}
            }
            for (n, endpoint) in endpoints.iter().enumerate() {
                let of = |e: &u32| *e as usize == n;
                let count = leased.iter().filter(|(_, e, ..)| of(e)).count()
                    + idle.iter().filter(|(_, e, ..)| of(e)).count()
                    + closing.iter().filter(|(_, e)| of(e)).count();
                prop_assert_eq!(pool.counts(*endpoint).0 as usize, count);
            }
        }
    }
}
