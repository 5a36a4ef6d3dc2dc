//! A conversation of one client through the gateway.

use super::{Conn, Legs, endpoint, gateway, to_backend};
use std::net::SocketAddr;
use weirgate_dataplane::{
    exchange::Ended,
    snapshot::{Backend, Snapshot},
};

/// Every request to one backend of `endpoints`.
pub fn over(endpoints: u8) -> Snapshot {
    let addresses: Vec<SocketAddr> = (0..endpoints).map(endpoint).collect();
    gateway(vec![to_backend()], Backend::new("b", &addresses))
}

/// One client and whoever it reaches.
pub struct Talk {
    /// Both sides.
    pub legs: Legs,
    /// The client.
    pub client: Conn,
    seen: usize,
    /// Bytes that each connection was asked for already.
    read: Vec<usize>,
}

impl Talk {
    /// A client that has connected.
    pub fn new(snapshot: &Snapshot) -> Self {
        snapshot.check().expect("a sound snapshot");
        let mut legs = Legs::new(snapshot, 7);
        let client = legs.client(80);
        legs.runs();
        let seen = legs.ends().len();
        Self { legs, client, seen, read: Vec::new() }
    }

    /// The client says this.
    pub fn says(&mut self, text: &str) {
        self.legs.says(self.client, text.as_bytes());
        self.legs.runs();
    }

    /// The next connection that reaches an endpoint.
    pub fn endpoint(&mut self) -> Conn {
        let from = self.seen;
        let conn = self.legs.ends().accepted(from).next().expect("a connection to an endpoint");
        self.seen = conn.0 + 1;
        conn
    }

    /// The next connection that reaches an endpoint, or the one that did last.
    pub fn endpoint_or_kept(&mut self) -> Conn {
        let from = self.seen;
        let is_new = self.legs.ends().accepted(from).next().is_some();
        if is_new { self.endpoint() } else { Conn(self.seen - 1) }
    }

    /// An endpoint says this.
    pub fn answers(&mut self, conn: Conn, text: &str) {
        self.legs.says(conn, text.as_bytes());
        self.legs.runs();
    }

    /// What a connection has heard since it was last asked.
    pub fn heard(&mut self, conn: Conn) -> String {
        self.read.resize(self.read.len().max(conn.0 + 1), 0);
        let all = &self.legs.ends().known(conn).heard;
        let new = String::from_utf8_lossy(&all[self.read[conn.0]..]).replace("\r\n", "|");
        self.read[conn.0] = all.len();
        new
    }

    /// How the next exchange ended.
    pub fn ended(&mut self) -> Ended {
        self.legs.record().expect("a record").ended
    }
}
