//! Endpoints are asked whether they are well, and what they say decides who gets requests.

use weirgate_dataplane::{
    counters::Counter,
    snapshot::{HealthCheck, Snapshot},
    time::Duration,
};
use weirgate_tests::exchange::{Conn, Talk, endpoint, over};

/// Two endpoints, asked each second; two bad answers make one ill, two good ones well.
fn probed(probe: &str) -> Snapshot {
    let text = format!(r#"{{"probe": {probe}, "intervalMs": 1000, "timeoutMs": 500, "healthy": 2, "unhealthy": 2}}"#);
    let mut snapshot = over(2);
    let check: HealthCheck = serde_json::from_str(&text).expect("a health check");
    snapshot.backends[0].health_checks = vec![check];
    snapshot.backends[0].panic_threshold = 0;
    snapshot
}

const HTTP: &str = r#"{"http": {"path": "/healthz", "expect": [200, 204]}}"#;

/// Probes that come within a second are answered, and what follows is told.
fn a_second(talk: &mut Talk, seen: &mut usize, answer: impl Fn(u8) -> &'static str) -> Vec<(u8, bool)> {
    let until = talk.legs.now() + Duration::from_ms(1_100);
    while talk.legs.now() < until {
        talk.legs.settles(Duration::from_ms(50));
        for conn in talk.legs.ends().accepted(*seen).collect::<Vec<Conn>>() {
            *seen = conn.0 + 1;
            let known = talk.legs.ends().known(conn);
            assert!(known.heard.starts_with(b"GET /healthz HTTP/1.1\r\nhost: 10.0.0.1"), "{known:?}");
            let n = if known.local == Some(endpoint(0)) { 0 } else { 1 };
            let said = answer(n);
            if said.is_empty() { talk.legs.closes(conn) } else { talk.legs.says(conn, said.as_bytes()) }
        }
    }
    let told = talk.legs.tells_health();
    told.into_iter().map(|(address, is_ill)| (u8::from(address != endpoint(0)), is_ill)).collect()
}

const OK: &str = "HTTP/1.1 103 \r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
const ILL: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

#[test]
fn thresholds_decide_and_the_first_answer_alone() {
    let mut talk = Talk::new(&probed(HTTP));
    let mut seen = talk.legs.ends().len();
    let all_well = |_| OK;
    // The first word of one is bad: that is enough, for nothing else is known of it.
    assert_eq!(a_second(&mut talk, &mut seen, |n| if n == 0 { ILL } else { OK }), [(0, true)]);
    // One good answer is not enough then; two are.
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(a_second(&mut talk, &mut seen, all_well));
    }
    assert_eq!(told.concat(), [(0, false)], "{told:?}");
    // Nor is one bad one.
    let bad = std::cell::Cell::new(1);
    let once = |n: u8| if n == 0 && bad.replace(0) == 1 { "nonsense\r\n\r\n" } else { OK };
    assert_eq!(a_second(&mut talk, &mut seen, once), []);
    assert_eq!(a_second(&mut talk, &mut seen, all_well), []);
    // Whoever closes without a word is as ill as who says nothing sensible.
    let mut told = Vec::new();
    for _ in 0..3 {
        told.extend(a_second(&mut talk, &mut seen, |n| if n == 1 { "" } else { OK }));
    }
    assert_eq!(told, [(1, true)]);
    assert!(talk.legs.gateway().counters().counter(Counter::HealthProbesFailed) >= 4);
}

#[test]
fn silence_and_refusal_are_illness() {
    for refuses in [true, false] {
        let mut talk = Talk::new(&probed(HTTP));
        if refuses {
            talk.legs.refuses();
        }
        // Nobody answers.
        talk.legs.settles(Duration::from_secs(4));
        let told = talk.legs.tells_health();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().all(|(_, is_ill)| *is_ill));
        talk.client = talk.legs.client(80);
        talk.says("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let heard = talk.heard(talk.client);
        assert!(heard.starts_with("HTTP/1.1 503 "), "{heard}");
    }
}

#[test]
fn a_connection_is_enough_for_tcp() {
    let mut talk = Talk::new(&probed("\"tcp\""));
    talk.legs.settles(Duration::from_secs(4));
    assert_eq!(talk.legs.tells_health(), []);
    let probes = talk.legs.gateway().counters().counter(Counter::HealthProbes);
    assert!((7..=10).contains(&probes), "{probes} in four seconds, for two endpoints");
    assert_eq!(talk.legs.gateway().counters().counter(Counter::HealthProbesFailed), 0);
}

#[test]
fn probes_end_with_what_they_are_for() {
    let mut talk = Talk::new(&probed(HTTP));
    let mut seen = talk.legs.ends().len();
    a_second(&mut talk, &mut seen, |_| ILL);
    // Who is ill is not, once nobody asks.
    talk.legs.serves(&over(2)).unwrap();
    let before = talk.legs.gateway().counters().counter(Counter::HealthProbes);
    talk.legs.settles(Duration::from_secs(5));
    assert_eq!(talk.legs.gateway().counters().counter(Counter::HealthProbes), before);
    talk.client = talk.legs.client(80);
    talk.says("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(talk.legs.ends().accepted(seen).count(), 1, "the request has an endpoint");
    talk.legs.ends_clean();
}

#[test]
fn a_change_in_flight_leaves_nobody_ill_for_ever() {
    let mut talk = Talk::new(&probed(HTTP));
    let mut seen = talk.legs.ends().len();
    assert_eq!(a_second(&mut talk, &mut seen, |n| if n == 0 { ILL } else { OK }), [(0, true)]);
    // It is well, by a probe whose word comes late: after a change of the checks.
    let mut often = probed(HTTP);
    often.backends[0].health_checks[0].timeout_ms = 400;
    talk.legs.serves(&often).unwrap();
    talk.legs.finds("b", endpoint(0), true);
    talk.legs.finds("b", endpoint(1), true);
    let mut told = Vec::new();
    for _ in 0..4 {
        told.extend(a_second(&mut talk, &mut seen, |_| OK));
    }
    told.sort_unstable();
    assert_eq!(told, [(0, false), (1, false)], "what probes say is what is told in the end");
    // Nobody is ill where nobody asks.
    talk.legs.serves(&over(2)).unwrap();
    talk.legs.finds("b", endpoint(0), true);
    talk.legs.finds("b", endpoint(1), true);
    talk.client = talk.legs.client(80);
    let from = talk.legs.ends().len();
    talk.says("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(talk.legs.ends().accepted(from).count(), 1);
}
