//! Who watches exchanges is told those that were asked for, and nobody else's.

use weirgate_dataplane::link::message::TapFilter;
use weirgate_tests::exchange::{Talk, over};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// A request and its answer, on a connection to an endpoint that is kept.
fn exchange(talk: &mut Talk, line: &str, host: &str) {
    talk.says(&format!("{line} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
    let conn = talk.endpoint_or_kept();
    talk.answers(conn, OK);
}

fn filter(change: impl FnOnce(&mut TapFilter)) -> TapFilter {
    let mut filter = TapFilter { per_second: Some(100), ..TapFilter::default() };
    change(&mut filter);
    filter
}

#[test]
fn each_gets_what_it_asked_for() {
    let mut talk = Talk::new(&over(1));
    exchange(&mut talk, "GET /before", "a");
    assert_eq!(talk.legs.tapped(), None, "nobody watches");
    let posts = filter(|it| it.method = Some("post".into()));
    let host = filter(|it| it.host = Some("Shop.example".into()));
    let path = filter(|it| (it.path, it.status_min) = (Some("/cart/".into()), Some(200)));
    let errors = filter(|it| it.status_min = Some(500));
    for (slot, filter) in [&posts, &host, &path, &errors].into_iter().enumerate() {
        talk.legs.taps(slot, Some(filter)).unwrap();
    }
    for (line, host, slots) in [
        ("GET /", "a", &[][..]),
        ("POST /", "a", &[0]),
        ("GET /", "SHOP.example:80", &[1]),
        ("GET /cart/7?x=1", "a", &[2]),
        ("GET /cart", "a", &[]),
        ("GET /x/../cart/8", "a", &[2]),
        ("POST /cart/7", "shop.example", &[0, 1, 2]),
    ] {
        exchange(&mut talk, line, host);
        let told = talk.legs.tapped();
        assert_eq!(told.as_ref().map_or(&[][..], |(_, slots)| slots), slots, "{line} {host}");
        if let Some((record, _)) = told {
            let method = line.split(' ').next().unwrap();
            assert_eq!((record.method.as_str(), record.status), (method, 200));
            assert!(!record.path.contains('?'));
        }
        assert_eq!(talk.legs.tapped(), None);
    }
    // One goes; the others are told as before.
    talk.legs.taps(0, None).unwrap();
    exchange(&mut talk, "POST /cart/7", "shop.example");
    assert_eq!(talk.legs.tapped().unwrap().1, [1, 2]);
    (1..4).for_each(|slot| talk.legs.taps(slot, None).unwrap());
    exchange(&mut talk, "POST /cart/7", "shop.example");
    assert_eq!(talk.legs.tapped(), None);
}

#[test]
fn a_rate_is_each_ones_own() {
    let mut talk = Talk::new(&over(1));
    let one = filter(|it| it.per_second = Some(1));
    talk.legs.taps(0, Some(&one)).unwrap();
    talk.legs.taps(3, Some(&filter(|_| {}))).unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        exchange(&mut talk, "GET /", "a");
        told.push(talk.legs.tapped().unwrap().1);
    }
    assert_eq!(told, [vec![0, 3], vec![3], vec![3]], "all three within a second");
    let nowhere = filter(|it| it.backend = Some("nope".into()));
    assert_eq!(talk.legs.taps(1, Some(&nowhere)), Err("there is no backend \"nope\"".into()));
}

#[test]
fn what_had_no_head_is_told_to_those_who_ask_for_none() {
    let mut talk = Talk::new(&over(1));
    talk.legs.taps(0, Some(&filter(|it| it.method = Some("GET".into())))).unwrap();
    talk.legs.taps(1, Some(&filter(|_| {}))).unwrap();
    talk.says("nonsense\r\n\r\n");
    let (record, slots) = talk.legs.tapped().expect("it is told");
    assert_eq!((slots, record.status, record.path.as_str()), (vec![1], 400, ""));
}
