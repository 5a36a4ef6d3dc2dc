//! Weirgate's tests that need more than one crate or more than one host.
//!
//! ```text
//!   wire           frames as bytes: built, read, sealed, put into words; slow code that examines fast code
//!   conversation   one gateway and a test that speaks to it, frame by frame
//!   exchange       the gateway between clients and endpoints that a test speaks for
//!   link           a data plane without devices, with its link
//!   model          a connection as RFC 9293 has it, byte by byte; slow code that examines fast code
//!   script         packet scripts: one TCP behaviour each, against Linux and against ours
//!   world          hosts, links and their faults, all from one seed; checkers after each step
//! ```
//! The integration tests are in `tests/`; `bin/replay.rs` runs one seed and shows it, or many and times them.
#![deny(unsafe_code)]

pub mod conversation;
pub mod exchange;
pub mod link;
pub mod model;
pub mod script;
pub mod wire;
pub mod world;
