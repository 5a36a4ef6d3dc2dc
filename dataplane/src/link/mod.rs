//! The link between control daemon and data plane: a Unix socket in the data plane's run directory, over which the daemon hands snapshots and
//! deltas and asks what is going on.
//!
//! ```text
//!   daemon                                    data plane
//!   Hello {protocol}              ------->    Welcome {protocol, revision ..}    or Refused, and the end
//!   Replace {snapshot}            ------->    Applied {revision}                 or Refused {reason}: nothing has changed
//!   Change {delta}                ------->    Applied {revision}                 or Refused {reason}: nothing has changed
//!   Meters, Snapshot ..           ------->    what was asked for
//!                                 <-------    Event, at any time, once they were asked for
//! ```
//! A message is its length as four bytes, little end first, and so many bytes of JSON. Each question has a number, which its answer repeats. The first
//! question must be Hello. Several may be connected; each change names the revision that it is for, so that two writers cannot undo each other.
//!
//! * [`message`]: what is said; [`capture`]: and of captures.
//! * [`wire`]: messages as bytes.
//! * [`desk`]: between the link's thread and a worker.
//! * [`server`]: the data plane's end; `streams`: what it tells those who watch.

pub mod capture;
pub mod desk;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod message;
pub mod server;
mod streams;
pub mod wire;

/// The socket's name in the run directory.
pub const SOCKET: &str = "dataplane.sock";
