//! Where requests go: the endpoints of a backend, and the connections to them.
//!
//! * [`pool`]: connections that are kept open for the next request.

pub mod pool;
