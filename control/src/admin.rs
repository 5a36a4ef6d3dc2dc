//! The admin API: HTTP and JSON over a Unix socket, and over TCP if asked.
//!
//! ```text
//!   server: accept, peer's uid ---> gate: may they? ---> operations: one table ---> engine, view
//!                                                              '---> openapi
//! ```
//! * [`api`]: paths, requests and responses, as both ends have them.
//! * [`client`]: the command line's end.
//! * [`server`]: sockets and connections. [`gate`]: who may do what.
//! * [`operations`]: every path, what it does and how it is described. [`openapi`]: the description.
//! * [`tap`]: exchanges as a stream. [`pcap`]: frames as a capture.

pub mod api;
pub mod client;
pub mod gate;
pub mod openapi;
pub mod operations;
pub mod pcap;
pub mod server;
pub mod tap;
#[cfg(test)]
mod tests;
