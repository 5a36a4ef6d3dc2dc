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
