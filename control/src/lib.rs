//! Around the data plane: its configuration (text -> model -> snapshot) and what an operator sees of it.
//!
//! * [`admin`]: HTTP over a Unix socket, through which the daemon is asked and told.
//! * [`cli`]: the verbs of `weirgate`.
//! * [`config`]: YAML to a [`Snapshot`](weirgate_dataplane::snapshot::Snapshot). The data plane never reads YAML.
//! * [`daemon`]: what is in force, its history on disk, and the data plane that is kept at it and alive.
//! * [`discovery`]: endpoints from the DNS and from watched files.
//! * [`explain`]: what becomes of a request, with each rule's reason.
//! * [`metrics`]: what Prometheus reads.
//! * [`secrets`]: certificates and authorities as they are on disk.
//! * [`stat`]: the counters that a running data plane publishes, as a table or JSON.

pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod discovery;
pub mod explain;
pub mod metrics;
pub mod secrets;
pub mod stat;
