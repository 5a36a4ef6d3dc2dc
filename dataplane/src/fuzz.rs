//! What any bytes may not break, for each parser of this crate: one function for each target. `scripts/fuzz` hands them to libFuzzer
//! (crate `tests/fuzz`, built with `--cfg fuzzing`); `cargo test` runs them over the seeds in `tests/fuzz/seeds` and a few thousand
//! mutations of those, so that a machine without libFuzzer exercises them too.
//!
//! A target panics when something does not hold. It takes no clock and no randomness: the same bytes do the same each time.

#[cfg(test)]
mod tests;

pub use crate::exchange::fuzz::{http_request, http_response};
pub use crate::http::h1::fuzz::http_chunks;
pub use crate::link::fuzz::link;
pub use crate::net::fuzz::{arp, frame, icmp_error, ipv6_extensions, nd};
pub use crate::proxy_protocol::proxy_protocol;
pub use crate::route::fuzz::http_routes;
pub use crate::tcp::fuzz::{tcp_engine, tcp_options, tcp_segments};
pub use crate::tls::fuzz::{tls_hello, tls_records};

use crate::{
    port::rss::{PortsHashed, Rss},
    shm,
    snapshot::{Device, Snapshot},
};

/// Every target by its name, which is also its folder of seeds and its binary.
pub const TARGETS: [(&str, fn(&[u8])); 20] = [
    ("arp", arp),
    ("counters_file", counters_file),
    ("device", device),
    ("frame", frame),
    ("http_chunks", http_chunks),
    ("http_request", http_request),
    ("http_response", http_response),
    ("http_routes", http_routes),
    ("icmp_error", icmp_error),
    ("ipv6_extensions", ipv6_extensions),
    ("link", link),
    ("nd", nd),
    ("proxy_protocol", proxy_protocol),
    ("rss_flow", rss_flow),
    ("snapshot", snapshot),
    ("tcp_engine", tcp_engine),
    ("tcp_options", tcp_options),
    ("tcp_segments", tcp_segments),
    ("tls_hello", tls_hello),
    ("tls_records", tls_records),
];

/// A snapshot that is taken is written as one that reads the same.
pub fn snapshot(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(snapshot) = Snapshot::from_json(text) else { return };
    let again = Snapshot::from_json(&snapshot.to_json()).expect("what we write we read");
    assert_eq!(again, snapshot);
}

/// A device that is read is written as one that reads the same, and cannot smuggle arguments past its commas.
pub fn device(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(device) = text.parse::<Device>() else { return };
    assert!(!device.target.contains(',') && device.arguments.iter().all(|a| !a.contains(',') && a.contains('=')));
    let written = device.to_string();
    assert!(written.bytes().all(|b| b.is_ascii_graphic()), "{written:?} can be shown");
    assert_eq!(written.parse::<Device>().as_ref(), Ok(&device));
}

/// A file of counters that is read has as many values as it says, and they were in it.
pub fn counters_file(data: &[u8]) {
    let Ok((header, columns)) = shm::parse(data) else { return };
    assert_eq!(header.columns.len(), columns.len());
    for (column, values) in header.columns.iter().zip(&columns) {
        assert_eq!(column.cells.len(), values.len());
    }
    assert!(columns.iter().map(Vec::len).sum::<usize>() * 8 <= data.len());
}

/// A frame's flow has one queue, of those there are.
pub fn rss_flow(data: &[u8]) {
    let Some((&kind, frame)) = data.split_first() else { return };
    let rss = Rss {
        key: (0..40u8).map(|i| i.wrapping_mul(7) ^ kind).collect(),
        reta: (0..1 + u16::from(kind >> 2)).collect(),
        ports_hashed: PortsHashed { tcp: kind & 1 != 0, udp: kind & 2 != 0 },
    };
    let Some(flow) = rss.flow(frame) else { return };
    assert_eq!(flow.source.is_ipv4(), flow.destination.is_ipv4());
    assert!(rss.queue(&flow) < 1 + u16::from(kind >> 2));
}
