//! `drain` and `undrain`: an endpoint, or all of the gateway.

use super::{
    Outcome, Shown,
    console::{Console, Exit, Failure},
    daemon::{At, Daemon},
};
use crate::admin::api::{self, Done, DrainEndpointRequest, DrainRequest};
use clap::Args;
use std::net::SocketAddr;

/// Take an endpoint out of service, or the whole gateway; requests under way finish
///
/// An endpoint that drains gets no new requests until `weirgate undrain`, whatever is applied in
/// between. The gateway, without TARGET, is no longer ready (/readyz) and ends clients' connections
/// with their next answer, so that they go elsewhere.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  weirgate drain cart-v1/10.77.0.11:8080
  weirgate drain 10.77.0.11:8080        # in every backend that has it
  weirgate drain                        # the gateway itself, before maintenance"
)]
pub(super) struct Drain {
    #[command(flatten)]
    of: Of,
}

/// Put back what was drained
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate undrain cart-v1/10.77.0.11:8080
  weirgate undrain")]
pub(super) struct Undrain {
    #[command(flatten)]
    of: Of,
}

#[derive(Args)]
struct Of {
    /// BACKEND/ADDRESS:PORT, or ADDRESS:PORT in every backend; without it, all of the gateway
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

impl Drain {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        self.of.change(console, true)
    }
}

impl Undrain {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        self.of.change(console, false)
    }
}

impl Of {
    fn change(&self, console: &mut Console<'_>, drain: bool) -> Outcome {
        let client = self.at.client();
        let done: Done = match &self.target {
            None => Daemon::block_on(client.post(api::DRAIN, &DrainRequest { drain }))?,
            Some(target) => Daemon::block_on(client.post(api::DRAIN_ENDPOINT, &endpoint(target, drain)?))?,
        };
        console.show(self.shown.format, &done, |console, done| {
            let what = self.target.as_deref().unwrap_or("the gateway");
            if let Some(why) = &done.pending {
                let what = if drain { format!("{what} is to drain") } else { format!("{what} is to come back") };
                return console.line(format_args!("noted: {what}; the data plane gets it when it is reached ({why})"));
            }
            console.line(match (drain, done.changed) {
                (true, true) => format!("{what} drains: nothing new goes there, what is under way finishes"),
                (true, false) => format!("{what} drains already"),
                (false, true) => format!("{what} is back"),
                (false, false) => format!("{what} did not drain"),
            })
        })?;
        Ok(Exit::Done)
    }
}

fn endpoint(target: &str, drain: bool) -> Result<DrainEndpointRequest, Failure> {
    let (backend, address) = match target.rsplit_once('/') {
        Some((backend, address)) => (Some(backend.to_owned()), address),
        None => (None, target),
    };
    let address: SocketAddr = address.parse().map_err(|_| {
        Failure::usage(format!("{address:?} is no address and port"))
            .next("BACKEND/ADDRESS:PORT or ADDRESS:PORT, as weirgate get endpoints lists them")
    })?;
    Ok(DrainEndpointRequest { backend, address: address.to_string(), drain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (target, backend, address) in [
            ("10.0.0.1:80", None, "10.0.0.1:80"),
            ("cart/10.0.0.1:80", Some("cart"), "10.0.0.1:80"),
            ("a/b/[fd77::0:1]:80", Some("a/b"), "[fd77::1]:80"),
        ] {
            let it = endpoint(target, true).unwrap();
            assert_eq!((it.backend.as_deref(), it.address.as_str()), (backend, address));
        }
        for wrong in ["", "cart", "cart/", "cart/10.0.0.1", "10.0.0.1:80/cart"] {
            assert!(endpoint(wrong, true).is_err(), "{wrong}");
        }
    }
}
