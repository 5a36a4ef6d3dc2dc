//! The admin API: HTTP and JSON over a Unix socket.
//!
//! * [`api`]: paths, requests and responses, as both ends have them.
//! * [`client`]: the command line's end.

pub mod api;
pub mod client;
