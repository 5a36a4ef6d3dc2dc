//! What the daemon is told at its start.

use super::{logs::LogFormat, store::HISTORY};
use clap::Parser;
use std::{ffi::OsString, path::PathBuf};

/// Weirgate's control daemon: programs a data plane, and keeps it alive.
///
/// Exit codes: 0 stopped as told, 1 could not start (the reason is in its log), 2 wrong usage.
#[derive(Parser, Clone, Debug)]
#[command(name = "weirgate-control", version, about)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Options {
    /// The configuration: files, or directories of them.
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub config: Vec<PathBuf>,
    /// Where revisions are kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/weirgate")]
    pub state_dir: PathBuf,
    /// The data plane's folder: its socket and its counters.
    #[arg(long, value_name = "DIR", default_value = "/run/weirgate")]
    pub run_dir: PathBuf,
    /// The data plane's program; without it, weirgate-dataplane beside this one, or in the PATH.
    #[arg(long, value_name = "BIN", conflicts_with = "attach")]
    pub dataplane: Option<PathBuf>,
    /// Start no data plane, connect to the one that runs. It is never ended: one that hangs is only reported.
    #[arg(long)]
    pub attach: bool,
    /// Something more to say to the data plane; may stand there several times.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, conflicts_with = "attach")]
    pub dataplane_arg: Vec<OsString>,
    /// Where the data plane's messages go; without it, where the daemon's go.
    #[arg(long, value_name = "FILE", conflicts_with = "attach")]
    pub dataplane_log: Option<PathBuf>,
    /// The data plane uses ordinary memory instead of hugepages.
    #[arg(long, conflicts_with = "attach")]
    pub no_huge: bool,
    /// How long a data plane may take to start, in seconds; one that hangs for longer is started again.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub start_timeout: u64,
    /// How long exchanges may take to end when the data plane stops, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub drain_timeout: u64,
    /// Leave the data plane running when the daemon is told to end.
    #[arg(long)]
    pub leave_dataplane: bool,
    /// Take changes over TCP too, where admin.tcp is configured. Whoever reaches that address may then do everything.
    #[arg(long)]
    pub allow_tcp_writes: bool,
    /// How many revisions are kept.
    #[arg(long, value_name = "N", default_value_t = HISTORY)]
    pub history: usize,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or by module.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sound() {
        use clap::CommandFactory;
        Options::command().debug_assert();
        let said = ["weirgate-control", "--config", "a", "b", "--dataplane-arg", "--pcap", "--dataplane-arg", "x"];
        let options = Options::try_parse_from(said).unwrap();
        assert_eq!((options.config.len(), options.dataplane_arg.len()), (2, 2));
        assert!(Options::try_parse_from(["weirgate-control", "--config", "a", "--attach", "--no-huge"]).is_err());
        assert!(Options::try_parse_from(["weirgate-control"]).is_err());
    }
}
