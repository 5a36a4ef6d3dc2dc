//! Where requests go: the endpoints of a backend, and which of them takes the next request.

pub mod balance;
