//! The peers' end of all connections: clients that a test opens, and endpoints that take what comes.

use std::{collections::VecDeque, net::SocketAddr};
use weirgate_dataplane::{
    application::Application,
    drops::Drop,
    outbox::Outbox,
    tcp::{Connect, ConnectionId, ConnectionOptions, End, Event, Listen, ListenerId, Tcp},
    time::Instant,
};

/// A connection of the peers', in the order in which they came to be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Conn(pub usize);

/// What is known of one.
#[derive(Debug)]
pub struct Known {
    id: ConnectionId,
    /// An endpoint's, rather than a client's.
    pub accepted: bool,
    /// Our address and port.
    pub local: Option<SocketAddr>,
    /// The gateway's.
    pub remote: Option<SocketAddr>,
    /// Everything that was received.
    pub heard: Vec<u8>,
    /// The gateway has closed its side.
    pub peer_closed: bool,
    /// How it ended.
    pub ended: Option<End>,
    waiting: VecDeque<u8>,
    closing: bool,
    /// Nothing is taken: the window closes.
    pub deaf: bool,
    unread: u32,
}

/// All of them.
pub struct Ends {
    port: u16,
    listener: Option<ListenerId>,
    known: Vec<Known>,
}

impl Ends {
    /// Endpoints listen on this port at every address.
    pub fn new(port: u16) -> Self {
        Self { port, listener: None, known: Vec::new() }
    }

    /// What is known of a connection.
    pub fn known(&mut self, conn: Conn) -> &mut Known {
        &mut self.known[conn.0]
    }
    /// Connections that endpoints took, from `from` on.
    pub fn accepted(&self, from: usize) -> impl Iterator<Item = Conn> + '_ {
        (from..self.known.len()).filter(|n| self.known[*n].accepted).map(Conn)
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn connect(&mut self, now: Instant, tcp: &mut Tcp, remote: SocketAddr) -> Conn {
        let connect = Connect { local: None, local_port: None, remote, options: ConnectionOptions::default() };
        let id = tcp.connect(now, &connect, |_| true).expect("there are ports");
        self.add(id, false, tcp)
    }

    pub(super) fn unlisten(&mut self, tcp: &mut Tcp) {
        if let Some(listener) = self.listener.take() {
            tcp.unlisten(listener);
        }
    }

    fn add(&mut self, id: ConnectionId, accepted: bool, tcp: &Tcp) -> Conn {
        self.known.push(Known {
            id,
            accepted,
            local: tcp.ends(id).map(|(local, _)| local),
            remote: tcp.ends(id).map(|(_, remote)| remote),
            heard: Vec::new(),
            peer_closed: false,
            ended: None,
            waiting: VecDeque::new(),
            closing: false,
            deaf: false,
            unread: 0,
        });
        Conn(self.known.len() - 1)
    }

    pub(super) fn says(&mut self, conn: Conn, bytes: &[u8], tcp: &mut Tcp, out: &mut Outbox) {
        self.known[conn.0].waiting.extend(bytes);
        self.known[conn.0].send(tcp, out);
    }

    pub(super) fn closes(&mut self, conn: Conn, tcp: &mut Tcp, out: &mut Outbox) {
        self.known[conn.0].closing = true;
        self.known[conn.0].send(tcp, out);
    }

    /// Takes again what comes, and what has come meanwhile.
    pub(super) fn listens(&mut self, conn: Conn, tcp: &mut Tcp) {
        let known = &mut self.known[conn.0];
        known.deaf = false;
        tcp.consume(known.id, std::mem::take(&mut known.unread));
    }

    pub(super) fn resets(&mut self, conn: Conn, now: Instant, tcp: &mut Tcp, out: &mut Outbox) {
        tcp.abort(now, self.known[conn.0].id, out);
    }

    pub(super) fn reset_all(&mut self, now: Instant, tcp: &mut Tcp, out: &mut Outbox) {
        self.known.iter().filter(|known| known.ended.is_none()).for_each(|known| tcp.abort(now, known.id, out));
    }

    /// The newest one of that name: names are not used twice while their connection lives.
    fn find(&mut self, id: ConnectionId) -> Option<&mut Known> {
        self.known.iter_mut().rev().find(|known| known.id == id)
    }
}

impl Known {
    /// Bytes that the test has said and TCP has not taken.
    pub fn unsaid(&self) -> usize {
        self.waiting.len()
    }

    fn send(&mut self, tcp: &mut Tcp, out: &mut Outbox) {
        while !self.waiting.is_empty() && tcp.send_room(self.id) > 0 {
            let Some(mut frame) = out.make() else { return tcp.wants_room(self.id) };
            let len = self.waiting.len().min(1_400);
            let bytes: Vec<u8> = self.waiting.drain(..len).collect();
            frame.append_slice(&bytes).expect("a fresh frame has room");
            if let Err(frame) = tcp.send(self.id, frame, out) {
                bytes.into_iter().rev().for_each(|byte| self.waiting.push_front(byte));
                out.consume(frame);
                break;
            }
        }
        if !self.waiting.is_empty() {
            return tcp.wants_room(self.id);
        }
        if self.closing {
            tcp.close(self.id, out);
        }
    }
}

impl Application for Ends {
    fn start(&mut self, tcp: &mut Tcp) {
        let listen = Listen { address: None, ports: self.port..=self.port, options: ConnectionOptions::default() };
        self.listener = Some(tcp.listen(listen).expect("a free port"));
    }

    fn handle_event(&mut self, _: Instant, event: Event, tcp: &mut Tcp, out: &mut Outbox) {
        match event {
            Event::Accepted { id, .. } => {
                self.add(id, true, tcp);
            }
            Event::Connected { id } | Event::Writable { id } => {
                if let Some(known) = self.find(id) {
                    known.send(tcp, out);
                }
            }
            Event::Received { id, frame } => {
                let Some(known) = self.find(id) else { return out.drop(frame, Drop::TcpDataAfterClose) };
                known.heard.extend(frame.to_vec());
                if known.deaf {
                    known.unread += frame.len() as u32;
                } else {
                    tcp.consume(id, frame.len() as u32 + std::mem::take(&mut known.unread));
                }
                out.consume(frame);
            }
            Event::PeerClosed { id } => {
                if let Some(known) = self.find(id) {
                    known.peer_closed = true;
                }
            }
            Event::Closed { id, reason } => {
                if let Some(known) = self.find(id) {
                    known.ended = Some(reason);
                }
            }
            Event::Trouble { .. } => {}
        }
    }

    fn handle_timers(&mut self, _: Instant, _: &mut Tcp, _: &mut Outbox) {}
    fn next_deadline(&self) -> Instant {
        Instant::NEVER
    }
    fn held(&self) -> usize {
        0
    }
    fn stop(&mut self, _: &mut Outbox) {}
}
