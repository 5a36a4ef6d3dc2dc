//! Sessions beside rustls's own buffered connections as the foreign peer.

mod handshakes;
mod hellos;
mod identities;
mod pki;
mod records;
mod streams;
mod talk;
