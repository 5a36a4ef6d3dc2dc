//! Bytes that anybody may send to the admin API: they are read or refused, never a panic, and an error does not grow without bound.

use serde::{Serialize, de::DeserializeOwned};
use weirgate_control::admin::{
    api::{
        ApplyRequest, ConfirmRequest, DiffRequest, DrainEndpointRequest, DrainRequest, ExplainRequest, LogLevel,
        RollbackRequest,
    },
    operations::parse,
};

/// Mutations of all seeds together.
const MUTATIONS: usize = 20_000;

const SEEDS: [&str; 10] = [
    r#"{"files": [{"name": "gateway.yaml", "text": "apiVersion: weirgate/v1\nkind: GatewayConfig\n"}], "message": "a \u00e4", "base": 12, "dryRun": true, "confirmSeconds": 60, "restart": false}"#,
    r#"{"revision": 12}"#,
    r#"{"to": 11, "message": null, "base": 18446744073709551615, "dryRun": false}"#,
    r#"{"files": [], "from": 3}"#,
    r#"{"backend": "cart", "address": "[fd77::11]:8080", "drain": true}"#,
    r#"{"drain": false}"#,
    r#"{"method": "GET", "url": "http://shop.example.com/cart/7?a=b", "headers": ["accept: */*"], "client": "192.0.2.1", "revision": 1}"#,
    r#"{"filter": "info,weirgate_control::daemon=debug"}"#,
    r#"{"to": 1e400, "revision": -1, "from": 1.5}"#,
    "[[[[{\"a\": [\"\\ud800\"]}]]]]",
];

/// What is read is written as it can be read again; what is refused says so in a few words.
fn one<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(content: &[u8]) {
    match parse::<T>(content) {
        Ok(request) => {
            let written = serde_json::to_vec(&request).expect("string keys only");
            assert_eq!(parse::<T>(&written).expect("what was written"), request);
        }
        Err(error) => assert!(!error.error.is_empty() && error.error.len() < 1_024 + content.len(), "{error:?}"),
    }
}

fn all(content: &[u8]) {
    one::<ApplyRequest>(content);
    one::<ConfirmRequest>(content);
    one::<RollbackRequest>(content);
    one::<DiffRequest>(content);
    one::<DrainEndpointRequest>(content);
    one::<DrainRequest>(content);
    one::<ExplainRequest>(content);
    one::<LogLevel>(content);
}

/// A bit, a byte that means something in JSON, a piece cut, doubled, or crossed with another seed's.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
    let at = random.usize(0..=bytes.len());
    let end = random.usize(at..=bytes.len());
    match random.u8(0..7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
        1 if at < bytes.len() => bytes[at] = *random.choice(b"{}[]\",:\\u-+.eE09 \0\xff").expect("there are some"),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end.min(at + 64)].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let from = random.usize(0..=other.len());
            bytes.splice(at..end, other[from..].iter().take(64).copied());
        }
    }
}

#[test]
fn bodies_are_read_or_refused() {
    SEEDS.iter().for_each(|seed| all(seed.as_bytes()));
    let mut random = fastrand::Rng::with_seed(0x5eed);
    for n in 0..MUTATIONS {
        let mut bytes = SEEDS[n % SEEDS.len()].as_bytes().to_vec();
        let other = SEEDS[random.usize(0..SEEDS.len())].as_bytes();
        for _ in 0..random.u8(1..=4) {
            mutate(&mut bytes, other, &mut random);
        }
        if std::panic::catch_unwind(|| all(&bytes)).is_err() {
            panic!("mutation {n}: {}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn depth_is_bounded() {
    for open in ["[", "{\"files\":[", "{\"a\":"] {
        all(open.repeat(100_000).as_bytes());
    }
}

#[test]
fn a_field_that_nobody_knows_is_refused() {
    for how in [r#""dryrun": true"#, r#""base": "12""#, r#""dryRun": 1"#, r#""base": 1, "base": 2"#, r#""how": {}"#] {
        let error = parse::<ApplyRequest>(format!("{{\"files\": [], {how}}}").as_bytes()).expect_err(how);
        assert!(error.error.contains("cannot be read"), "{error:?}");
        parse::<RollbackRequest>(format!("{{{how}}}").as_bytes()).expect_err(how);
    }
    let request: ApplyRequest = parse(br#"{"files": [], "dryRun": true, "confirmSeconds": 9}"#).expect("all are known");
    assert_eq!((request.how.dry_run, request.how.confirm_seconds), (true, Some(9)));
}
