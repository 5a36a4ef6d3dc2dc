//! Verbs that the design has and this version does not: they say so, and what works instead.

use super::{Outcome, console::Failure};
use clap::{Args, Subcommand};

/// Certificates (not supported in this version)
#[derive(Args)]
pub(super) struct Cert {
    #[command(subcommand)]
    verb: CertVerb,
}

#[derive(Subcommand)]
enum CertVerb {
    /// List certificates and when they expire (not supported in this version)
    #[command(after_help = "\
Example:
  weirgate cert list")]
    List,
}

impl Cert {
    pub(super) fn run(&self) -> Outcome {
        let CertVerb::List = self.verb;
        Err(Failure::findings("cert list is not supported in this version: the data plane speaks no TLS yet")
            .next("TLS that is passed on by port keeps its certificates in the backends"))
    }
}

/// Capture frames from inside the data plane (not while it runs, in this version)
///
/// tcpdump cannot see the port of a kernel-bypass data plane. The data plane writes all its frames
/// itself, if it is told to at its start.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
What works in this version:
  weirgate-dataplane --snapshot snapshot.json --pcap frames.pcapng"
)]
pub(super) struct Pcap {
    /// Not read: nothing is captured
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

impl Pcap {
    pub(super) fn run(&self) -> Outcome {
        _ = &self.rest;
        Err(Failure::findings("pcap of a running data plane is not supported in this version").next(
            "start the data plane with a capture: weirgate-dataplane --pcap FILE; it writes every frame as pcapng\n\
             to see requests rather than frames: weirgate tap",
        ))
    }
}
