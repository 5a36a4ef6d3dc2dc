//! What a configuration comes to: what the data plane takes, and what only the control daemon needs. Plain data; times are milliseconds.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};
use weirgate_dataplane::snapshot::{Authorities, Certificate, Snapshot};

/// A whole configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// For the data plane; it is checked. Backends of [`Control::discoveries`] have no endpoints yet, and what [`Control::secrets`] stand for are
    /// names only.
    pub snapshot: Snapshot,
    /// For the control daemon.
    pub control: Control,
    /// What came within the documents, by its name: it is written nowhere with the rest.
    #[serde(skip)]
    pub brought: BTreeMap<String, Material>,
}

/// What the data plane knows nothing of.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Control {
    /// What the node is, for whoever reads its metrics.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where endpoints come from that are not written in the configuration: at most one for each backend, in the backends' order.
    pub discoveries: Vec<Discovery>,
    /// Certificates and authorities: where they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Who may change what runs.
    pub admin: Admin,
    /// What is published for Prometheus.
    pub metrics: Metrics,
}

/// A certificate with its key, or authorities.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// Its name in the snapshot.
    pub name: String,
    /// Where it is.
    pub source: SecretSource,
    /// Whether its files are watched.
    pub watch: bool,
}

/// Where a secret is. Paths are absolute.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SecretSource {
    /// A certificate with its key in files.
    Certificate {
        /// The chain.
        cert: PathBuf,
        /// The private key.
        key: PathBuf,
        /// An OCSP response.
        ocsp: Option<PathBuf>,
    },
    /// Authorities in files.
    Authorities {
        /// The bundle.
        ca: PathBuf,
        /// What they have revoked.
        crl: Option<PathBuf>,
    },
    /// It came within a document.
    Document {
        /// Tells one from another.
        digest: String,
        /// There is a certificate with its key in it.
        certificate: bool,
        /// There are authorities in it.
        authorities: bool,
    },
}

impl SecretSource {
    /// Its files.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let (first, second, third) = match self {
            Self::Certificate { cert, key, ocsp } => (Some(cert), Some(key), ocsp.as_ref()),
            Self::Authorities { ca, crl } => (Some(ca), None, crl.as_ref()),
            Self::Document { .. } => (None, None, None),
        };
        first.into_iter().chain(second).chain(third)
    }
    /// Whether there is a certificate in it, and whether authorities.
    pub fn has(&self) -> (bool, bool) {
        match self {
            Self::Certificate { .. } => (true, false),
            Self::Authorities { .. } => (false, true),
            Self::Document { certificate, authorities, .. } => (*certificate, *authorities),
        }
    }
}

/// What a secret stands for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Material {
    /// A certificate with its key.
    pub certificate: Option<Certificate>,
    /// Whom to trust.
    pub authorities: Option<Authorities>,
}

/// Where a backend's endpoints come from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Discovery {
    /// From the DNS.
    Dns {
        /// The backend's name in the snapshot.
        backend: String,
        /// What is asked for, without a dot at its end.
        name: String,
        /// Which records.
        kind: DnsKind,
        /// The port of each address: always said for [`DnsKind::Address`], never for [`DnsKind::Srv`].
        port: Option<u16>,
        /// How often it is asked for; `None`: as the answers' TTL says.
        refresh_ms: Option<u64>,
    },
    /// From a file that is watched.
    File {
        /// The backend's name in the snapshot.
        backend: String,
        /// An absolute path.
        path: PathBuf,
    },
}

impl Discovery {
    /// The backend's name in the snapshot.
    pub fn backend(&self) -> &str {
        match self {
            Self::Dns { backend, .. } | Self::File { backend, .. } => backend,
        }
    }

    /// What is asked for, however often: two that differ in nothing else have the same answers.
    pub fn question(&self) -> Self {
        let mut question = self.clone();
        if let Self::Dns { refresh_ms, .. } = &mut question {
            *refresh_ms = None;
        }
        question
    }
}

/// Records that say where endpoints are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsKind {
    /// A and AAAA, both.
    #[default]
    Address,
    /// SRV (RFC 2782), and the addresses of the targets; weights and ports are theirs.
    Srv,
}

/// The admin API.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admin {
    /// The Unix socket: an absolute path.
    pub socket: PathBuf,
    /// Users whose processes may connect to it.
    pub allowed_uids: Vec<u32>,
    /// The audit log: an absolute path; `None`: `audit.jsonl` in the state directory.
    pub audit: Option<PathBuf>,
    /// Where it listens besides. Not a loopback address only if that was asked for with `allowRemote`.
    pub tcp: Option<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { socket: "/run/weirgate/admin.sock".into(), allowed_uids: vec![0], audit: None, tcp: None }
    }
}

/// What is published for Prometheus.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Where it is read; `None`: nowhere but the admin API.
    pub address: Option<SocketAddr>,
    /// Time series at most, those of all metrics together.
    pub max_series: usize,
    /// What tells series of one metric apart, in the order of [`Label`]; none stands there twice.
    pub labels: Vec<Label>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { address: None, max_series: 20_000, labels: Label::ALL.map(|(_, label)| label).to_vec() }
    }
}

/// What tells series of one metric apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// The listener's name.
    Listener,
    /// The route's name.
    Route,
    /// The backend's name.
    Backend,
    /// The endpoint's address and port.
    Endpoint,
    /// The first digit of the status: `2xx`.
    CodeClass,
}

impl Label {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("listener", Self::Listener),
        ("route", Self::Route),
        ("backend", Self::Backend),
        ("endpoint", Self::Endpoint),
        ("code_class", Self::CodeClass),
    ];
}
