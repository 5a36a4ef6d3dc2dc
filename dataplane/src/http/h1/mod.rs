//! HTTP/1.0 and HTTP/1.1 on the wire (RFC 9112), strictly: ambiguous framing is refused, never repaired.
//!
//! ```text
//!   receive   what comes next on a connection: head, body, trailers, end
//!     head      lines, and the tokens in them             framing   where the message ends, by its fields
//!     chunked   chunk lines
//!   write     the same, outwards
//! ```

mod chunked;
mod framing;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod head;
mod receive;
pub mod write;

#[cfg(any(test, fuzzing))]
pub(crate) use receive::driver;

pub use framing::{Asked, Body, Framing};
pub use receive::{Limits, Receiver, Step};
