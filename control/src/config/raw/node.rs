//! `admin` and `observability` as they are written.

use super::{AddressAndPort, Spanned, raw, text};

raw! {
    /// The admin API.
    RawAdmin {
        /// Its Unix socket; unix:///run/weirgate/admin.sock if it is not said.
        optional socket "socket": Spanned<UnixSocket>,
        /// Users whose processes may connect to it; [0] if it is not said.
        optional allowed_uids "allowedUids": Vec<u32>,
        /// The audit log, an absolute path. Without it, audit.jsonl in the daemon's state directory.
        optional audit "audit": Spanned<String>,
        /// An address and port where it listens besides. Whoever reaches it may look at everything; change it only if weirgate-control was started with --allow-tcp-writes.
        optional tcp "tcp": Spanned<AddressAndPort>,
        /// Whether that may be another address than a loopback one; false if it is not said.
        optional allow_remote "allowRemote": bool,
    }

    /// What is published about the gateway.
    RawObservability {
        /// For Prometheus.
        optional metrics "metrics": Spanned<RawMetrics>,
    } => later ["accessLog", "tracing"]

    /// Metrics.
    RawMetrics {
        /// Where they are read.
        optional prometheus "prometheus": Spanned<RawPrometheus>,
        /// What tells series of one metric apart; everything if it is not said.
        optional labels "labels": Vec<Spanned<LabelName>>,
        /// Time series at most, those of all metrics together; 20000 if it is not said.
        optional max_series "maxSeries": Spanned<u32>,
    }

    /// Prometheus.
    RawPrometheus {
        /// The address and port that it scrapes.
        required address "address": Spanned<AddressAndPort>,
    }
}

text! {
    /// A Unix socket by its absolute path.
    UnixSocket: { "type": "string", "pattern": "^unix:///.+$" }
    /// A label.
    LabelName: { "enum": ["listener", "route", "backend", "endpoint", "code_class"] }
}
