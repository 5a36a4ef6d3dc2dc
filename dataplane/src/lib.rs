//! The Weirgate data plane, in the order in which a frame meets it.
//!
//! ```text
//!            frames in                                            frames out
//!   port     rx_burst                                             tx_burst      the one seam to hardware; Frame, Pool
//!   net      Ethernet, VLAN, ARP and ND, IPv4 and IPv6, ICMP, checksums, routes, neighbours
//!   tcp      connections: handshakes, bytes in order, losses, congestion
//!   tls      handshakes by rustls, records by us, sans-io: bytes to plaintext
//!   services echo, discard, character generator; what stands above TCP is an Application
//!   exchange the HTTP gateway: both legs of a request, joined   http: bytes to messages   route, filters, upstream: where it goes
//!   worker   one core's loop: Worker::turn(now), in production and in the simulator
//! ```
//! Beside the path: [`time`] and randomness are arguments; [`limits`] has every capacity; [`drops`] names every early end and
//! [`counters`] counts it; [`outbox`] is where frames go; [`snapshot`] is the configuration as a worker gets it; [`shm`] is
//! where counters are read; `fuzz`, built for tests only, says what no bytes may break.
//!
//! The cores never read a clock, an entropy source, a socket or a file. Methods are getters, `handle_*` (input), plain verbs
//! (commands) and outputs that are returned. Without the feature `dpdk` this builds and is tested anywhere.
#![deny(unsafe_code)]

pub mod port;

pub mod net;

pub mod tcp;
pub mod tls;

pub mod application;
pub mod crypto;
pub mod services;

pub mod exchange;
pub mod filters;
pub mod http;
pub mod proxy_protocol;
pub mod route;
pub mod upstream;

pub mod worker;

pub mod capture;
pub mod counters;
pub mod drops;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod limits;
pub mod link;
pub mod outbox;
pub mod shm;
pub mod snapshot;
pub mod time;
