//! A gateway with everything, at a moment.

use crate::{
    discovery,
    metrics::{Bounds, DaemonState, Input, SecretState},
    stat::{ColumnValues, Statistics, Value},
};
use std::time::Duration;
use weirgate_dataplane::{
    link::message::{DURATION_BOUNDS_US, EndpointState, Meter, Of},
    shm::Column,
};

/// The sample at its `n`th moment, from 1: what only grows is `n` times as much.
pub(super) fn sample(n: u64) -> Input {
    Input {
        daemon: DaemonState {
            labels: [("zone".to_owned(), "eu-1a \"x\"".to_owned())].into(),
            version: "0.1.0".into(),
            started: Duration::from_secs(1_700_000_000),
            revision: 7,
            applied: Some(Duration::from_millis(1_700_000_010_500)),
            refused: Some(Duration::from_secs(1_700_000_005)),
            applies: 3 * n,
            refusals: n,
            dataplane_up: true,
            dataplane_restarts: n,
            draining: false,
            drains: Some(false),
            read_only: false,
        },
        bounds: Some(Bounds { connections_max: 100_000, packet_bytes: 64 << 20, backends: 1, endpoints: 2 }),
        statistics: Some(Statistics {
            name: "edge-a".into(),
            version: "0.1.0".into(),
            pid: 1,
            columns: vec![worker("0", n), worker("1", n), port(n)],
        }),
        meters: meters(n),
        unmetered: n,
        endpoints: [("10.1.0.21:8080", true), ("[fd00::22]:8080", false)].map(endpoint).into(),
        secrets: vec![SecretState {
            name: "shop".into(),
            not_after: Some(1_800_000_000),
            next_update: Some(1_790_000_000),
            refused: true,
            updates: 2 * n,
            refusals: n,
        }],
        discoveries: vec![discovery::Status {
            backend: "cart".into(),
            kind: "dns",
            source: "cart.svc.example".into(),
            endpoints: 2,
            age_ms: Some(1_500),
            answers: 10,
            failures: n,
            error: Some("cart.svc.example: AAAA: Server Failure".into()),
            pending: false,
            left_out: vec![([10, 1, 0, 1], 8080).into()],
            refused: None,
        }],
    }
}

fn meters(n: u64) -> Vec<Meter> {
    let (route, backend) = ("shop".to_owned(), "cart".to_owned());
    let address = "10.1.0.21:8080".parse().unwrap();
    vec![
        meter(Of::Listener { listener: "web".into() }, [1, 0, 90, 0, 5, 4], n),
        meter(Of::Listener { listener: "internal".into() }, [0, 0, 30, 0, 0, 0], n),
        meter(Of::Route { route }, [1, 0, 85, 0, 5, 4], n),
        meter(Of::Backend { backend: backend.clone() }, [1, 0, 80, 0, 5, 4], n),
        meter(Of::Endpoint { backend, address }, [1, 0, 30, 0, 5, 4], n),
    ]
}

/// Half of it under half a millisecond, most under one, and the rest above everything.
fn meter(of: Of, by_class: [u64; 6], n: u64) -> Meter {
    let all: u64 = by_class.iter().sum();
    let mut by_duration = [0; DURATION_BOUNDS_US.len() + 1];
    (by_duration[0], by_duration[1]) = (all / 2 * n, all * 2 / 5 * n);
    by_duration[DURATION_BOUNDS_US.len()] = all * n - by_duration[0] - by_duration[1];
    Meter {
        of,
        by_class: by_class.map(|count| count * n),
        by_duration,
        duration_us: 250_000 * n,
        request_bytes: 10_000 * n,
        response_bytes: 30_000 * n,
    }
}

/// The data plane's own table, each counter another.
fn worker(name: &str, n: u64) -> ColumnValues {
    let cells = Column::worker(0).cells.into_iter().zip(1_u64..);
    let values = cells.map(|(cell, i)| {
        let value = match cell.name.as_str() {
            "turn_us_max" => 1_500,
            "frames_capacity" => 8_192,
            _ if cell.kind == "gauge" => i,
            _ => i * n,
        };
        Value { name: cell.name, kind: cell.kind, value, help: cell.help }
    });
    ColumnValues { scope: "worker".into(), name: name.into(), values: values.collect() }
}

/// As a device has it.
fn port(n: u64) -> ColumnValues {
    let value = |name: &str, value: u64| Value {
        name: name.into(),
        kind: "counter".into(),
        value,
        help: format!("What {name} is."),
    };
    let counts =
        ["rx_frames", "tx_frames", "rx_bytes", "tx_bytes", "rx_missed", "rx_errors", "tx_errors", "rx_no_buffer"];
    let mut values: Vec<_> = counts.iter().zip(1..).map(|(name, i): (_, u64)| value(name, i * 100 * n)).collect();
    values.extend([value("link_up", 1), value("link_mbps", 10_000)]);
    ColumnValues { scope: "port".into(), name: "p0".into(), values }
}

fn endpoint((address, healthy): (&str, bool)) -> EndpointState {
    EndpointState {
        backend: "cart".into(),
        address: address.parse().unwrap(),
        weight: 1,
        healthy,
        health: if healthy { "healthy" } else { "timeout" }.into(),
        active: 3,
        connections: 5,
    }
}
