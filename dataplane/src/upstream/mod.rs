//! Where requests go: the endpoints of a backend, which of them takes the next request, and the connections to them.
//!
//! * [`balance`]: which endpoint.
//! * [`pool`]: connections that are kept open for the next request.

pub mod balance;
pub mod pool;
